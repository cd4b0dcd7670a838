// The header of a file. FORMAT.md, "Synopsis".

import { crc32, Cursor, FormatError, hex } from "./bytes.js";
import { countWindows } from "./rectangle.js";

const MAGIC = [0x89, 0x48, 0x43, 0x50, 0x0d, 0x0a, 0x1a];
const ARCHIVE = 0x41; // in the place of MAGIC[3]
const VERSION = 1;
export const MODEL = "stored"; // what a file with its picture as a whole has in place of a model
const MAX_LENGTH = 2 ** 31;
const [GRAY, CUT, FRONT, BACK, LOSSLESS, OFFSETS] = [1, 2, 4, 8, 16, 32];

/**
 * Returns the header at the start of a file's first bytes.
 *
 * layers: for each layer its pieces {window, length, crc, offset}, window -1 where the layer is of the whole picture;
 * numLevels: layers that are no lossless one. Throws NeedMore, FormatError.
 */
export function parseHeader(data) {
  const cursor = new Cursor(data);
  const flags = parseStart(cursor);
  const header = { ...named(flags), model: parseName(cursor), fingerprint: hex(cursor.take(4)), ...parseSize(cursor) };
  const isKnown = header.depth === 8 || (header.depth === 16 && header.model === MODEL);
  if (!isKnown) throw new FormatError(`the file has ${header.depth} bits a sample, which this viewer does not show`);
  header.numCoarse = cursor.byte("number of coarse layers", 0, 31);
  header.frontBytes = flags & FRONT ? cursor.varint("front length", 12, MAX_LENGTH) : 0;
  header.backBytes = flags & BACK ? cursor.varint("back length", 12, MAX_LENGTH) : 0;
  const layers = parseTable(cursor, header);
  const sum = crc32(data.subarray(0, cursor.position));
  if (cursor.uint32() !== sum) throw new FormatError("the header is damaged: its checksum is wrong");
  return place({ ...header, layers, headerBytes: cursor.position });
}

function parseStart(cursor) {
  MAGIC.forEach((byte, index) => {
    const found = cursor.byte();
    if (index === 3 && found === ARCHIVE) throw new FormatError("this is an archive, which `hcodec unpack` takes apart");
    if (found !== byte) throw new FormatError("not an hcodec file");
  });
  const version = cursor.byte();
  if (version > VERSION) throw new FormatError(`the file has format version ${version}, newer than this viewer`);
  if (version < 1) throw new FormatError(`there is no format version ${version}`);
  const flags = cursor.byte("flags", 0, 63);
  if (flags & CUT && flags & LOSSLESS) throw new FormatError("a lossless file cannot be cut inside a layer");
  return flags;
}

function named(flags) {
  const flag = (bit) => Boolean(flags & bit);
  return { gray: flag(GRAY), cut: flag(CUT), lossless: flag(LOSSLESS), offsets: flag(OFFSETS) };
}

function parseName(cursor) {
  const name = String.fromCharCode(...cursor.take(cursor.byte("length of the model's name", 1, 32)));
  if (!/^[a-z0-9-]+$/.test(name)) throw new FormatError("the model's name has other characters than a name may have");
  return name;
}

function parseSize(cursor) {
  const width = cursor.varint("width", 1, 2 ** 24);
  const height = cursor.varint("height", 1, 2 ** 24);
  if (width * height > 2 ** 31) throw new FormatError(`the picture has ${width}x${height} pixels, more than 2^31`);
  const depth = cursor.byte();
  const frames = cursor.varint("number of frames", 1, MAX_LENGTH);
  if (frames > 1) throw new FormatError(`the file has ${frames} frames, which this viewer does not show`);
  return { width, height, depth, numWindows: countWindows(height, width) };
}

function parseTable(cursor, header) {
  const numLayers = cursor.byte("number of layers", 1 + header.cut + header.lossless, 32);
  const numLevels = (header.numLevels = numLayers - header.lossless);
  const isCoarse = (layer) => layer < Math.min(header.numCoarse, numLevels);
  const counts = Array.from({ length: numLayers }, (_, layer) => (isCoarse(layer) ? 1 : header.numWindows));
  if (header.cut) counts.push(cursor.varint("number of pieces of the last layer", 1, counts.pop()));
  return counts.map((count, layer) => {
    const isLast = layer === numLayers - 1;
    return Array.from({ length: count }, (_, index) => {
      const low = isLast && (header.lossless || (header.cut && index === count - 1)) ? 1 : 0;
      const length = cursor.varint("length of a piece", low, MAX_LENGTH);
      return { window: isCoarse(layer) ? -1 : index, length, crc: cursor.uint32() };
    });
  });
}

/** Adds where in the file each piece begins, where each layer ends, and how long the file is. */
function place(header) {
  let offset = header.headerBytes + header.frontBytes;
  header.prefixBytes = [];
  for (const layer of header.layers) {
    for (const piece of layer) {
      piece.offset = offset;
      offset += piece.length;
    }
    header.prefixBytes.push(offset);
  }
  return { ...header, fileBytes: offset + header.backBytes };
}
