// The arithmetic of every agreed path: products and blocks on integers, exact on every machine. FORMAT.md, "The agreed path".

import { FormatError } from "./bytes.js";
import { inputs, outputs, packDense, packDepthwise } from "./machine.js";
import { CellMap } from "./maps.js";

export const ACTIVATION_LIMIT = 1023;
export const STATE_LIMIT = 2 ** 22 - 1;
const MOST = 2 ** 60; // as a limit: none
const CELLS_AT_ONCE = 96; // about: what dense products of a block take in one go, so that it stays in the cache
const ROWS_AT_ONCE = 64; // of a lone product

/** Returns how many rows of a map a thread takes at once. */
export function rowsAtOnce(columns) {
  return Math.max(1, Math.round(CELLS_AT_ONCE / columns));
}

/** Returns the integer nearest to a number below 2^51, halves to even. */
export function rounded(value) {
  return value + 1.5 * 2 ** 52 - 1.5 * 2 ** 52;
}

/** The integer products and blocks of a weights file, kept in a machine's memory once they have been used. */
export class Integers {
  constructor(machine, tensors) {
    Object.assign(this, { machine, tensors });
    this._kept = new Map();
  }

  /** Returns a tensor; FormatError if the weights file lacks it. */
  tensor(name) {
    const found = this.tensors[name];
    if (!found) throw new FormatError(`the weights file lacks the tensor ${name}`);
    return found;
  }

  /** Returns a map of a wide product of all cells, of which no number is beyond the limit. */
  wide(name, map, limit = STATE_LIMIT) {
    const { address, numIn, numOut, paddedIn, paddedOut } = this._product(name, Float64Array);
    const { machine } = this;
    const [x, out] = [machine.room(8 * (map.cells + 4) * paddedIn), machine.room(8 * (map.cells + 4) * paddedOut)];
    machine.f64.set(padded(map.data, numIn, paddedIn), x / 8);
    const job = [x, address, out, map.cells, ROWS_AT_ONCE, paddedIn, paddedOut, limit];
    machine.run("wideRows", job, Math.ceil(map.cells / ROWS_AT_ONCE));
    const whole = Float32Array.from(machine.f64.subarray(out / 8, out / 8 + map.cells * paddedOut));
    const data = padded(whole, paddedOut, numOut);
    machine.release();
    return new CellMap(map.rows, map.columns, numOut, data);
  }

  /** Returns {state, heads} after a block: heads are its outputs for all cells, if it has a head. */
  block(name, map, hasHead = false) {
    const gain = this._keep(`${name}.gain`, (found) => Float32Array.from(found.data));
    const kernel = this._depthwise(`${name}.kernel`);
    const [fc1, fc2] = [this._product(`${name}.fc1`), this._product(`${name}.fc2`)];
    const head = hasHead ? this._product(`${name}.head`) : { address: 0, numOut: 0, paddedOut: 0 };
    const { machine } = this;
    const { rows, columns, channels, cells } = map;
    const atOnce = rowsAtOnce(columns);
    const scratchBytes = 4 * (atOnce * columns + 4) * (channels + fc1.numOut + head.paddedOut);
    const state = machine.room(4 * map.data.length);
    const frame = machine.room(4 * (rows + 2) * (columns + 2) * channels);
    const heads = machine.room(4 * cells * head.paddedOut);
    const scratch = machine.room(machine.numThreads * scratchBytes);
    this._activate(map, gain, state, frame);
    const sizes = [state, frame, rows, columns, channels, atOnce];
    const products = [kernel, fc1.address, fc2.address, head.address];
    const job = [...sizes, ...products, heads, scratch, scratchBytes, fc1.numOut, head.paddedOut];
    machine.run("blockRows", job, Math.ceil(rows / atOnce));
    const data = machine.f32.slice(state / 4, state / 4 + map.data.length);
    const outputs = machine.f32.slice(heads / 4, heads / 4 + cells * head.paddedOut);
    machine.release();
    return { state: new CellMap(rows, columns, channels, data), heads: padded(outputs, head.paddedOut, head.numOut) };
  }

  /** Returns a map of a product of all cells; its numbers are whole, from low to high. */
  product(name, map, low = -MOST, high = MOST) {
    const { machine } = this;
    const { address, numIn, numOut, paddedIn, paddedOut } = this._product(name);
    const [x, out] = [machine.room(4 * (map.cells + 4) * paddedIn), machine.room(4 * (map.cells + 4) * paddedOut)];
    machine.f32.set(padded(map.data, numIn, paddedIn), x / 4);
    const job = [x, address, out, map.cells, ROWS_AT_ONCE, paddedIn, paddedOut, low, high];
    machine.run("exactRows", job, Math.ceil(map.cells / ROWS_AT_ONCE));
    const data = padded(machine.f32.slice(out / 4, out / 4 + map.cells * paddedOut), paddedOut, numOut);
    machine.release();
    return new CellMap(map.rows, map.columns, numOut, data);
  }

  /** Returns the state with a product of x added, limited as states are. */
  added(name, state, x) {
    const more = this.product(name, x, -STATE_LIMIT, STATE_LIMIT).data;
    const data = state.data.map((value, i) => Math.min(Math.max(value + more[i], -STATE_LIMIT), STATE_LIMIT));
    return new CellMap(state.rows, state.columns, state.channels, data);
  }

  /** Returns activations of a state: the first half of a block. */
  expanded(name, map) {
    const gain = this._keep(`${name}.gain`, (found) => Float32Array.from(found.data));
    const kernel = this._depthwise(`${name}.kernel`);
    const { machine } = this;
    const { rows, columns, channels } = map;
    const [state, frame] = [machine.room(4 * map.data.length), machine.room(4 * (rows + 2) * (columns + 2) * channels)];
    const out = machine.room(4 * map.data.length);
    this._activate(map, gain, state, frame);
    machine.run("expandedRow", [frame, kernel, out, columns, channels], rows);
    const data = machine.f32.slice(out / 4, out / 4 + map.data.length);
    machine.release();
    return new CellMap(rows, columns, channels, data);
  }

  /** Puts a map into memory, and its activations in a frame of zeros. */
  _activate(map, gain, state, frame) {
    const { machine } = this;
    const { rows, columns, channels } = map;
    machine.f32.set(map.data, state / 4);
    machine.f32.fill(0, frame / 4, frame / 4 + (rows + 2) * (columns + 2) * channels);
    machine.run("activations", [state, gain, frame, columns, channels], rows);
  }

  _product(name, kind = Float32Array) {
    const { shape: [numOut, numIn], data } = this.tensor(`${name}.weight`);
    const [bias, gain] = ["bias", "gain"].map((part) => this.tensor(`${name}.${part}`).data);
    const address = this._keep(`${name}.weight`, () => packDense(kind, data, bias, gain, numOut, numIn));
    return { address, numIn, numOut, paddedIn: inputs(numIn), paddedOut: outputs(kind, numOut) };
  }

  _depthwise(name) {
    const [bias, gain] = ["bias", "gain"].map((part) => this.tensor(`${name}.${part}`).data);
    return this._keep(`${name}.weight`, ({ data, shape }) => packDepthwise(data, bias, gain, shape[0]));
  }

  /** Returns where a tensor is kept, packed. */
  _keep(name, pack) {
    if (!this._kept.has(name)) this._kept.set(name, this.machine.keep(pack(this.tensor(name))));
    return this._kept.get(name);
  }
}

/** Returns numbers in rows of another length: cut, or filled up with zeros. */
function padded(data, from, to) {
  if (from === to) return data;
  const found = new Float32Array((data.length / from) * to);
  for (let row = 0; row * from < data.length; row++) {
    found.set(data.subarray(row * from, row * from + Math.min(from, to)), row * to);
  }
  return found;
}
