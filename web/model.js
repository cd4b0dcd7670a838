// A model ready to decode, from its weights file.

import { Agreed } from "./agreed.js";
import { FormatError } from "./bytes.js";
import { Integers } from "./integers.js";
import { pixelTables } from "./sites.js";
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
  if (weights.about.fingerprint !== fingerprint) throw new FormatError(`this is not the model ${fingerprint}`);
  const { about, tensors } = weights;
  const config = JSON.parse(about.config);
  const named = Object.entries(tensors).filter(([name]) => name.startsWith("agreed/"));
  const shared = Object.fromEntries(named.map(([name, tensor]) => [name.slice("agreed/".length), tensor]));
  const integers = new Integers(machine, shared);
  const agreed = new Agreed(integers, config);
  const tables = symbolTables(integers.tensor("tables.weights").data);
  return { agreed, synthesis: new Synthesis(machine, tensors, config), tables, numLevels: config.levels.length };
}

/** Returns a promise of a lossless layer, likewise, for the model with the fingerprint `base`: {integers, tables, starts}. */
export async function loadLossless(machine, base, fingerprint, range) {
  const { about, tensors } = await readWeights(range, () => true);
  const said = JSON.parse(about.about);
  const isRight = about.fingerprint === fingerprint && said.base === base;
  if (!isRight) throw new FormatError(`this is not the lossless layer ${fingerprint} of ${base}`);
  const integers = new Integers(machine, tensors);
  return { integers, tables: pixelTables(integers.tensor("likelihood.weights").data), starts: said.starts };
}

/** Returns a promise of a model of small pictures, likewise: {integers, tables, about}. */
export async function loadSmall(machine, fingerprint, range) {
  const { about, tensors } = await readWeights(range, () => true);
  if (about.fingerprint !== fingerprint) throw new FormatError(`this is not the model ${fingerprint}`);
  const integers = new Integers(machine, tensors);
  return { integers, tables: pixelTables(integers.tensor("likelihood.weights").data), about: JSON.parse(about.about) };
}
