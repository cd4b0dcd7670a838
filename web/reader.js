// The incremental reader of files: bytes in pieces of any size to header, pieces of layers and the alpha channel.

import { crc32, Cursor, FormatError, NeedMore } from "./bytes.js";
import { parseHeader } from "./header.js";

export const EVERYWHERE = -1; // stands for a window where a layer is of the whole picture
const HEAD_BYTES = 12; // of a chunk: tag, length, checksum
const DAMAGED = "metadata is damaged, some of it was ignored";
const KEPT = ["alph", "iccp", "cicp", "chrm", "gama", "PICT"];
const KNOWN = ["phys", "ornt", "text", "exif", "xmp "];

/**
 * Takes a file as it arrives and gives out its parts as soon as they are whole and their checksums right.
 *
 * header: null until it has arrived; coarse: pieces of the whole picture; pieces, lossless: by window; chunks: payloads by
 * tag, of those that say what the picture looks like; damaged: window -> number of its first damaged layer; warnings: lines
 * for the user; length: bytes so far.
 */
export class Reader {
  constructor() {
    this.header = null;
    this.coarse = [];
    this.pieces = [];
    this.lossless = [];
    this.chunks = {};
    this.damaged = new Map();
    this.warnings = [];
    this.length = 0;
    this._data = new Uint8Array(1 << 16);
    this._pending = []; // pieces that are still to come, in the file's order
    this._sections = []; // of chunks, what is not yet read of them
    this._arriving = null; // place of the picture that is a chunk, while it arrives
    this._cut = null; // window and bytes of the piece that is cut
  }

  /** Takes the next bytes; throws FormatError if the file is not ours, too new, or damaged in its header. */
  feed(bytes) {
    if (this.length + bytes.length > this._data.length) {
      const larger = new Uint8Array(2 * (this.length + bytes.length));
      larger.set(this._data.subarray(0, this.length));
      this._data = larger;
    }
    this._data.set(bytes, this.length);
    this.length += bytes.length;
    if (!this.header && !this._begin()) return;
    this._sections = this._sections.filter((section) => !this._readSection(section));
    while (this._pending.length && this._whole(this._pending[0])) this._keep(this._pending.shift());
  }

  /** Whether every promised byte has arrived. */
  get complete() {
    return this.header !== null && this.length >= this.header.fileBytes;
  }

  /** Returns the bytes so far of the next piece of a window, or EVERYWHERE, if it is arriving or is cut; else none. */
  partial(window) {
    const next = this._pending[0];
    if (this._cut?.window === window) return this._cut.bytes;
    if (next?.window !== window || next.number > this.header.numLevels || this._isLost(next)) return new Uint8Array(0);
    return this._data.subarray(Math.min(next.offset, this.length), this.length);
  }

  /** Returns the bytes so far of the picture that is a chunk; null if there is none, or it is damaged. */
  get whole() {
    if (this.chunks.PICT || !this._arriving) return this.chunks.PICT ?? null;
    return this._data.subarray(this._arriving.start, Math.min(this._arriving.end, this.length));
  }

  _begin() {
    try {
      this.header = parseHeader(this._data.subarray(0, this.length));
    } catch (error) {
      if (error instanceof NeedMore) return false;
      throw error;
    }
    const { layers, numWindows, headerBytes, frontBytes, backBytes, fileBytes } = this.header;
    this.pieces = Array.from({ length: numWindows }, () => []);
    this.lossless = Array.from({ length: numWindows }, () => null);
    this._pending = layers.flatMap((layer, index) => layer.map((piece) => ({ ...piece, number: index + 1 })));
    this._sections = [
      { start: headerBytes, end: headerBytes + frontBytes },
      { start: fileBytes - backBytes, end: fileBytes },
    ];
    return true;
  }

  _whole(piece) {
    return piece.offset + piece.length <= this.length;
  }

  _isLost(piece) {
    return this.damaged.has(EVERYWHERE) || this.damaged.has(piece.window);
  }

  _keep(piece) {
    if (this._isLost(piece)) return;
    const bytes = this._data.slice(piece.offset, piece.offset + piece.length);
    const isLevel = piece.number <= this.header.numLevels;
    if (crc32(bytes) !== piece.crc) {
      this.damaged.set(piece.window, piece.number);
      this._warn(`layer ${piece.number} is damaged; it and what builds on it were ignored`);
    } else if (!isLevel) this.lossless[piece.window] = bytes;
    else if (this.header.cut && !this._pending.length) this._cut = { window: piece.window, bytes };
    else (piece.window === EVERYWHERE ? this.coarse : this.pieces[piece.window]).push(bytes);
  }

  /** Reads the chunks of a section that have arrived; returns whether it is done with. */
  _readSection(section) {
    while (section.start < section.end) {
      if (section.end - section.start < HEAD_BYTES) return this._warn(DAMAGED);
      if (section.start + HEAD_BYTES > this.length) return false;
      const cursor = new Cursor(this._data, section.start);
      const tag = cursor.take(4);
      const [numBytes, crc] = [cursor.uint32(), cursor.uint32()];
      const end = cursor.position + numBytes;
      if (end > section.end) return this._warn(DAMAGED);
      const name = String.fromCharCode(...tag);
      this._arriving = name === "PICT" ? { start: cursor.position, end } : null;
      if (end > this.length) return false;
      this._arriving = null;
      const payload = this._data.slice(cursor.position, end);
      this._keepChunk(name, payload, crc32(tag, payload) === crc);
      section.start = end;
    }
    return true;
  }

  _keepChunk(name, payload, isRight) {
    if (!isRight) this._warn(`the chunk ${name} is damaged, it was ignored`);
    else if (KEPT.includes(name)) this.chunks[name] ??= payload;
    else if (/^[A-Z]/.test(name)) throw new FormatError(`the file has the mandatory chunk ${name}, which needs a newer viewer`);
    else if (!KNOWN.includes(name)) this._warn(`the chunk ${name} is not known, it was ignored`);
  }

  _warn(line) {
    if (!this.warnings.includes(line)) this.warnings.push(line);
    return true;
  }
}
