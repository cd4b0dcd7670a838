// Pictures of few colors off a stack of bits: documents, screens, drawings. FORMAT.md, "Few colors".
//
// A wave is all pixels whose column plus three times their row is one number: none of them needs another.

import { FormatError } from "./bytes.js";
import { ABOVE, Counts, LEFT } from "./counts.js";

const MAX_WAVES = 2 ** 17;
const DELAY = 3; // waves from a pixel to the one below it
const WORD_BYTES = 4;

/** The way through a picture, wave by wave, while its stack arrives. known: how many waves are done. */
export class Waves {
  /** numColors: 2 .. 4096. Throws FormatError if the picture is too large for this way of coding. */
  constructor(height, width, numColors) {
    Object.assign(this, { height, width, known: 0, numWaves: width + DELAY * (height - 1), isOpen: false });
    const isLarge = this.numWaves > MAX_WAVES;
    if (isLarge) throw new FormatError(`a picture of ${width}x${height} pixels is too large for this way of coding`);
    this.depth = numColors > 2 ? 32 - Math.clz32(numColors - 1) : 0;
    this.rowLength = width + LEFT; // zeros stand before each row, which are behind the one above, too
    const mostPixels = Math.min(height, Math.ceil(width / DELAY));
    const numNumbers = (height + ABOVE + 1) * this.rowLength;
    this.counts = new Counts(mostPixels, mostPixels * (1 + this.depth), 2 * numNumbers);
    this.numbers = new Uint16Array(this.counts.memory.buffer, this.counts.room, numNumbers);
    this.position = 0; // in the stack's bytes
  }

  /** Returns the place in `numbers` of the color of a pixel. */
  place(row, column) {
    return (row + ABOVE) * this.rowLength + LEFT + column;
  }

  /** Returns how many of the pixels of a row are known, from the left. */
  numKnown(row) {
    return Math.min(Math.max(this.known - DELAY * row, 0), this.width);
  }

  /**
   * Decodes for some milliseconds; returns whether all is done that can be. Throws FormatError.
   *
   * stack: its bytes so far; isCut: there were or will be more of them.
   */
  walk(stack, isCut, milliseconds) {
    if (!this._open(stack, isCut)) return true;
    for (const end = performance.now() + milliseconds; this.known < this.numWaves; this.known++) {
      if (performance.now() > end) return false;
      if (!this._wave(this.known, stack, isCut)) return true;
    }
    const isEmpty = this.counts.state.every((half) => half === 0) && this.position === stack.length;
    if (!isCut && !isEmpty) throw new FormatError("a stack does not end where its symbols end");
    return true;
  }

  /** Returns whether there are words enough to begin with; takes the first two of them, once. */
  _open(stack, isCut) {
    const isOdd = stack.length % WORD_BYTES > 0;
    if (isOdd && !isCut) throw new FormatError(`a stack of ${stack.length} bytes is not made of 32-bit words`);
    if (this.isOpen || (stack.length < 2 * WORD_BYTES && isCut)) return this.isOpen;
    const numWords = Math.min(2, stack.length / WORD_BYTES);
    const view = new DataView(stack.buffer, stack.byteOffset, stack.byteLength);
    const words = Array.from({ length: numWords }, (_, i) => view.getUint32(WORD_BYTES * i, true));
    if (words[0] === 0) throw new FormatError("a stack begins with a zero word");
    this.counts.state = [words[numWords - 1] ?? 0, numWords > 1 ? words[0] : 0];
    [this.isOpen, this.position] = [true, WORD_BYTES * numWords];
    return true;
  }

  /** Decodes one wave; returns false, as if nothing had been, where words are missing. */
  _wave(number, stack, isCut) {
    const first = Math.max(0, Math.ceil((number - this.width + 1) / DELAY));
    const count = Math.min(this.height - 1, Math.floor(number / DELAY)) + 1 - first;
    if (count <= 0) return true; // of pictures of one column or two
    const { counts, position } = this;
    const before = counts.state;
    const begin = this.place(first, number - DELAY * first);
    const step = this.rowLength - DELAY;
    const end = stack.length - (stack.length % WORD_BYTES);
    counts.begin(stack.subarray(position, end), 2 * begin + counts.room, 2 * step, 2 * this.rowLength, count);
    const isThere = this._decode(count, begin, step, isCut);
    if (isThere) this.position += counts.numUsed;
    else {
      counts.forget();
      counts.state = before;
    }
    return isThere;
  }

  /** Decodes the pixels of a wave; returns whether their bits were there. */
  _decode(count, begin, step, isCut) {
    const { counts, numbers, depth } = this;
    const { nodes, who } = counts;
    for (let i = 0; i < count; i++) [who[i], nodes[i]] = [i, 0];
    if (!this._popped(count, isCut)) return false;
    const others = this._others(count);
    for (let digit = 0; digit < depth && others; digit++) if (!this._popped(others, isCut)) return false;
    const isOther = new Uint8Array(count);
    for (let k = 0; k < others; k++) isOther[who[k]] = 1;
    for (let i = 0, place = begin; i < count; i++, place += step) {
      const left = numbers[place - 1];
      numbers[place] = !isOther[i] ? left : depth ? nodes[i] - 2 ** depth : 1 - left;
    }
    return true;
  }

  _popped(count, isCut) {
    this.counts.pop(count);
    return !isCut || !this.counts.exhausted;
  }

  /** Returns how many pixels differ from those to their left; these are in `who` now, and their nodes are begun. */
  _others(count) {
    const { nodes, who } = this.counts;
    let others = 0;
    for (let i = 0; i < count; i++) {
      if (nodes[i] === 1) continue;
      who[others++] = i;
      nodes[i] = 1;
    }
    return others;
  }
}
