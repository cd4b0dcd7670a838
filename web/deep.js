// Samples of 16 bits: high and low bytes, each as a stored picture. FORMAT.md, "Samples of 16 bits".

import { Cursor, FormatError } from "./bytes.js";
import { decodeStored } from "./image_file.js";

const GRADIENT = 1; // filter; 0: none
const MOST = 65535;

/** Returns a promise of {samples, channels}: Uint16Array (height * width * channels), of gray or RGB, then alpha if even. */
export async function decodeDeep(data, height, width) {
  const cursor = new Cursor(data);
  const channels = cursor.byte("number of channels", 1, 4);
  const parts = Array.from({ length: 2 - (channels % 2) }, (_, i) => {
    const [filter, step] = [cursor.byte("filter", 0, GRADIENT), cursor.varint("step", 1, MOST)];
    return { filter, step, first: i ? channels - 1 : 0, count: i || channels < 3 ? 1 : 3 };
  });
  const samples = new Uint16Array(height * width * channels);
  for (const part of parts) {
    const halves = [await decodeStored(cursor, height, width), await decodeStored(cursor, height, width)];
    decodePart(samples, channels, part, halves, width);
  }
  if (cursor.position !== data.length) throw new FormatError("the picture is damaged: it has bytes too many");
  return { samples, channels };
}

/** Puts the samples of some channels in their place; halves: their high and their low bytes, four a pixel. */
function decodePart(samples, channels, { filter, step, first, count }, [high, low], width) {
  for (let c = 0; c < count; c++) {
    const values = new Uint16Array(high.length / 4).map((_, i) => (high[4 * i + c] << 8) | low[4 * i + c]);
    if (filter === GRADIENT) ungradient(values, width);
    for (const [i, value] of values.entries()) {
      if (value * step > MOST) throw new FormatError("the picture is damaged: it has samples of more than 16 bits");
      samples[i * channels + first + c] = value * step;
    }
  }
}

/** Makes of what is left after left + above - above left, modulo 2^16, the values themselves. */
function ungradient(values, width) {
  for (let i = 0; i < values.length; i++) {
    const signed = (values[i] >>> 1) ^ -(values[i] & 1);
    values[i] = signed + (i < width ? 0 : values[i - width]); // sums of columns
  }
  for (let i = 0; i < values.length; i++) if (i % width) values[i] += values[i - 1];
}

/** Returns pixels of four bytes: the nearest samples of 8 bits. */
export function rounded({ samples, channels }) {
  const numPixels = samples.length / channels;
  const pixels = new Uint8ClampedArray(4 * numPixels).fill(255);
  const colors = channels < 3 ? 1 : 3;
  const nearest = (value) => Math.floor((value + 128) / 257); // 65535 = 255 * 257
  for (let i = 0, from = 0; i < numPixels; i++, from += channels) {
    for (let c = 0; c < 3; c++) pixels[4 * i + c] = nearest(samples[from + (c % colors)]);
    if (channels % 2 === 0) pixels[4 * i + 3] = nearest(samples[from + colors]);
  }
  return pixels;
}
