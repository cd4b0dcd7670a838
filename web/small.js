// Chains of small pictures: all latents coded with bits back, on one stack. FORMAT.md, "Small pictures".

import { crc32, FormatError } from "./bytes.js";
import { rounded, STATE_LIMIT } from "./integers.js";
import { checkSample } from "./lossless.js";
import { CellMap } from "./maps.js";
import { located, placed } from "./sites.js";
import { Stack } from "./stack.js";

const MOST_EDGE = 64;
const CRC_BYTES = 4;
const COARSEST = 8;
const [LEAST_SCALE, MOST_SCALE, MOST_SHAPE] = [16, 47, 3];
const MEAN_LIMIT = 1016; // of a posterior, in eighths
const FARTHEST = 255; // of a value from the whole part of its mean
const SHARE_LIMIT = 256;
const COLORS = { low: [0, 0, 0], high: [255, 255, 255], center: [128, 128, 128], spread: [64, 64, 64] };
const GRAYS = { low: [0, 1, 252], high: [2, 251, 255], center: [1, 128, 253.5], spread: [1, 64, 1] };

const within = (value, low, high) => Math.min(Math.max(value, low), high);
const upTo = (count) => Array.from({ length: count }, (_, i) => i);

/**
 * Returns the pictures of a chain, each the samples of a gray or a color picture (Uint8Array).
 *
 * model: {integers, tables, about}; sizes: [{height, width}]. Throws FormatError unless all comes out even.
 */
export function decodeChain(model, bytes, sizes) {
  if (sizes.some(({ height, width }) => Math.max(height, width) > MOST_EDGE)) throw new FormatError("a picture is too large");
  const stack = new Stack(bytes.subarray(CRC_BYTES));
  const pictures = sizes.map((size) => new SmallPicture(model, stack, size).pop());
  stack.close();
  const sum = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  if (crc32(...pictures) !== sum) throw new FormatError("the pictures of a chain do not have its checksum");
  return pictures;
}

/** One picture on its way off the stack. */
class SmallPicture {
  constructor({ integers, tables, about }, stack, { height, width }) {
    Object.assign(this, { integers, tables, about, stack, height, width });
    this.isGray = about.channels === 1;
    this.limits = this.isGray ? GRAYS : COLORS;
    this.count = height * width;
  }

  /** Returns its samples. */
  pop() {
    const [whole, table] = located(8, 0, 0);
    const flag = whole + this.stack.pop(this.tables[table]);
    if (flag !== 0 && flag !== 1) throw new FormatError("a picture of a chain is neither borrowed nor direct");
    const visited = [];
    const state = this._descended(flag === 1, visited);
    const samples = this._merged(this._planes(state));
    if (flag) this._giveBack(visited, samples);
    return samples;
  }

  /** Returns the state at stride 1 after all latents; notes each in visited. */
  _descended(hasLatents, visited) {
    const { data: start } = this.integers.tensor("start");
    let state = new CellMap(...this._grid(COARSEST), start.length);
    for (let cell = 0; cell < state.cells; cell++) state.data.set(start, cell * start.length);
    let reached = COARSEST;
    for (const [index, [stride, channels]] of this.about.latents.entries()) {
      state = this._ascended(state, reached, stride);
      reached = stride;
      const found = this.integers.block(`latents.${index}.block`, state, true);
      const scale = half(found.heads, channels, 0).map((value) => within(value, LEAST_SCALE, MOST_SCALE));
      const shape = half(found.heads, channels, 1).map((value) => within(value, 0, MOST_SHAPE));
      const mean = new Float32Array(scale.length);
      const z = hasLatents ? this._popped({ mean, scale, shape }, upTo(scale.length)) : mean;
      visited.push({ index, stride, channels, state: found.state, scale, z });
      const latent = new CellMap(state.rows, state.columns, channels, Float32Array.from(z));
      state = added(found.state, this.integers.wide(`latents.${index}.project`, latent));
    }
    return this._ascended(state, reached, 1);
  }

  _grid(stride) {
    return [Math.ceil(this.height / stride), Math.ceil(this.width / stride)];
  }

  _ascended(state, reached, stride) {
    while (reached > stride) {
      reached /= 2;
      const [bottom, right] = this._grid(reached);
      state = this.integers.wide(`up.${reached}`, state).children(2).cut({ top: 0, left: 0, bottom, right });
    }
    return state;
  }

  /** Pops values of these distributions at some places; the others are 0. */
  _popped(distributions, places) {
    const values = new Int32Array(distributions.mean.length);
    for (const [place, whole, table] of placed(distributions, places)) values[place] = whole + this.stack.pop(this.tables[table]);
    return values;
  }

  /** Pops the three planes, given the state at stride 1. */
  _planes(state) {
    const { state: last, heads } = this.integers.block("last", state, true);
    const { center, spread, low, high } = this.limits;
    const head = (cell, i, least, most) => within(heads[9 * cell + i], least, most);
    const [planes, residuals] = [[], []];
    for (let p = 0; p < 3; p++) {
      const own = (_, cell) => rounded(last.data[cell * last.channels + p] * 2 ** -9 * spread[p]) + 8 * center[p];
      const mean = new Float64Array(this.count).map(own);
      const scale = new Uint8Array(this.count).map((_, cell) => head(cell, p, 0, MOST_SCALE));
      const shape = new Uint8Array(this.count).map((_, cell) => head(cell, 3 + p, 0, MOST_SHAPE));
      const share = (cell, before) => head(cell, 6 + (p * (p - 1)) / 2 + before, -SHARE_LIMIT, SHARE_LIMIT);
      const moved = mean.map((value, cell) => {
        const sum = residuals.reduce((total, residual, before) => total + residual[cell] * share(cell, before), 0);
        return within(value + Math.floor((sum + 32) / 64), 8 * low[p], 8 * high[p]);
      });
      const places = upTo(this.count).filter((cell) => !this.isGray || p === 0 || planes[0][cell] === p);
      planes.push(this._popped({ mean: moved, scale, shape }, places));
      if (!this.isGray) residuals.push(mean.map((value, cell) => 8 * planes[p][cell] - value));
    }
    return planes;
  }

  /** Returns the samples that planes stand for. */
  _merged([first, second, third]) {
    if (!this.isGray) {
      const planes = [second, first, third]; // red, green, blue
      return Uint8Array.from(upTo(3 * this.count), (i) => checkSample(planes[i % 3][Math.floor(i / 3)]));
    }
    return Uint8Array.from(first, (kind, cell) => {
      const { low, high } = this.limits;
      const value = [0, second[cell], third[cell]][kind] ?? -1;
      if (value < 0 || (kind && (value < low[kind] || value > high[kind]))) throw new FormatError("a sample is beyond its class");
      return value;
    });
  }

  /** Pushes the latents by their posteriors, the last one first: the bits that the encoder had borrowed. */
  _giveBack(visited, samples) {
    const features = this._analyzed(samples);
    for (const { index, stride, channels, state, scale, z } of visited.reverse()) {
      const data = features[stride].data.map((value, i) => within(value - state.data[i], -STATE_LIMIT, STATE_LIMIT));
      const lack = new CellMap(state.rows, state.columns, state.channels, data);
      const found = this.integers.block(`latents.${index}.inference`, lack, true);
      const moved = half(found.heads, channels, 0);
      const selected = this.integers.wide(`latents.${index}.select`, found.state).data;
      const mean = selected.map((value, i) => within(value + moved[i], -MEAN_LIMIT, MEAN_LIMIT));
      const wider = half(found.heads, channels, 1);
      const own = scale.map((value, i) => within(value + wider[i], LEAST_SCALE, MOST_SCALE));
      const shape = new Uint8Array(mean.length);
      for (const [place, whole, table] of placed({ mean, scale: own, shape }, upTo(mean.length)).reverse()) {
        if (Math.abs(z[place] - whole) > FARTHEST) throw new FormatError("a latent of a chain is beyond its posterior");
        this.stack.push(this.tables[table], z[place] - whole);
      }
    }
  }

  /** Returns the features of a picture, by stride. */
  _analyzed(samples) {
    const { center, low, high } = this.limits;
    const kind = (value) => (value >= low[1]) + (value >= low[2]);
    const gray = (value) => [kind(value), within(value, low[1], high[1]), within(value, low[2], high[2])];
    let map = new CellMap(this.height, this.width, 3);
    for (let cell = 0; cell < this.count; cell++) {
      const [red, green, blue] = samples.subarray(3 * cell);
      const values = this.isGray ? gray(samples[cell]) : [green, red, blue];
      values.forEach((value, p) => (map.data[3 * cell + p] = 2 * (value - center[p])));
    }
    const features = {};
    for (const stride of [2, 4, 8]) {
      map = this.integers.wide(`down.${stride}`, evened(map).parents(2));
      features[stride] = map = this.integers.block(`analysis.${stride}`, map).state;
    }
    return features;
  }
}

/** Returns the first or the second half of the outputs of each cell. */
function half(heads, channels, which) {
  const found = new Float32Array(heads.length / 2);
  return found.map((_, i) => heads[Math.floor(i / channels) * 2 * channels + which * channels + (i % channels)]);
}

function added(state, more) {
  const data = state.data.map((value, i) => within(value + more.data[i], -STATE_LIMIT, STATE_LIMIT));
  return new CellMap(state.rows, state.columns, state.channels, data);
}

/** Returns a map with its last row and column repeated where their number is odd. */
function evened(map) {
  const out = map.empty(map.rows + (map.rows % 2), map.columns + (map.columns % 2));
  const [down, right] = [map.rows % 2, map.columns % 2];
  for (const [row, column] of [[down, right], [down, 0], [0, right], [0, 0]]) out.paste(map, row, column);
  return out;
}
