// Bytes to numbers: what every part of the format is read with. FORMAT.md, "Synopsis".

/** The file is not ours, too new, or damaged where it must not be. */
export class FormatError extends Error {}

/** More bytes are needed; thrown only where they may still come. */
export class NeedMore extends Error {}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

/** Returns the CRC-32 of PNG and zlib, of several Uint8Arrays one after the other. */
export function crc32(...parts) {
  let crc = 0xffffffff;
  for (const part of parts) for (const byte of part) crc = CRC_TABLE[(crc ^ byte) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}

/** Reads numbers off a Uint8Array, one after the other. */
export class Cursor {
  constructor(data, position = 0) {
    this.data = data;
    this.position = position;
  }

  /** Returns a view of the next bytes. */
  take(length) {
    if (length > this.data.length - this.position) throw new NeedMore(`${length} bytes are needed at ${this.position}`);
    this.position += length;
    return this.data.subarray(this.position - length, this.position);
  }

  /** Returns an unsigned byte. */
  byte(name = "byte", low = 0, high = 255) {
    return inRange(this.take(1)[0], name, low, high);
  }

  /** Returns an unsigned number of 32 bits. */
  uint32() {
    const [a, b, c, d] = this.take(4);
    return (a | (b << 8) | (c << 16) | (d << 24)) >>> 0;
  }

  /** Returns a number in LEB128, in its shortest form, of five bytes at most. */
  varint(name, low, high) {
    let value = 0;
    for (let unit = 1; unit < 2 ** 35; unit *= 128) {
      const byte = this.take(1)[0];
      value += (byte & 127) * unit;
      if (byte < 128) {
        if (!byte && unit > 1) break;
        return inRange(value, name, low, high);
      }
    }
    throw new FormatError(`${name} is no number that this format has`);
  }
}

/** Returns a promise of the bytes of a raw deflate stream, which must be so many; of packed bytes as many, themselves. */
export async function unpacked(packed, length) {
  return packed.length === length ? packed : inflated(packed, length);
}

/** Returns a promise of the bytes of a raw deflate stream, which must be so many. Throws FormatError. */
export async function inflated(packed, length) {
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  const found = new Uint8Array(length);
  let end = 0;
  try {
    for (const reader = stream.getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) break;
      found.set(value, end); // throws where it is too much
      end += value.length;
    }
  } catch {
    end = -1;
  }
  if (end !== length) throw new FormatError("packed bytes are damaged");
  return found;
}

/** Returns bytes as hexadecimal digits, as fingerprints are written. */
export function hex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function inRange(value, name, low, high) {
  if (value < low || value > high) throw new FormatError(`${name} is ${value}, not ${low} to ${high}`);
  return value;
}
