// What a reader has of a file, as states and pixels: the picture after each level, or a region of it.

import { FormatError } from "./bytes.js";
import { atFinest, completed, decoded, filled, numCoarse } from "./levels.js";
import { EVERYWHERE } from "./reader.js";
import { Rectangle, windows } from "./rectangle.js";

const CONTEXT = 32; // pixels around a window that are predicted with it
const MARGIN = 64; // pixels of its neighbors that the synthesis of a window sees
const KEPT_BYTES = 600e6; // of prefixes and states, about

/**
 * Decodes the file of a reader, of which more may arrive.
 *
 * faults: window, or EVERYWHERE -> why it ends early. note: called with the indices and symbols of all that is popped.
 */
export class Decoder {
  constructor(model, reader) {
    const { header } = reader;
    Object.assign(this, model);
    if (header.numLevels > model.numLevels || header.numCoarse !== numCoarse(this.agreed)) {
      throw new FormatError("the file has other levels than its model");
    }
    Object.assign(this, { reader, header, numCoarse: header.numCoarse, note: null });
    this.windows = windows(header.height, header.width);
    this.faults = new Map();
    this._kept = new Map(); // what was made, by name; what was used last stands last
  }

  /** Returns how many whole levels have arrived everywhere, at most so many. */
  numArrived(limit = this.header.numLevels) {
    const { coarse, pieces } = this.reader;
    if (coarse.length < Math.min(this.numCoarse, limit)) return coarse.length;
    return Math.min(limit, this.numCoarse + Math.min(...pieces.map((own) => own.length)));
  }

  /** Returns the prefix of the whole picture with the levels of it that have arrived, at most so many. */
  coarse(limit) {
    let prefix = this._once("0 levels", () => {
      return { position: this.agreed.begin(this.header.height, this.header.width), levels: 0, inside: null };
    });
    for (const [index, piece] of this.reader.coarse.slice(0, limit).entries()) {
      prefix = this._once(`${index + 1} levels`, () => this._pushed(EVERYWHERE, prefix, piece, index));
    }
    return prefix;
  }

  /** Returns the prefix of a window with the levels that have arrived, at most so many; all coarse levels are there. */
  prefix(index, limit) {
    let prefix = this._once(`window ${index}`, () => this._windowed(this.coarse(limit), index));
    for (const [fine, piece] of this.reader.pieces[index].slice(0, Math.max(limit - this.numCoarse, 0)).entries()) {
      const level = this.numCoarse + fine;
      prefix = this._once(`window ${index}, ${level + 1} levels`, () => this._pushed(index, prefix, piece, level));
    }
    return prefix;
  }

  /** Returns {state, levels} of a window: its last state, and how many levels that holds. */
  state(index, limit) {
    const coarse = this.coarse(limit);
    if (Math.floor(coarse.levels) < this.numCoarse) {
      const { levels } = this._begun(coarse, limit);
      const whole = () => filled(this.agreed, this._begun(coarse, limit));
      const prefix = this._windowed(this._once(`filled ${levels}`, whole), index);
      return { state: this._once(`state ${index} ${levels}`, () => completed(this.agreed, prefix)), levels };
    }
    const prefix = this._withPart(index, this.prefix(index, limit), limit);
    const state = this._once(`state ${index} ${prefix.levels}`, () => completed(this.agreed, prefix));
    return { state, levels: prefix.levels };
  }

  /** Returns the state of a window as a level left it, at stride 8; FormatError if that is not there. */
  finest(index, level) {
    const prefix = level < this.numCoarse ? { levels: 0 } : this.prefix(index, level);
    if (prefix.levels < level) throw new FormatError(`the lossless layer builds on level ${level}, which is not there`);
    return atFinest(this.agreed, prefix);
  }

  /** Returns the windows that share pixels with a region, each with that part of it. */
  parts(region) {
    const found = this.windows.map((window, index) => ({ index, part: window.shared(region) }));
    return found.filter(({ part }) => !part.isEmpty);
  }

  /** Returns {pixels, levels} of a part of one window: red, green, blue and opacity; how many levels they have. */
  shown(index, part, limit = this.header.numLevels) {
    const { height, width, gray } = this.header;
    const cells = part.onCells(8).shared(new Rectangle(0, 0, height, width));
    const outer = cells.grown(MARGIN, height, width);
    const { levels } = this.state(index, limit);
    const map = this.synthesis.pixels(this._gathered(outer, limit), levels);
    return { pixels: bytes(map, part.within(outer), gray), levels };
  }

  /** Returns the state of a rectangle, put together from those of windows. */
  _gathered(outer, limit) {
    const { top, left, bottom, right } = outer.cells(8);
    let gathered = null;
    for (const { index } of this.parts(outer)) {
      const { state } = this.state(index, limit);
      gathered ??= state.empty(bottom - top, right - left);
      const place = this.windows[index].cells(8);
      gathered.paste(state, place.top - top, place.left - left);
    }
    return gathered;
  }

  /** Returns the prefix of a window, from that of the picture after the coarse levels. */
  _windowed(coarse, index) {
    const { height, width } = this.header;
    const outer = this.windows[index].grown(CONTEXT, height, width);
    const state = coarse.position.state.cut(outer.cells(16));
    const position = { ...coarse.position, state, height: outer.height, width: outer.width };
    return { ...coarse, position, inside: this.windows[index].within(outer).cells(8) };
  }

  /** Returns the prefix with one level more, unless that is malformed or came after one that is. */
  _pushed(index, prefix, piece, before) {
    if (prefix.levels < before || this.faults.has(index)) return prefix;
    return this._tried(index, prefix, piece, false);
  }

  _begun(coarse, limit) {
    return this._withPart(EVERYWHERE, coarse, limit);
  }

  /** Returns the prefix with what has arrived of the next piece, if that may be used. */
  _withPart(index, prefix, limit) {
    const part = prefix.levels < limit && !this.faults.has(index) ? this.reader.partial(index) : [];
    if (!part.length) return prefix;
    return this._once(`part of ${index} ${prefix.levels} ${part.length}`, () => this._tried(index, prefix, part, true));
  }

  _tried(index, prefix, piece, isCut) {
    try {
      return decoded(this.agreed, this.tables, prefix, piece, this.header.offsets, isCut, this.note);
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      this.faults.set(index, `level ${Math.floor(prefix.levels) + 1} is malformed, it was ignored: ${error.message}`);
      return prefix;
    }
  }

  /** Returns what was made under a name, or makes it; what was not used for long is forgotten when there is too much. */
  _once(name, make) {
    const found = this._kept.get(name) ?? make();
    this._kept.delete(name);
    this._kept.set(name, found);
    let numBytes = 0;
    for (const [key, { data, position }] of [...this._kept].reverse()) {
      numBytes += (data ?? position.state.data).byteLength;
      if (numBytes > KEPT_BYTES && key !== name) this._kept.delete(key);
    }
    return found;
  }
}

/** Returns pixels about 0 to 1, of a part of a map, as bytes: clipped, rounded half to even; opaque. */
function bytes(map, part, isGray) {
  const found = new Uint8ClampedArray(4 * part.height * part.width).fill(255);
  for (let to = 0, row = part.top; row < part.bottom; row++) {
    for (let column = part.left; column < part.right; column++, to += 4) {
      const from = 3 * (row * map.columns + column);
      for (let c = 0; c < 3; c++) found[to + c] = map.data[from + c] * 255; // the array rounds and clips
      if (isGray) found.fill(Math.floor((found[to] + found[to + 1] + found[to + 2] + 1) / 3), to, to + 3);
    }
  }
  return found;
}
