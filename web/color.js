// The colors of a picture as its chunks mean them. The browser converts them: it is handed the pixels as a PNG file with a color
// space, as it is handed any picture.

import { pngFile, zlib } from "./png.js";

const SRGB = { cicp: [1, 13], gama: [45455], chrm: [31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000] };
const TAGS = ["cicp", "iccp", "gama", "chrm"];
const PROFILE = [0x49, 0x43, 0x43, 0, 0]; // its name, and that it is deflated
const STEPS = 6; // of each color, in a probe
const NAMES = { cICP: "CICP code points", iCCP: "ICC profile", gAMA: "gamma", cHRM: "primaries" };
const FIRST = ["cICP", "iCCP"]; // these go before all others

/** How the pixels of a picture become colors. Without chunks: as sRGB. */
export class ColorSpace {
  /** chunks: of our file, payloads by tag; isGray: whether the picture, and so its profile, has one channel. */
  constructor(chunks = {}, isGray = false) {
    this.isGray = isGray;
    this.chunks = []; // of a PNG file
    this._changes = null;
    this.given = Object.fromEntries(TAGS.map((tag) => [tag, chunks[tag]]));
    const [cicp, gama, chrm] = [numbers(chunks.cicp, 1, 4), numbers(chunks.gama, 4, 1), numbers(chunks.chrm, 4, 8)];
    const isSrgb = cicp ? begins(cicp, SRGB.cicp) : !chunks.iccp && begins(gama, SRGB.gama) && begins(chrm, SRGB.chrm);
    if (isSrgb) return;
    if (cicp) this.chunks.push(["cICP", [cicp[0], cicp[1], 0, 1]]);
    if (chunks.iccp) this.chunks.push(["iCCP", PROFILE, zlib(chunks.iccp)]);
    if (gama) this.chunks.push(["gAMA", bigEndian(gama)]);
    if (chrm) this.chunks.push(["cHRM", bigEndian(chrm)]);
  }

  /** Returns a promise of what is to be said of the colors; nothing, if they are sRGB. */
  async said() {
    if (!this.chunks.length) return "";
    const names = this.chunks.map(([name]) => name);
    const said = (FIRST.includes(names[0]) ? names.slice(0, 1) : names).map((name) => NAMES[name]).join(" and ");
    return (await this.changes()) ? `colors by its ${said}` : `colors as sRGB, which its ${said} does not change here`;
  }

  /** Returns a promise of whether the browser shows other colors because of the chunks. */
  changes() {
    this._changes ??= this.chunks.length ? this._probed() : Promise.resolve(false);
    return this._changes;
  }

  /** Returns a promise of the picture in the colors of the screen; null if its pixels are these. pixels: four bytes each. */
  async bitmap(pixels, height, width) {
    return (await this.changes()) ? createImageBitmap(pngFile(pixels, height, width, this.isGray, this.chunks)) : null;
  }

  /** Shows the browser a few colors, with the chunks. */
  async _probed() {
    const count = this.isGray ? 256 : STEPS ** 3;
    const pixels = new Uint8ClampedArray(4 * count).fill(255);
    for (let i = 0; i < count; i++) {
      for (let c = 0; c < 3; c++) pixels[4 * i + c] = this.isGray ? i : (Math.floor(i / STEPS ** c) % STEPS) * 51;
    }
    const context = new OffscreenCanvas(count, 1).getContext("2d");
    context.drawImage(await createImageBitmap(pngFile(pixels, 1, count, this.isGray, this.chunks)), 0, 0);
    return context.getImageData(0, 0, count, 1).data.some((value, i) => value !== pixels[i]);
  }
}

/** Returns the numbers of a payload, each of 1 byte or of 4, little-endian; null if it has not so many. */
function numbers(payload, size, count) {
  if (payload?.length !== size * count) return null;
  const view = new DataView(payload.buffer, payload.byteOffset);
  return Array.from({ length: count }, (_, i) => (size === 1 ? payload[i] : view.getUint32(4 * i, true)));
}

/** Returns whether numbers, if there are any, begin with others. */
function begins(found, wanted) {
  return !found || wanted.every((value, i) => found[i] === value);
}

function bigEndian(values) {
  const view = new DataView(new ArrayBuffer(4 * values.length));
  values.forEach((value, i) => view.setUint32(4 * i, value));
  return new Uint8Array(view.buffer);
}
