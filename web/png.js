// Pixels as a PNG file, not compressed: for the browser alone, which converts their colors.

import { crc32 } from "./bytes.js";

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const [COLOR, ALPHA] = [2, 4]; // parts of a color type
const BLOCK = 65535; // bytes of deflate that are just there
const ADLER = 65521;
const ADLER_BYTES = 3800; // after which its sums are reduced; together they stay below 2^53

/** Returns pixels of four bytes as a Blob; chunks: [name, payload, more of it ...] that go before them. */
export function pngFile(pixels, height, width, isGray, chunks) {
  const type = (isGray ? 0 : COLOR) + (opaque(pixels) ? 0 : ALPHA);
  const head = new DataView(new ArrayBuffer(13));
  head.setUint32(0, width);
  head.setUint32(4, height);
  head.setUint8(8, 8);
  head.setUint8(9, type);
  const parts = [
    ...chunk("IHDR", new Uint8Array(head.buffer)),
    ...chunks.flatMap((row) => chunk(...row)),
    ...chunk("IDAT", zlib(rows(pixels, height, width, type))),
    ...chunk("IEND"),
  ];
  return new Blob([Uint8Array.from(SIGNATURE), ...parts], { type: "image/png" });
}

function opaque(pixels) {
  for (let i = 3; i < pixels.length; i += 4) if (pixels[i] !== 255) return false;
  return true;
}

/** Returns the parts of a chunk of PNG. */
function chunk(name, ...payload) {
  const tag = new TextEncoder().encode(name);
  const parts = payload.map((part) => (part instanceof Uint8Array ? part : Uint8Array.from(part)));
  const ends = new DataView(new ArrayBuffer(8));
  ends.setUint32(0, parts.reduce((sum, part) => sum + part.length, 0));
  ends.setUint32(4, crc32(tag, ...parts));
  return [new Uint8Array(ends.buffer, 0, 4), tag, ...parts, new Uint8Array(ends.buffer, 4)];
}

/** Returns the rows of a PNG file of a color type, without filters, of pixels of four bytes. */
function rows(pixels, height, width, type) {
  const channels = [0, ...(type & COLOR ? [1, 2] : []), ...(type & ALPHA ? [3] : [])];
  const found = new Uint8Array(height * (1 + channels.length * width));
  for (let row = 0, from = 0, to = 0; row < height; row++) {
    found[to++] = 0;
    for (let column = 0; column < width; column++, from += 4) {
      for (const channel of channels) found[to++] = pixels[from + channel];
    }
  }
  return found;
}

/** Returns bytes as zlib would have them, but not compressed. */
export function zlib(bytes) {
  const numBlocks = Math.max(1, Math.ceil(bytes.length / BLOCK));
  const found = new Uint8Array(2 + 5 * numBlocks + bytes.length + 4);
  found.set([0x78, 0x01]);
  for (let block = 0, to = 2; block < numBlocks; block++) {
    const part = bytes.subarray(block * BLOCK, (block + 1) * BLOCK);
    const { length } = part;
    found.set([block === numBlocks - 1 ? 1 : 0, length & 255, length >>> 8, ~length & 255, (~length >>> 8) & 255], to);
    found.set(part, to + 5);
    to += 5 + length;
  }
  new DataView(found.buffer).setUint32(found.length - 4, adler32(bytes));
  return found;
}

function adler32(bytes) {
  let [a, b] = [1, 0];
  for (let start = 0; start < bytes.length; start += ADLER_BYTES) {
    const end = Math.min(start + ADLER_BYTES, bytes.length);
    for (let i = start; i < end; i++) b += a += bytes[i];
    [a, b] = [a % ADLER, b % ADLER];
  }
  return b * 65536 + a;
}
