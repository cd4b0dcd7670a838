// The models that the server has, by their fingerprints; each is loaded once, when it is needed.

import { Machine } from "./machine.js";
import { loadLossless, loadModel, loadSmall } from "./model.js";
import { ranges } from "./source.js";
import { helpers } from "./threads.js";

const models = new Map();
let machine = null;

/** Returns a promise of the model at an address, loaded on the one machine that there is. */
function loaded(address, load) {
  machine ??= new Machine(helpers());
  if (!models.has(address)) models.set(address, load(ranges(address)));
  return models.get(address);
}

/** Each returns a promise; a lossless layer belongs to the model with the fingerprint `base`. */
export const installed = {
  photo: (fingerprint) => loaded(`/weights/${fingerprint}`, (range) => loadModel(machine, fingerprint, range)),
  lossless: (base, fingerprint) => loaded(`/lossless/${fingerprint}`, (range) => loadLossless(machine, base, fingerprint, range)),
  small: (fingerprint) => loaded(`/chain/${fingerprint}`, (range) => loadSmall(machine, fingerprint, range)),
};
