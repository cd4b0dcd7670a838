// The entropy coder: tables of symbols, and the stack that they are popped from. FORMAT.md, "The coder", "Tables".

import { FormatError } from "./bytes.js";

const TOTAL = 2 ** 24; // sum of the frequencies of a table
const NUM_SCALES = 80;
const OFFSET_INDEX = NUM_SCALES; // the table of scale offsets, behind those of the scale indices
const OFFSET_LIMIT = 12;
const WORD = 2 ** 32;

/** A table of the symbols -K..K, from their frequencies. */
export class Table {
  constructor(frequencies) {
    this.largest = (frequencies.length - 1) / 2;
    this.below = new Uint32Array(frequencies.length + 1); // sums of the frequencies before each symbol
    this.meanBits = 0; // that a symbol takes
    for (const [index, frequency] of frequencies.entries()) {
      this.below[index + 1] = this.below[index] + frequency;
      this.meanBits -= (frequency / TOTAL) * Math.log2(frequency / TOTAL);
    }
    if (this.below[frequencies.length] !== TOTAL) throw new FormatError("a coding table does not add up");
  }
}

/** Returns the table of offsets, which is the same for all models: of -K..K, those beyond -12..12 the least. */
export function offsetTable(largest = OFFSET_LIMIT) {
  const frequency = (distance) => (distance <= OFFSET_LIMIT ? 2 ** (21 - distance) : 1);
  const frequencies = Array.from({ length: 2 * largest + 1 }, (_, i) => frequency(Math.abs(i - largest)));
  frequencies[largest] += TOTAL - frequencies.reduce((sum, value) => sum + value, 0);
  return new Table(frequencies);
}

/** Returns the number of silent indices, and all tables, from the integers of a weights file. */
export function symbolTables(flat) {
  const tables = [];
  let position = 1;
  for (let index = 0; index < NUM_SCALES; index++) {
    const scale = 0.03 * (64 / 0.03) ** (index / (NUM_SCALES - 1));
    const size = 2 * Math.min(1023, 2 + Math.ceil(14 * scale - 1e-6)) + 1;
    tables.push(new Table(Array.from(flat.subarray(position, position + size), (weight) => weight + 1)));
    position += size;
  }
  return { numSilent: flat[0], tables: [...tables, offsetTable()] };
}

/**
 * An ANS stack, opened from a piece's bytes, or from the beginning of a piece (cut).
 *
 * Its state has 64 bits, in two numbers of 32: all products below stay under 2^53, so they are exact.
 * share: how much of what was asked for was there, by the bits that such symbols take on average; note: called with all that
 * is popped, if set.
 */
export class Stack {
  constructor(bytes, cut = false) {
    if (bytes.length % 4 && !cut) throw new FormatError(`a stack of ${bytes.length} bytes is not made of 32-bit words`);
    const whole = bytes.slice(0, bytes.length - (bytes.length % 4));
    this.words = new DataView(whole.buffer);
    this.position = 0;
    this.pushed = []; // words on top of those
    [this.high, this.low] = [0, 0];
    this.cut = cut;
    this.exhausted = cut && whole.length < 8;
    this.bitsPopped = this.bitsWanted = 0;
    if (whole.length && !this.words.getUint32(0, true)) throw new FormatError("a stack begins with a zero word");
    for (let i = 0; i < 2 && this._hasWords; i++) this._refill();
  }

  get _hasWords() {
    return this.pushed.length > 0 || this.position < this.words.byteLength;
  }

  get share() {
    return this.bitsWanted ? this.bitsPopped / this.bitsWanted : 0;
  }

  _refill() {
    this.high = this.low;
    if (this.pushed.length) {
      this.low = this.pushed.pop();
    } else {
      this.low = this.words.getUint32(this.position, true);
      this.position += 4;
    }
  }

  /** Takes the next symbol; 0 where it is not known because the stack is cut. */
  pop(table) {
    this.bitsWanted += table.meanBits;
    if (this.exhausted) return 0;
    this.bitsPopped += table.meanBits;
    const quantile = this.low & (TOTAL - 1);
    const place = found(table.below, quantile);
    this._advance(table.below[place + 1] - table.below[place], quantile - table.below[place]);
    if (!this.high) {
      if (this._hasWords) this._refill();
      else this.exhausted = this.cut;
    }
    return place - table.largest;
  }

  /** Puts a symbol back, so that `pop` gives it next. */
  push(table, symbol) {
    const below = table.below[symbol + table.largest];
    const frequency = table.below[symbol + table.largest + 1] - below;
    if (this.high >= frequency * 256) {
      this.pushed.push(this.low);
      [this.high, this.low] = [0, this.high];
    }
    const first = (this.high % frequency) * 65536 + (this.low >>> 16); // below 2^40, as the next one
    const second = (first % frequency) * 65536 + (this.low % 65536);
    const quotients = [this.high, first, second].map((value) => Math.floor(value / frequency));
    const quotient = quotients[0] * WORD + quotients[1] * 65536 + quotients[2]; // below 2^40
    this.high = Math.floor(quotient / 256);
    this.low = (quotient % 256) * TOTAL + (second % frequency) + below;
  }

  /** state = frequency * floor(state / 2^24) + rest. */
  _advance(frequency, rest) {
    const quotient = this.high * 256 + (this.low >>> 24); // below 2^40
    const lower = frequency * (quotient % 65536) + rest; // below 2^41
    const upper = frequency * Math.floor(quotient / 65536) + Math.floor(lower / 65536); // below 2^49
    this.high = Math.floor(upper / 65536);
    this.low = (upper % 65536) * 65536 + (lower % 65536);
    if (this.high >= WORD) throw new FormatError("a stack overflows");
  }

  /** Throws FormatError if a whole stack holds more than was popped. */
  close() {
    const isEmpty = !this.high && !this.low && !this._hasWords;
    if (!this.cut && !isEmpty) throw new FormatError("a stack does not end where its symbols end");
  }
}

/** Returns the place of the symbol whose frequencies hold the quantile. */
function found(below, quantile) {
  let [low, high] = [0, below.length - 1];
  while (high - low > 1) {
    const middle = (low + high) >>> 1;
    if (below[middle] <= quantile) low = middle;
    else high = middle;
  }
  return low;
}

/**
 * Takes the symbols of a latent: of scale indices (Uint8Array, by row, column, channel), an Int32Array of that length.
 *
 * They come by falling scale index; those of silent indices are 0.
 */
export function popAll(stack, { numSilent, tables }, indices) {
  const symbols = new Int32Array(indices.length);
  for (const place of sorted(indices, numSilent)) symbols[place] = stack.pop(tables[indices[place]]);
  stack.note?.(indices, symbols);
  return symbols;
}

/** Returns the places of indices that are not silent, by falling index (a counting sort). */
function sorted(indices, numSilent) {
  const ends = new Uint32Array(257);
  for (const index of indices) ends[index]++;
  let total = 0;
  for (let index = 255; index >= numSilent; index--) [ends[index], total] = [total, total + ends[index]];
  const places = new Uint32Array(total);
  indices.forEach((index, place) => {
    if (index >= numSilent) places[ends[index]++] = place;
  });
  return places;
}

/** Takes the scale offsets of a latent of so many channels; returns its scale indices moved by them. */
export function popOffsets(stack, tables, indices, channels) {
  const popped = (count) => popAll(stack, tables, new Uint8Array(count).fill(OFFSET_INDEX));
  const [kind] = popped(1);
  if (kind !== 0 && kind !== 1) throw new FormatError(`a layer has scale offsets of kind ${kind}`);
  if (!kind) return indices;
  const offsets = popped(channels);
  return indices.map((index, place) => {
    const moved = Math.min(Math.max(index + offsets[place % channels], tables.numSilent), NUM_SCALES - 1);
    return index < tables.numSilent ? index : moved;
  });
}
