// The memory that networks are run in, and what runs the tasks of `tasks.js` on it.

import { compiled, instantiated, memory, PANEL_BYTES, UNROLLED } from "./kernels.js";
import { TASKS } from "./tasks.js";
import { canShare } from "./threads.js";

const PAGE_BYTES = 65536;
const ALIGNED = 16;

/** Weights in memory, with the room before them for whoever needs some for a moment. helpers: of `threads.js`, or null. */
export class Machine {
  constructor(helpers = null) {
    this.isShared = helpers !== null;
    this.module = compiled(this.isShared);
    this.memory = memory(this.isShared);
    this.functions = instantiated(this.module, this.memory);
    this.helpers = helpers;
    this.numThreads = 1 + (helpers?.join(this.module, this.memory) ?? 0);
    this._end = ALIGNED; // of what stays; address 0 stands for nothing
    this._free = ALIGNED; // where room begins that is not taken
  }

  /** Returns the memory as float32; to be asked for anew whenever room was taken since. */
  get f32() {
    return new Float32Array(this.memory.buffer);
  }

  /** Returns the memory as float64, likewise. */
  get f64() {
    return new Float64Array(this.memory.buffer);
  }

  /** Returns the address of a copy of an array, for ever. Nobody may hold room meanwhile. */
  keep(array) {
    this.release();
    const address = this.room(array.byteLength);
    new array.constructor(this.memory.buffer, address, array.length).set(array);
    this._end = this._free;
    return address;
  }

  /** Returns the address of so many bytes, until the next `release`. */
  room(numBytes) {
    const address = this._free;
    this._free += Math.ceil(numBytes / ALIGNED) * ALIGNED;
    const missing = this._free - this.memory.buffer.byteLength;
    if (missing > 0) this._grow(Math.ceil(missing / PAGE_BYTES));
    return address;
  }

  _grow(numPages) {
    try {
      this.memory.grow(numPages);
    } catch {
      this.release();
      throw new Error("there is not enough memory to decode this picture here");
    }
  }

  /** Gives all room back. */
  release() {
    this._free = this._end;
  }

  /** Does a task on all its parts. */
  run(name, job, numParts) {
    if (this.helpers && canShare(numParts)) {
      this.helpers.run(name, job, numParts, (part) => this._do(name, job, part));
      return;
    }
    for (let part = 0; part < numParts; part++) this._do(name, job, part);
  }

  _do(name, job, part) {
    TASKS[name](this.functions, this.f32, job, part, 0);
  }
}

/** Returns how many inputs a product is given: as many as the kernels take, the last ones zeros. */
export function inputs(numIn) {
  return Math.ceil(numIn / UNROLLED) * UNROLLED;
}

/** Returns how many outputs it gives, in an array of kind. */
export function outputs(kind, numOut) {
  const side = PANEL_BYTES / kind.BYTES_PER_ELEMENT;
  return Math.ceil(numOut / side) * side;
}

/**
 * Returns a dense product as the kernels take it, an array of kind: weights in panels, then bias, then gain (or none).
 *
 * weight: (numOut, numIn) in rows.
 */
export function packDense(kind, weight, bias, gain, numOut, numIn) {
  const side = PANEL_BYTES / kind.BYTES_PER_ELEMENT;
  const [outs, ins] = [outputs(kind, numOut), inputs(numIn)];
  const packed = new kind(outs * (ins + (gain ? 2 : 1)));
  for (let o = 0; o < numOut; o++) {
    const start = (o - (o % side)) * ins + (o % side);
    for (let i = 0; i < numIn; i++) packed[start + i * side] = weight[o * numIn + i];
  }
  if (bias) packed.set(bias, outs * ins);
  if (gain) packed.set(gain, outs * (ins + 1));
  return packed;
}

/** Returns a depthwise kernel likewise: for each tap the weights of all channels, then bias, then gain. */
export function packDepthwise(weight, bias, gain, channels) {
  const taps = weight.length / channels;
  const packed = new Float32Array(channels * (taps + 2));
  for (let c = 0; c < channels; c++) for (let tap = 0; tap < taps; tap++) packed[tap * channels + c] = weight[c * taps + tap];
  packed.set(bias, taps * channels);
  if (gain) packed.set(gain, (taps + 1) * channels);
  return packed;
}
