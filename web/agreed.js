// The agreed path: states, prior means and scale indices, on integers alone. FORMAT.md, "The agreed path".

import { FormatError } from "./bytes.js";
import { packDense, packDepthwise } from "./machine.js";
import { CellMap } from "./maps.js";

const STATE_LIMIT = 2 ** 22 - 1;
const MEAN_LIMIT = 2 ** 18;
const MEAN_STEPS = 256; // of a prior mean, in a quantization step
const NUM_SCALES = 80;
const CELLS_AT_ONCE = 96; // about: what dense products of a block take in one go, so that it stays in the cache
const ROWS_AT_ONCE = 64; // of a lone product

/** Returns how many rows of a map a thread takes at once. */
export function rowsAtOnce(columns) {
  return Math.max(1, Math.round(CELLS_AT_ONCE / columns));
}

/** The integer products and blocks of a weights file, kept in a machine's memory once they have been used. */
export class Agreed {
  constructor(machine, tensors, config) {
    Object.assign(this, { machine, tensors, config });
    this._kept = new Map();
    this.latents = config.levels.flatMap((latents, level) => latents.map(([stride, channels]) => ({ level: level + 1, stride, channels })));
    this.latents.forEach((latent, index) => (latent.index = index));
  }

  /** Returns the state that every picture of that size begins with. */
  begin(height, width) {
    const { data } = this.tensor("start");
    const state = new CellMap(Math.ceil(height / 64), Math.ceil(width / 64), data.length);
    for (let cell = 0; cell < state.cells; cell++) state.data.set(data, cell * data.length);
    return { state, stride: 64, height, width, index: 0 };
  }

  /** Returns the position with its state brought to a finer stride. */
  atStride(position, stride) {
    let { state, stride: reached } = position;
    while (reached > stride) {
      reached /= 2;
      const found = this.wide(`up.${reached}`, state).children(2);
      const [bottom, right] = [Math.ceil(position.height / reached), Math.ceil(position.width / reached)];
      state = found.cut({ top: 0, left: 0, bottom, right });
    }
    return { ...position, state, stride: reached };
  }

  /** Returns the refined state, and prior mean (Float32Array) and scale index (Uint8Array) of every symbol of a latent. */
  prior({ index, stride, channels }, state) {
    for (let j = 0; j < this.config.refine_blocks[stride]; j++) ({ state } = this.block(`latents.${index}.refine.${j}`, state));
    const found = this.block(`latents.${index}.block`, state, true);
    const mean = new Float32Array(state.cells * channels);
    const scale = new Uint8Array(state.cells * channels);
    for (let cell = 0; cell < state.cells; cell++) {
      for (let c = 0; c < channels; c++) {
        const from = 2 * cell * channels + c;
        mean[cell * channels + c] = Math.min(Math.max(found.heads[from], -MEAN_LIMIT), MEAN_LIMIT);
        scale[cell * channels + c] = Math.min(Math.max(found.heads[from + channels], 0), NUM_SCALES - 1);
      }
    }
    return { state: found.state, mean, scale };
  }

  /** Returns the state with a latent added; symbols: a number for each mean. */
  advance({ index, channels }, state, mean, symbols) {
    const latent = new CellMap(state.rows, state.columns, channels, mean.map((value, i) => value + MEAN_STEPS * symbols[i]));
    const added = this.wide(`latents.${index}.project`, latent).data;
    const data = state.data.map((value, i) => Math.min(Math.max(value + added[i], -STATE_LIMIT), STATE_LIMIT));
    return new CellMap(state.rows, state.columns, state.channels, data);
  }

  /** Returns a tensor; FormatError if the weights file lacks it. */
  tensor(name) {
    const found = this.tensors[`agreed/${name}`];
    if (!found) throw new FormatError(`the weights file lacks the tensor ${name}`);
    return found;
  }

  /** Returns a map of a wide product of all cells, limited as states are. */
  wide(name, map) {
    const { address, numIn, numOut } = this._product(name, Float64Array);
    const { machine } = this;
    const x = machine.room(8 * (map.cells + 4) * numIn);
    const out = machine.room(8 * (map.cells + 4) * numOut);
    machine.f64.set(map.data, x / 8);
    const job = [x, address, out, map.cells, ROWS_AT_ONCE, numIn, numOut, STATE_LIMIT];
    machine.run("wideRows", job, Math.ceil(map.cells / ROWS_AT_ONCE));
    const data = Float32Array.from(machine.f64.subarray(out / 8, out / 8 + map.cells * numOut));
    machine.release();
    return new CellMap(map.rows, map.columns, numOut, data);
  }

  /** Returns {state, heads} after a block: heads are its outputs for all cells, if it has a head. */
  block(name, map, hasHead = false) {
    const gain = this._keep(`${name}.gain`, (found) => Float32Array.from(found.data));
    const kernel = this._depthwise(`${name}.kernel`);
    const [fc1, fc2] = [this._product(`${name}.fc1`), this._product(`${name}.fc2`)];
    const head = hasHead ? this._product(`${name}.head`) : { address: 0, numOut: 0 };
    const { machine } = this;
    const { rows, columns, channels, cells } = map;
    const atOnce = rowsAtOnce(columns);
    const scratchBytes = 4 * (atOnce * columns + 4) * (channels + fc1.numOut + head.numOut);
    const [state, padded] = [machine.room(4 * map.data.length), machine.room(4 * (rows + 2) * (columns + 2) * channels)];
    const [heads, scratch] = [machine.room(4 * cells * head.numOut), machine.room(machine.numThreads * scratchBytes)];
    machine.f32.set(map.data, state / 4);
    machine.f32.fill(0, padded / 4, padded / 4 + (rows + 2) * (columns + 2) * channels);
    machine.run("activations", [state, gain, padded, columns, channels], rows);
    const sizes = [state, padded, rows, columns, channels, atOnce];
    const job = [...sizes, kernel, fc1.address, fc2.address, head.address, heads, scratch, scratchBytes, fc1.numOut, head.numOut];
    machine.run("blockRows", job, Math.ceil(rows / atOnce));
    const data = machine.f32.slice(state / 4, state / 4 + map.data.length);
    const outputs = machine.f32.slice(heads / 4, heads / 4 + cells * head.numOut);
    machine.release();
    return { state: new CellMap(rows, columns, channels, data), heads: outputs };
  }

  _product(name, kind = Float32Array) {
    const { shape: [numOut, numIn], data } = this.tensor(`${name}.weight`);
    const [bias, gain] = ["bias", "gain"].map((part) => this.tensor(`${name}.${part}`).data);
    return { address: this._keep(`${name}.weight`, () => packDense(kind, data, bias, gain, numOut, numIn)), numIn, numOut };
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
