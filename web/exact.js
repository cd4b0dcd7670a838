// The lossless layer of a window: every sample as it was. FORMAT.md, "The lossless layer".

import { crc32, Cursor, FormatError, hex, NeedMore } from "./bytes.js";
import { decodeStored } from "./image_file.js";
import { Tile } from "./lossless.js";
import { Rectangle } from "./rectangle.js";
import { Sites } from "./sites.js";
import { Stack } from "./stack.js";

const STORED = 0; // method of a piece; 1: coded
const TILE = 256; // edge of a tile in pixels, about
const CELL = 8;

/**
 * Returns a promise of the exact pixels of a window, four bytes each, from its piece.
 *
 * load(fingerprint): gives a promise of the layer's model. Throws FormatError if the piece or a tile is damaged.
 */
export async function exactPixels(decoder, index, load) {
  const { height, width } = decoder.windows[index];
  const piece = decoder.reader.lossless[index];
  try {
    const cursor = new Cursor(piece);
    const method = cursor.byte("method of the lossless layer", 0, 1);
    if (method === STORED) return await decodeStored(cursor, height, width);
    const start = cursor.byte("level that the lossless layer builds on", 1, 31);
    const model = await load(hex(cursor.take(4)));
    if (!model.starts.includes(start)) throw new FormatError(`the lossless layer cannot build on level ${start}`);
    return coded(decoder, index, cursor, model, start);
  } catch (error) {
    throw error instanceof NeedMore ? new FormatError("the lossless layer ends too early") : error;
  }
}

/** Returns the pixels of a coded piece, tile by tile. */
function coded(decoder, index, cursor, model, start) {
  const { height, width } = decoder.windows[index];
  const state = decoder.finest(index, start);
  const places = tiles(height, width);
  const rows = places.map((place) => ({ place, length: cursor.varint("length of a tile", 0, 2 ** 31), crc: cursor.uint32() }));
  const pixels = new Uint8ClampedArray(4 * height * width).fill(255);
  for (const { place, length, crc } of rows) {
    const samples = tile(model, state.cut(place.cells(CELL)), cursor.take(length), place, start, decoder.header.gray);
    if (crc32(samples) !== crc) throw new FormatError("a tile of the lossless layer is damaged");
    for (let i = 0; i < samples.length; i += 3) {
      const [row, column] = [place.top + Math.floor(i / 3 / place.width), place.left + ((i / 3) % place.width)];
      pixels.set(samples.subarray(i, i + 3), 4 * (row * width + column));
    }
  }
  if (cursor.position !== cursor.data.length) throw new FormatError("the lossless layer has bytes too many");
  return pixels;
}

/** Returns the samples of a tile, red, green, blue, Uint8Array. */
function tile(model, state, bytes, place, start, isGray) {
  const stack = new Stack(bytes);
  const sites = new Sites(stack, model.tables, place, isGray);
  const whole = new Tile(model.integers, (site) => sites.take(site, (state.columns * CELL) / (2 * site.pitch)));
  const { data, columns } = whole.decode(state, model.starts.indexOf(start));
  stack.close();
  const samples = new Uint8Array(3 * place.height * place.width);
  for (let to = 0, row = 0; row < place.height; row++) {
    for (let column = 0; column < place.width; column++, to += 3) {
      const [green, red, blue] = data.subarray(3 * (row * columns + column));
      samples.set([red, green, blue], to);
    }
  }
  return samples;
}

/** Returns the tiles of a window in coding order, row by row. */
function tiles(height, width) {
  const columns = cuts(width);
  return cuts(height).flatMap(([top, bottom]) => columns.map(([left, right]) => new Rectangle(top, left, bottom, right)));
}

function cuts(edge) {
  const count = Math.max(1, Math.floor((2 * edge + TILE) / (2 * TILE)));
  const at = (i) => (i < count ? CELL * Math.floor((Math.ceil(edge / CELL) * i) / count) : edge);
  return Array.from({ length: count }, (_, i) => [at(i), at(i + 1)]);
}
