// Pictures out of an archive. FORMAT.md, "Segments".

import { crc32, Cursor, FormatError, NeedMore, unpacked } from "./bytes.js";
import { ColorSpace } from "./color.js";
import { Decoder } from "./decoder.js";
import { readDirectory } from "./directory.js";
import { exactPixels } from "./exact.js";
import { decodeAlpha, decodeStored, opaque } from "./image_file.js";
import { Reader } from "./reader.js";
import { Rectangle } from "./rectangle.js";
import { decodeChain } from "./small.js";
import { decodeWhole } from "./whole.js";

const [STORED, SMALL, PHOTO, DRAWN, DEEP] = [0, 1, 2, 3, 4]; // kinds
const [PROFILE, ALPHA] = [0, 3]; // places of blobs that go with a picture
const MOST_PIXELS = 100e6;

/** An archive, given all its bytes. models: {photo, lossless, small}, as `installed.js` has them. */
export class Archive {
  constructor(data, directory, models) {
    Object.assign(this, { data, ...directory, models });
    this._chains = new Map(); // pictures of small chains, which come all at once
  }

  /** Returns a promise of an archive. Throws FormatError. */
  static async open(data, models) {
    return new Archive(data, await named(readDirectory(data)), models);
  }

  /** Returns a promise of the pixels of a picture, by its place: four bytes each. Throws FormatError. */
  async pixels(place) {
    const picture = this.pictures[place];
    if (picture.width * picture.height > MOST_PIXELS) throw new FormatError("the picture is larger than this page decodes");
    const { pixels, samples } = await named(this._decoded(picture));
    if (crc32(samples ?? samplesOf(pixels, picture)) !== picture.crc) {
      throw new FormatError("the picture is damaged: its checksum is wrong");
    }
    return samples ? pixels : named(this._withAlpha(picture, pixels));
  }

  /** Whether a picture has 16 bits, of which `pixels` gives 8. */
  isDeep(place) {
    return this.segments[this.pictures[place].segment].kind === DEEP;
  }

  /** Returns a promise of how the colors of a picture are meant; of sRGB where what says so is damaged, as its pixels are not. */
  async colors(place) {
    const picture = this.pictures[place];
    const profile = await this._blob(picture, PROFILE, "the ICC profile").catch(() => null);
    return new ColorSpace({ iccp: profile }, picture.gray);
  }

  _inside(picture) {
    return this.pictures.filter(({ segment }) => segment === picture.segment);
  }

  _bytes({ offset, length, crc }, what) {
    const bytes = this.data.subarray(offset, offset + length);
    if (bytes.length < length || crc32(bytes) !== crc) throw new FormatError(`${what} is damaged or not there`);
    return bytes;
  }

  /** Returns a promise of {pixels}, and of {samples} of a picture of 16 bits. */
  async _decoded(picture) {
    const { kind, fingerprint, chain } = this.segments[picture.segment];
    const bytes = this._bytes(chain, "the segment of the picture");
    const number = this._inside(picture).indexOf(picture);
    if (kind === STORED) return { pixels: await this._stored(picture, number, new Cursor(bytes)) };
    if (kind === PHOTO) return { pixels: await this._photo(picture, number, new Cursor(bytes), fingerprint) };
    if (kind === SMALL) return { pixels: await this._small(picture, number, bytes, fingerprint) };
    if (kind === DRAWN || kind === DEEP) return this._whole(picture, number, new Cursor(bytes), kind === DEEP ? 16 : 8);
    throw new FormatError(`the picture is of the kind ${kind}, which needs a newer viewer`);
  }

  async _stored(picture, number, cursor) {
    let pixels = null;
    for (const { height, width } of this._inside(picture).slice(0, number + 1)) {
      pixels = await decodeStored(cursor, height, width);
    }
    return pixels;
  }

  async _small(picture, number, bytes, fingerprint) {
    if (!this._chains.has(picture.segment)) {
      const model = await this.models.small(fingerprint);
      const pictures = decodeChain(model, bytes, this._inside(picture));
      this._chains.set(picture.segment, { channels: model.about.channels, pictures });
    }
    const { channels, pictures } = this._chains.get(picture.segment);
    return opaque(pictures[number], channels);
  }

  async _photo({ height, width }, number, cursor, fingerprint) {
    let file = null;
    for (let i = 0; i <= number; i++) file = cursor.take(cursor.varint("length of a picture", 1, 2 ** 31));
    const reader = new Reader();
    reader.feed(file);
    const { header } = reader;
    const isWhole = reader.complete && reader.lossless.every((piece) => piece);
    const isRight = isWhole && header.height === height && header.width === width;
    if (!isRight) throw new FormatError("a picture of a chain is not whole, or of another size");
    const decoder = new Decoder(await this.models.photo(fingerprint), reader);
    const pixels = new Uint8ClampedArray(4 * height * width);
    for (const { index, part } of decoder.parts(new Rectangle(0, 0, height, width))) {
      const found = await exactPixels(decoder, index, (own) => this.models.lossless(header.fingerprint, own));
      for (let row = 0; row < part.height; row++) {
        const line = found.subarray(4 * row * part.width, 4 * (row + 1) * part.width);
        pixels.set(line, 4 * ((part.top + row) * width + part.left));
      }
    }
    return pixels;
  }

  /** Returns {pixels, samples}; samples: bytes of those of 16 bits, as the checksum takes them. */
  async _whole(picture, number, cursor, depth) {
    let payload = null;
    for (let i = 0; i <= number; i++) payload = cursor.take(cursor.varint("length of a picture", 1, 2 ** 31));
    const { pixels, deep } = await decodeWhole(payload, { ...picture, depth });
    if (!deep) return { pixels };
    if (deep.channels < 3 !== picture.gray) throw new FormatError("the picture is damaged: it has other channels");
    return { pixels, samples: new Uint8Array(deep.samples.buffer) };
  }

  async _withAlpha(picture, pixels) {
    const alpha = await this._blob(picture, ALPHA, "the alpha channel");
    const samples = alpha && (await decodeAlpha(alpha, picture.height, picture.width));
    samples?.forEach((value, i) => (pixels[4 * i + 3] = value));
    return pixels;
  }

  /** Returns a promise of one of the blobs that go with a picture; null if it has none. */
  async _blob(picture, kind, what) {
    if (!picture.lengths[kind]) return null;
    const inside = this._inside(picture);
    const { extras } = this.segments[picture.segment];
    const sizes = [0, 1, 2, 3].map((kind) => inside.map(({ lengths }) => lengths[kind]));
    const total = sizes.flat().reduce((sum, length) => sum + length, 0);
    if (total > 1032 * extras.length) throw new FormatError("the extras of a segment are damaged");
    const blobs = await unpacked(this._bytes(extras, what), total);
    const before = [...sizes.slice(0, kind).flat(), ...sizes[kind].slice(0, inside.indexOf(picture))];
    const start = before.reduce((sum, length) => sum + length, 0);
    return blobs.slice(start, start + picture.lengths[kind]);
  }
}

/** Returns the samples that a checksum is of. */
function samplesOf(pixels, { height, width, gray }) {
  const channels = gray ? 1 : 3;
  return new Uint8Array(height * width * channels).map((_, i) => pixels[4 * Math.floor(i / channels) + (i % channels)]);
}

/** Returns what a promise gives; bytes that are missing are damage here, where all are there. */
async function named(promise) {
  try {
    return await promise;
  } catch (error) {
    throw error instanceof NeedMore ? new FormatError("the archive ends too early") : error;
  }
}
