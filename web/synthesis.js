// From the last state to pixels, in floats: nothing that is decoded depends on it.

import { rowsAtOnce } from "./integers.js";
import { packDense, packDepthwise } from "./machine.js";
import { CellMap } from "./maps.js";

const STATE_UNIT = 2 ** -12;
const NUM_COEFFICIENTS = 192;
const ROWS_AT_ONCE = 64; // of a lone product

/** The float network of a weights file, kept in a machine's memory once it has been used. */
export class Synthesis {
  constructor(machine, tensors, config) {
    Object.assign(this, { machine, tensors, config });
    this._kept = new Map();
  }

  /** Returns the pixels, about 0 to 1, of a state at stride 8 that holds so many levels: a map of 3 channels. */
  pixels(state, levels) {
    const weights = shares(levels, this.config.levels.length);
    const embed = this._weighed("synthesis.embed", weights);
    let refined = mapped(state, (value, channel) => value * STATE_UNIT + embed[channel]);
    for (let i = 0; i < this.config.synthesis_blocks; i++) refined = this._floatBlock(`synthesis.blocks.${i}`, refined);
    let fine = this._product("synthesis.fine_in", refined).children(2);
    const { tail_blocks: numRectified, tail_float_blocks: numFloat } = this.config;
    for (let i = 0; i < numRectified + numFloat; i++) {
      const name = `synthesis.fine_blocks.${i}`;
      fine = i < numRectified ? this._rectifiedBlock(name, fine) : this._floatBlock(name, fine);
    }
    const corrections = this._product("synthesis.fine_out", fine).children(4).data;
    const pixels = this._transformed(refined, weights);
    for (let i = 0; i < pixels.data.length; i++) pixels.data[i] += corrections[i] / 8 + 0.5;
    return pixels;
  }

  /** Returns what the coefficients of a refined state say of the pixels. */
  _transformed(refined, weights) {
    const gain = this._weighed("synthesis.coefficient_gain", weights);
    const sigma = this._data("sigma");
    const first = refined.data.filter((_, i) => i % refined.channels < NUM_COEFFICIENTS);
    let x = new CellMap(refined.rows, refined.columns, NUM_COEFFICIENTS, first);
    x = mapped(x, (value, channel) => value * gain[channel]);
    x = sum(x, this._product("synthesis.overlap.across", beside(x, 0, 1)));
    x = sum(x, this._product("synthesis.overlap.along", beside(x, 1, 0)));
    x = mapped(x, (value, channel) => (value * sigma[channel]) / 255);
    return this._product("dct", x, true).children(8);
  }

  _data(name) {
    return this.tensors[`float/${name}`].data;
  }

  /** Returns the sum of the rows of a tensor, one a level, with their weights. */
  _weighed(name, weights) {
    const data = this._data(name);
    const width = data.length / weights.length;
    const sum = (i) => weights.reduce((total, weight, row) => total + weight * data[row * width + i], 0);
    return Float32Array.from({ length: width }, (_, i) => sum(i));
  }

  /** Returns a dense product of all cells. isTransposed: the tensor's rows are inputs. */
  _product(name, map, isTransposed = false) {
    const { machine } = this;
    const address = isTransposed ? this._dense(name, name, isTransposed) : this._dense(`${name}.weight`, name);
    const numOut = this.tensors[isTransposed ? `float/${name}` : `float/${name}.weight`].shape[0];
    const [x, out] = [machine.room(4 * (map.cells + 4) * map.channels), machine.room(4 * (map.cells + 4) * numOut)];
    machine.f32.set(map.data, x / 4);
    const job = [x, address, out, map.cells, ROWS_AT_ONCE, map.channels, numOut];
    machine.run("floatRows", job, Math.ceil(map.cells / ROWS_AT_ONCE));
    const data = machine.f32.slice(out / 4, out / 4 + map.cells * numOut);
    machine.release();
    return new CellMap(map.rows, map.columns, numOut, data);
  }

  _dense(weights, name, isTransposed = false) {
    const bias = this.tensors[`float/${name}.bias`]?.data ?? null;
    return this._keep(weights, ({ data, shape: [numOut, numIn] }) => {
      const turned = isTransposed ? data.map((_, i) => data[(i % numIn) * numOut + Math.floor(i / numIn)]) : data;
      return packDense(Float32Array, turned, bias ?? new Float32Array(numOut), null, numOut, numIn);
    });
  }

  _rectifiedBlock(name, map) {
    const balance = this._data(`${name}.balance`);
    const kernel = this._keep(`${name}.kernel`, ({ data, shape: [channels] }) => {
      const folded = data.map((value, i) => value * balance[Math.floor(i / (data.length / channels))]);
      const bias = this._data(`${name}.kernel_bias`).map((value, channel) => value * balance[channel]);
      return packDepthwise(folded, bias, null, channels);
    });
    return this._block(name, map, { task: "framed", center: 0, kernel, taps: 3 });
  }

  _floatBlock(name, map) {
    const center = this._keep(`${name}.center`, ({ data }) => Float32Array.of(...data, ...this._data(`${name}.balance`)));
    const kernel = this._keep(`${name}.kernel`, ({ data, shape: [channels] }) => {
      return packDepthwise(data, this._data(`${name}.kernel_bias`), null, channels);
    });
    return this._block(name, map, { task: "centered", center, kernel, taps: 5 });
  }

  _block(name, map, { task, center, kernel, taps }) {
    const { machine } = this;
    const [fc1, fc2] = ["fc1", "fc2"].map((part) => this._dense(`${name}.${part}.weight`, `${name}.${part}`));
    const hidden = this.tensors[`float/${name}.fc1.weight`].shape[0];
    const value = this.tensors[`float/${name}.value.weight`] ? this._dense(`${name}.value.weight`, `${name}.value`) : 0;
    const { rows, columns, channels } = map;
    const margin = (taps - 1) / 2;
    const atOnce = rowsAtOnce(columns);
    const paddedLength = (rows + 2 * margin) * (columns + 2 * margin) * channels;
    const scratchBytes = 4 * (atOnce * columns + 4) * (channels + 2 * hidden);
    const [state, padded] = [machine.room(4 * map.data.length), machine.room(4 * paddedLength)];
    const scratch = machine.room(machine.numThreads * scratchBytes);
    machine.f32.set(map.data, state / 4);
    machine.f32.fill(0, padded / 4, padded / 4 + paddedLength);
    machine.run(task, [state, center, padded, columns, channels, margin], rows);
    const job = [state, padded, rows, columns, channels, atOnce, kernel, fc1, fc2, value, scratch, scratchBytes, hidden, taps];
    machine.run("floatBlockRows", job, Math.ceil(rows / atOnce));
    const data = machine.f32.slice(state / 4, state / 4 + map.data.length);
    machine.release();
    return new CellMap(rows, columns, channels, data);
  }

  /** Returns where a tensor is kept, packed. */
  _keep(name, pack) {
    if (!this._kept.has(name)) this._kept.set(name, this.machine.keep(pack(this.tensors[`float/${name}`])));
    return this._kept.get(name);
  }
}

/** Returns which of `count` levels a state holds, two sharing it where the last one is not whole. */
function shares(levels, count) {
  const low = Math.min(Math.max(Math.floor(levels), 1), count);
  const part = low < count && levels > low ? levels - low : 0;
  return Array.from({ length: count }, (_, i) => (i === low - 1 ? 1 - part : i === low ? part : 0));
}

function mapped(map, change) {
  return new CellMap(map.rows, map.columns, map.channels, map.data.map((value, i) => change(value, i % map.channels)));
}

function sum(a, b) {
  return new CellMap(a.rows, a.columns, a.channels, a.data.map((value, i) => value + b.data[i]));
}

/** Returns the cells before and after each cell, so many rows and columns away; beyond the edge it is the cell itself. */
function beside(map, down, right) {
  const { rows, columns, channels } = map;
  const out = new CellMap(rows, columns, 2 * channels);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const before = Math.max(row - down, 0) * columns + Math.max(column - right, 0);
      const next = Math.min(row + down, rows - 1) * columns + Math.min(column + right, columns - 1);
      const to = 2 * (row * columns + column) * channels;
      out.data.set(map.data.subarray(before * channels, (before + 1) * channels), to);
      out.data.set(map.data.subarray(next * channels, (next + 1) * channels), to + channels);
    }
  }
  return out;
}
