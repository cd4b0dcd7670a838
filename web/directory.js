// The directory of an archive: names, sizes and places of all its pictures. FORMAT.md, "Archives".

import { crc32, Cursor, FormatError, hex, unpacked } from "./bytes.js";

const MAGIC = [0x89, 0x48, 0x43, 0x41, 0x0d, 0x0a, 0x1a];
const VERSION = 1;
const MOST_DIRECTORY = 2 ** 26;
const MOST_PICTURES = 2 ** 20;
const MOST_PIXELS = 2 ** 31;
const MAX_LENGTH = 2 ** 31;
const MOST_INFLATED = 1032; // bytes that a byte of deflate can stand for

/**
 * Returns a promise of the directory of an archive, given all its bytes: {pictures, segments}. Throws FormatError, NeedMore.
 *
 * pictures: {name, segment, width, height, gray, lengths (of ICC, Exif, XMP and alpha, 0 where there is none), crc};
 * segments: {kind, fingerprint, count, chain, extras}, of which the last two are {offset, length, crc}.
 */
export async function readDirectory(data) {
  const cursor = new Cursor(data);
  if (MAGIC.some((byte) => cursor.byte() !== byte)) throw new FormatError("not an archive");
  const version = cursor.byte();
  if (version !== VERSION) throw new FormatError(`the archive has format version ${version}, which this viewer does not know`);
  const numPacked = cursor.varint("packed length", 1, MOST_DIRECTORY);
  const length = cursor.varint("length", 1, MOST_DIRECTORY);
  const packed = cursor.take(numPacked);
  const sum = crc32(data.subarray(0, cursor.position));
  if (cursor.uint32() !== sum) throw new FormatError("the directory is damaged: its checksum is wrong");
  if (length > MOST_INFLATED * numPacked || length < numPacked) throw new FormatError("the directory is damaged");
  const columns = new Cursor(await unpacked(packed, length));
  const directory = parse(columns);
  if (columns.position !== length) throw new FormatError("the directory has bytes too many");
  place(directory.segments, cursor.position);
  check(directory);
  return directory;
}

function parse(cursor) {
  const numPictures = cursor.varint("number of pictures", 1, MOST_PICTURES);
  const numSegments = cursor.varint("number of segments", 1, numPictures);
  const each = (count, read) => Array.from({ length: count }, (_, i) => read(i));
  const lengths = (count, low = 0) => each(count, () => cursor.varint("length", low, MAX_LENGTH));
  const segments = each(numSegments, () => ({ kind: cursor.byte() }));
  for (const segment of segments) segment.fingerprint = segment.kind ? hex(cursor.take(4)) : "";
  for (const segment of segments) segment.count = cursor.varint("number of pictures", 1, numPictures);
  lengths(numSegments).forEach((length, i) => (segments[i].chain = { length }));
  lengths(numSegments).forEach((length, i) => (segments[i].extras = { length }));
  for (const { chain } of segments) chain.crc = cursor.uint32();
  for (const { extras } of segments) extras.crc = extras.length ? cursor.uint32() : 0;
  const nameLengths = each(numPictures, () => cursor.varint("length of a name", 1, 1024));
  const text = new TextDecoder("utf-8", { fatal: false });
  const pictures = nameLengths.map((length) => ({ name: text.decode(cursor.take(length)) }));
  for (const picture of pictures) picture.segment = cursor.varint("segment", 0, numSegments - 1);
  for (const picture of pictures) picture.width = cursor.varint("width", 1, 2 ** 24);
  for (const picture of pictures) picture.height = cursor.varint("height", 1, 2 ** 24);
  const flags = each(numPictures, () => cursor.byte("flags", 0, 31));
  for (const [i, picture] of pictures.entries()) {
    picture.gray = Boolean(flags[i] & 1);
    picture.lengths = [2, 4, 8, 16].map((flag) => (flags[i] & flag ? cursor.varint("length", 1, MAX_LENGTH) : 0));
  }
  for (const picture of pictures) picture.crc = cursor.uint32();
  return { pictures, segments };
}

/** Adds where in the file each chain and its extras begin. */
function place(segments, offset) {
  for (const { chain, extras } of segments) {
    chain.offset = offset;
    extras.offset = chain.offset + chain.length;
    offset = extras.offset + extras.length;
  }
}

function check({ pictures, segments }) {
  segments.forEach(({ count }, index) => {
    const inside = pictures.filter(({ segment }) => segment === index);
    const numPixels = inside.reduce((sum, { width, height }) => sum + width * height, 0);
    if (inside.length !== count || numPixels > MOST_PIXELS) throw new FormatError("the directory does not fit together");
  });
}
