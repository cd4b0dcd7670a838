// The network of the lossless layer: the pixels of one tile, each with what those before it say of it. FORMAT.md, the section
// of that name. Maps of pixels are Float32Arrays of a tile's size in multiples of 8; colors are green, red, blue.

import { FormatError } from "./bytes.js";
import { ACTIVATION_LIMIT, rounded, STATE_LIMIT } from "./integers.js";
import { CellMap, sideBySide } from "./maps.js";

const PIXELS = { 4: [[0, 0], [1, 1], [0, 1], [1, 0]], 2: [[1, 1], [0, 1], [1, 0]], 1: [[1, 1], [0, 1], [1, 0]] }; // by pitch
const BASE = 6; // maps that are made of the state
const FED = 9; // what is fed back of a pixel
const MIDDLE = 1024;
const VALUE_LIMIT = 2047;
const SHARE_LIMIT = 256;
const CORRECTION_LIMIT = 8192;
const MOST_MEAN = 2040;

const clamp = (value, limit) => Math.min(Math.max(value, -limit), limit);
const within = (value, most) => Math.min(Math.max(value, 0), most);

/** A tile while it is decoded. integers: of the layer's weights; take(site): pops the values of a site, as `Site` says. */
export class Tile {
  constructor(integers, take) {
    Object.assign(this, { integers, take, known: null, base: null, pixels: null });
  }

  /** Returns the pixels (a map of 3 channels) of a tile; state: as a level left it; start: its place among the starts. */
  decode(state, start) {
    const { integers } = this;
    const embed = integers.tensor("embed").data.subarray(start * state.channels, (start + 1) * state.channels);
    const data = state.data.map((value, i) => clamp(value + embed[i % state.channels], STATE_LIMIT));
    state = integers.block("block", new CellMap(state.rows, state.columns, state.channels, data)).state;
    this.base = integers.wide("show", state, ACTIVATION_LIMIT).children(8);
    this.pixels = new CellMap(this.base.rows, this.base.columns, 3);
    state = integers.wide("enter", state);
    let fed = null;
    for (const pitch of [4, 2, 1]) [state, fed] = this._stage(pitch, state, fed);
    return this.pixels;
  }

  /** Returns the state after a stage, and what was fed back of all pixels of each of its cells. */
  _stage(pitch, state, fed) {
    const { integers } = this;
    const name = `stages.${pitch}`;
    const found = {};
    if (fed) {
      state = integers.wide(`${name}.up`, state).children(2);
      state = integers.added(`${name}.base`, state, this.base.parents(2 * pitch));
      found[[0, 0]] = fed.children(2);
      state = integers.added(`${name}.known`, state, found[[0, 0]]);
    }
    for (const [i, pixel] of PIXELS[pitch].entries()) {
      const phase = new Phase(this, pitch, pixel, `${name}.phases.${i}`);
      [state, found[pixel]] = phase.decode(state);
    }
    return [state, sideBySide([[0, 0], [0, 1], [1, 0], [1, 1]].map((pixel) => found[pixel]))];
  }
}

/** One pixel of all cells. */
class Phase {
  constructor(tile, pitch, pixel, name) {
    Object.assign(this, { tile, pitch, pixel, name, integers: tile.integers });
    this.rows = tile.pixels.rows / (2 * pitch);
    this.columns = tile.pixels.columns / (2 * pitch);
    this.cells = this.rows * this.columns;
  }

  /** Returns the state with these pixels, and what is fed back of them; the pixels are put in their place. */
  decode(state) {
    const { integers, name } = this;
    state = integers.block(`${name}.refine`, state).state;
    const activations = integers.expanded(`${name}.predict`, state);
    const channels = [];
    for (let c = 0; c < 3; c++) {
      const prediction = this._predicted(activations, c, channels);
      const values = this.tile.take({ ...prediction, pixel: this.pixel, pitch: this.pitch, channel: c, before: channels });
      prediction.residual = prediction.mean.map((mean, i) => 8 * values[i] - mean);
      channels.push({ ...prediction, values });
      values.forEach((value, cell) => (this.tile.pixels.data[3 * this._place(cell, this.pixel) + c] = value));
    }
    const fed = this._fed(channels);
    return [integers.added(`${name}.feed`, state, fed), fed];
  }

  /** Returns how the values of a channel are distributed, given those of the channels before. */
  _predicted(activations, c, before) {
    const residuals = before.map(({ residual }) => residual);
    const inputs = sideBySide([
      activations,
      ...residuals.map((residual) => this._map(residual.map((value) => clamp(value, ACTIVATION_LIMIT)))),
      ...residuals.map((residual) => this._map(residual.map((value) => Math.min(Math.abs(value), ACTIVATION_LIMIT)))),
    ]);
    const head = `${this.name}.heads.${c}`;
    const hidden = this.integers.product(`${head}.fc1`, inputs, 0, ACTIVATION_LIMIT);
    const outputs = this.integers.product(`${head}.head`, hidden);
    const around = this._around(c);
    const of = (i) => (_, cell) => outputs.data[cell * outputs.channels + i];
    const linear = [around.detail, around.slant, ...residuals];
    const mean = new Float64Array(this.cells).map((_, cell) => {
      const share = (term, i) => clamp(of(3 + i)(0, cell), SHARE_LIMIT) * term[cell];
      const weighed = linear.reduce((sum, term, i) => sum + share(term, i), 0);
      return within(rounded(around.fixed[cell] + clamp(of(0)(0, cell), CORRECTION_LIMIT) + weighed / 64), MOST_MEAN);
    });
    const scale = new Uint8Array(this.cells).map((_, cell) => within(of(1)(0, cell), 47));
    const shape = new Uint8Array(this.cells).map((_, cell) => within(of(2)(0, cell), 3));
    const off = (channel) => channel.mean.map((value, cell) => channel.fixed[cell] - value);
    const own = { mean, fixed: around.fixed };
    return { ...own, scale, shape, terms: [off(own), ...linear, ...before.map(off)] };
  }

  /** Returns what the known neighbors of the pixels say of a channel, in eighths: fixed, detail and slant of each cell. */
  _around(c) {
    const shown = (place) => this.tile.base.data[BASE * place + c] + MIDDLE;
    const known = (place) => 8 * this.tile.pixels.data[3 * place + c];
    const [fixed, detail, slant] = [0, 0, 0].map(() => new Float64Array(this.cells));
    for (let cell = 0; cell < this.cells; cell++) {
      const own = shown(this._place(cell, this.pixel));
      fixed[cell] = own;
      if (this.pixel[0] + this.pixel[1] === 0) continue;
      const places = this._neighbors(cell);
      const [p, q] = [(known(places[0]) + known(places[1])) / 2, (known(places[2]) + known(places[3])) / 2];
      const mean = places.reduce((sum, place) => sum + shown(place), 0) / 4;
      [fixed[cell], detail[cell], slant[cell]] = [(p + q) / 2, own - mean, (p - q) / 2];
    }
    return { fixed, detail, slant };
  }

  /** Returns the places of the four neighbors of a pixel that are known: two opposite pairs. */
  _neighbors(cell) {
    const at = (pixel, down, right) => this._place(cell, pixel, down, right);
    const [row, column] = this.pixel;
    if (row && column) return [at([0, 0]), at([0, 0], 1, 1), at([0, 0], 0, 1), at([0, 0], 1, 0)];
    if (column) return [at([0, 0]), at([0, 0], 0, 1), at([1, 1]), at([1, 1], -1, 0)];
    return [at([0, 0]), at([0, 0], 1, 0), at([1, 1]), at([1, 1], 0, -1)];
  }

  /** Returns the place in the tile of a pixel of a cell, or of the one so far away; where there is none, of the nearest. */
  _place(cell, [y, x], down = 0, right = 0) {
    const row = within(Math.floor(cell / this.columns) + down, this.rows - 1);
    const column = within((cell % this.columns) + right, this.columns - 1);
    return (2 * row + y) * this.pitch * this.tile.pixels.columns + (2 * column + x) * this.pitch;
  }

  _fed(channels) {
    const fed = new CellMap(this.rows, this.columns, FED);
    for (const [c, { values, residual }] of channels.entries()) {
      for (let cell = 0; cell < this.cells; cell++) {
        const shown = this.tile.base.data[BASE * this._place(cell, this.pixel) + c] + MIDDLE;
        fed.data[FED * cell + c] = clamp(8 * values[cell] - shown, VALUE_LIMIT);
        fed.data[FED * cell + 3 + c] = clamp(residual[cell], VALUE_LIMIT);
        fed.data[FED * cell + 6 + c] = Math.min(Math.abs(residual[cell]), VALUE_LIMIT);
      }
    }
    return fed;
  }

  _map(data) {
    return new CellMap(this.rows, this.columns, 1, data);
  }
}

/** Throws FormatError where a sample is none. */
export function checkSample(value) {
  if (value < 0 || value > 255) throw new FormatError("the lossless layer gives a sample beyond 0 to 255");
  return value;
}
