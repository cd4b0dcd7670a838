// A model ready to decode, from its weights file.

import { Agreed } from "./agreed.js";
import { FormatError } from "./bytes.js";
import { symbolTables } from "./stack.js";
import { Synthesis } from "./synthesis.js";
import { readWeights } from "./weights.js";

/** Returns whether decoding needs a tensor. */
function isNeeded(name) {
  return name.startsWith("agreed/") || name.startsWith("float/synthesis") || name === "float/dct" || name === "float/sigma";
}

/**
 * Returns a promise of the model with a fingerprint, on a machine: {agreed, synthesis, tables, numLevels}.
 *
 * range: gives bytes of its weights file, as `readWeights` wants it. Throws FormatError if it is another model.
 */
export async function loadModel(machine, fingerprint, range) {
  const weights = await readWeights(range, isNeeded);
  if (weights.fingerprint !== fingerprint) throw new FormatError(`the model is ${weights.fingerprint}, not ${fingerprint}`);
  const { config, tensors } = weights;
  const agreed = new Agreed(machine, tensors, config);
  const tables = symbolTables(agreed.tensor("tables.weights").data);
  return { agreed, synthesis: new Synthesis(machine, tensors, config), tables, numLevels: config.levels.length };
}
