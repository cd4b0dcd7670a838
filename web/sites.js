// The values of a tile of the lossless layer off their stack. FORMAT.md, "Tables and places" and "Prediction fit".

import { FormatError } from "./bytes.js";
import { checkSample } from "./lossless.js";
import { offsetTable, Table } from "./stack.js";

const LARGEST = 255; // symbols are -255..255
const SCALES = Array.from({ length: 48 }, (_, i) => 0.04 * 1200 ** (i / 47));
const STEPS = SCALES.map((scale) => (scale < 0.6 ? 8 : scale < 1.6 ? 4 : scale < 4 ? 2 : 1)); // of a mean, to an integer
const FIRST = STEPS.map((_, i) => STEPS.slice(0, i).reduce((sum, steps) => sum + steps, 0)); // table of each scale
const TABLES_OF_SHAPE = FIRST[47] + STEPS[47];
const OFFSETS = 4 * TABLES_OF_SHAPE; // the table of offsets
const WEIGHTS = 3 * TABLES_OF_SHAPE + FIRST[35]; // the table of weights
const LEAST_VALUES = 256; // sites of fewer have no corrections
const MOST_CLASSES = 4;
const [MOST_MEAN, MOST_SCALE, MOST_SHAPE] = [2040, 47, 3];

const within = (value, most) => Math.min(Math.max(value, 0), most);

/** Returns the tables of a lossless layer, from the integers of its weights file. */
export function pixelTables(flat) {
  const tables = [];
  let position = 0;
  for (let shape = 0; shape <= MOST_SHAPE; shape++) {
    for (const [i, scale] of SCALES.entries()) {
      const largest = Math.min(LARGEST, 2 + Math.ceil(49 * scale - 1e-6));
      for (let step = 0; step < STEPS[i]; step++) {
        const frequencies = new Array(2 * LARGEST + 1).fill(1);
        for (let d = -largest; d <= largest; d++) frequencies[LARGEST + d] += flat[position++];
        tables.push(new Table(frequencies));
      }
    }
  }
  return [...tables, offsetTable(LARGEST)];
}

/** Takes the sites of one tile, of so many pixels, off a stack. */
export class Sites {
  constructor(stack, tables, { height, width }, isGray) {
    Object.assign(this, { stack, tables, height, width, isGray });
  }

  /**
   * Returns the values of all cells of a site, Int32Array; those beyond the picture are what is most likely.
   *
   * mean (eighths), scale, shape: of each cell; terms: what corrections are made of; pixel, pitch, channel: which values these
   * are; before: the channels before, with their values.
   */
  take({ mean, scale, shape, terms, pixel, pitch, channel, before }, columns) {
    const values = Int32Array.from(mean, (value) => within(Math.floor((value + 4) / 8), 255));
    const inside = this._inside(mean.length, columns, pixel, pitch);
    if (this.isGray && channel) {
      for (const cell of inside) values[cell] = before[0].values[cell];
      return values;
    }
    const isCorrected = inside.length >= LEAST_VALUES;
    const corrected = isCorrected ? this._corrected({ mean, scale, shape, terms }, inside) : { mean, scale, shape };
    for (const [cell, whole, table] of placed(corrected, inside)) {
      values[cell] = checkSample(whole + this.stack.pop(this.tables[table]));
    }
    return values;
  }

  /** Returns the cells whose pixel is in the picture. */
  _inside(count, columns, [y, x], pitch) {
    const isIn = (cell) => {
      const [row, column] = [Math.floor(cell / columns), cell % columns];
      return (2 * row + y) * pitch < this.height && (2 * column + x) * pitch < this.width;
    };
    return Array.from({ length: count }, (_, cell) => cell).filter(isIn);
  }

  /** Pops the corrections of a site; returns mean, scale and shape with them. */
  _corrected({ mean, scale, shape, terms }, inside) {
    const pop = (table) => this.stack.pop(this.tables[table]);
    const numClasses = pop(OFFSETS);
    if (numClasses < 0 || numClasses > MOST_CLASSES) throw new FormatError(`a site has ${numClasses} classes`);
    if (!numClasses) return { mean, scale, shape };
    const corrections = Array.from({ length: numClasses }, () => ({
      offsets: [pop(OFFSETS), pop(OFFSETS)],
      weights: terms.map(() => pop(WEIGHTS)),
    }));
    const classOf = classes(scale, inside, numClasses);
    const found = { mean: mean.slice(), scale: scale.slice(), shape: shape.slice() };
    for (const cell of inside) {
      const { offsets, weights } = corrections[classOf[scale[cell]]];
      const sum = weights.reduce((total, weight, i) => total + weight * terms[i][cell], 0);
      found.mean[cell] = within(mean[cell] + Math.floor((4 * sum + 128) / 256), MOST_MEAN);
      found.scale[cell] = within(scale[cell] + offsets[0], MOST_SCALE);
      found.shape[cell] = within(shape[cell] + offsets[1], MOST_SHAPE);
    }
    return found;
  }
}

/** Returns the class of each scale index: how many of the cuts, which divide all values into equal numbers, are below it. */
function classes(scale, inside, count) {
  const ordered = Uint8Array.from(inside, (cell) => scale[cell]).sort();
  const cuts = Array.from({ length: count - 1 }, (_, j) => ordered[Math.floor((ordered.length * (j + 1)) / count)]);
  return SCALES.map((_, index) => cuts.filter((cut) => cut < index).length);
}

/** Returns [cell, whole part of the mean, table] of each value, by rising table, then by cell: as they are popped. */
export function placed({ mean, scale, shape }, inside) {
  const rows = inside.map((cell) => [cell, ...located(mean[cell], scale[cell], shape[cell])]);
  return rows.sort((a, b) => a[2] - b[2]); // stable
}

/** Returns the whole part of a mean in eighths, and the number of the table. */
export function located(mean, scale, shape) {
  const m = Math.floor((2 * mean * STEPS[scale] + 8) / 16);
  const whole = Math.floor(m / STEPS[scale]);
  return [whole, shape * TABLES_OF_SHAPE + FIRST[scale] + m - whole * STEPS[scale]];
}
