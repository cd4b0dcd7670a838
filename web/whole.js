// A picture as a whole: few colors, an image file, or 16 bits; and what can be shown while it arrives. FORMAT.md, "Whole
// pictures".

import { Cursor, FormatError, inflated, NeedMore } from "./bytes.js";
import { Waves } from "./colors.js";
import { decodeDeep, rounded } from "./deep.js";
import { decodeForm, decodePreview } from "./image_file.js";

const [COLORS, DEEP] = [3, 4]; // forms; those before are stored pictures
const NAMES = ["samples", "samples", "image file", "", "16-bit"];
const MAX_COLORS = 4096;
const MIDDLE = 128; // what is shown where nothing is known
const GRAY_PIXEL = 0xff000000 + MIDDLE * 0x010101;

/** Returns a promise of {preview, form, palette, body} of a whole picture, or of its beginning. Throws FormatError, NeedMore. */
async function parse(data) {
  const cursor = new Cursor(data);
  const preview = cursor.take(cursor.varint("length of the preview", 0, 2 ** 16));
  const form = cursor.byte("form", 0, DEEP);
  const palette = form === COLORS ? await parsePalette(cursor) : null;
  return { preview, form, palette, body: data.subarray(cursor.position) };
}

/** Returns a promise of the colors of a palette, as words of four bytes: red, green, blue, opaque. */
async function parsePalette(cursor) {
  const channels = cursor.byte("number of channels", 1, 3);
  const numColors = cursor.varint("number of colors", 1, MAX_COLORS);
  const packed = cursor.take(cursor.varint("length of the palette", 1, 4 * MAX_COLORS));
  const values = await inflated(packed, channels * numColors).catch(() => null);
  if (channels === 2 || !values) throw new FormatError("the palette is damaged");
  for (let i = 1; i < values.length; i++) values[i] += values[i - 1];
  const plane = (c, i) => values[(channels === 1 ? 0 : c * numColors) + i];
  const word = (_, i) => 0xff000000 + plane(2, i) * 0x10000 + plane(1, i) * 0x100 + plane(0, i);
  return new Uint32Array(numColors).map(word);
}

/** Returns a promise of the pixels of a whole picture that is there, and, if it has 16 bits, its samples: {pixels, deep}. */
export function decodeWhole(data, header) {
  return new Whole(header).shown(data, false, Infinity);
}

/** A whole picture while it arrives. header: {height, width, gray, depth}. */
export class Whole {
  constructor(header) {
    Object.assign(this, { header, name: "", waves: null, under: null });
  }

  /**
   * Returns a promise of what the bytes so far show: {pixels, share, isExact, isDone, deep}; share: of the pixels, that is known.
   *
   * isCut: there were or will be more bytes. Of few colors, it is done after so many milliseconds or goes on at the next call.
   * Throws FormatError, and NeedMore, where that may be, if nothing can be shown yet.
   */
  async shown(data, isCut, milliseconds) {
    const { height, width } = this.header;
    try {
      const parts = await parse(data);
      this.name = describe(parts);
      if (parts.form === COLORS) return await this._colors(parts, isCut, milliseconds);
      if (isCut) return this._begun(await this._background(parts.preview));
      const deep = parts.form === DEEP ? await decodeDeep(parts.body, height, width) : null;
      const pixels = deep ? rounded(deep) : await this._file(parts);
      return this._checked({ pixels, share: 1, isExact: true, isDone: true, deep });
    } catch (error) {
      if (!(error instanceof NeedMore)) throw error;
      if (!isCut) throw new FormatError("the picture is damaged: it ends too soon");
      return this._begun(await this._background(previewOf(data)));
    }
  }

  _begun(pixels) {
    return { pixels, share: 0, isExact: false, isDone: true, deep: null };
  }

  async _file({ form, body }) {
    const cursor = new Cursor(body);
    const pixels = await decodeForm(form, cursor, this.header.height, this.header.width);
    if (cursor.position !== body.length) throw new FormatError("the picture is damaged: it has bytes too many");
    return pixels;
  }

  async _colors({ palette, preview, body }, isCut, milliseconds) {
    const { height, width } = this.header;
    if (palette.length === 1) {
      const pixels = filled(height * width, palette[0]);
      return this._complete({ pixels, share: 1, isExact: true, isDone: true, deep: null }, isCut);
    }
    this.waves ??= new Waves(height, width, palette.length);
    const isDone = this.waves.walk(body, isCut, milliseconds);
    const isExact = this.waves.known === this.waves.numWaves;
    const under = isExact || !preview.length ? null : await this._background(preview);
    const pixels = under ? under.slice() : filled(height * width, GRAY_PIXEL);
    const share = paint(new Uint32Array(pixels.buffer), this.waves, palette) / (height * width);
    return this._complete({ pixels, share, isExact, isDone, deep: null }, isCut);
  }

  _complete(found, isCut) {
    return isCut ? found : this._checked(found);
  }

  /** Returns what was found. Throws FormatError if it is not what the header says. */
  _checked(found) {
    const { gray, depth } = this.header;
    const isGray = (pixels) => new Uint32Array(pixels.buffer).every((word) => (word & 0xffff) === ((word >>> 8) & 0xffff));
    const fits = (depth === 16) === (found.deep !== null) && (!gray || !found.isDone || isGray(found.pixels));
    if (!fits) throw new FormatError("the picture is damaged: it is not of the form that the header says");
    return found;
  }

  /** Returns a promise of the pixels of the preview, made once. */
  async _background(preview) {
    if (!preview.length) throw new NeedMore("the file ends inside its picture, and there is no preview of it");
    this.under ??= await decodePreview(preview, this.header.height, this.header.width);
    return this.under;
  }
}

/** Returns the preview in the beginning of a whole picture. Throws FormatError, NeedMore. */
function previewOf(data) {
  const cursor = new Cursor(data);
  try {
    return cursor.take(cursor.varint("length of the preview", 0, 2 ** 16));
  } catch (error) {
    throw error instanceof NeedMore ? new NeedMore("the file ends at the beginning of its picture") : error;
  }
}

/** Says in a word or two how a picture is coded. */
function describe({ form, palette }) {
  if (!palette) return NAMES[form];
  return { 1: "one color", 2: "bilevel" }[palette.length] ?? `${palette.length} colors`;
}

function filled(numPixels, word) {
  const pixels = new Uint8ClampedArray(4 * numPixels);
  new Uint32Array(pixels.buffer).fill(word);
  return pixels;
}

/** Puts the colors that are known into words of four bytes; returns how many these are. */
function paint(words, waves, palette) {
  let known = 0;
  for (let row = 0; row < waves.height; row++) {
    const end = waves.numKnown(row);
    const from = waves.place(row, 0);
    for (let column = 0; column < end; column++) {
      const number = waves.numbers[from + column];
      if (number >= palette.length) throw new FormatError("the picture is damaged: it has a color that is not in its palette");
      words[row * waves.width + column] = palette[number];
    }
    known += end;
  }
  return known;
}
