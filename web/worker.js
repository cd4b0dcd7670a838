// Decodes a picture beside the page: takes in the file while it arrives, and shows what there is of what is wanted.
//
// Messages in: {open: url, rate}, and {limit, region} (levels at most; rectangle [top, left, bottom, right] or null); of an
// archive {open: url, rate, inside: place of a picture, -1: all their names}.
// Messages out, all with the url: {header}, {arrived: bytes}, {decoding: window, of}, {part, pixels, bitmap} (what it looks like
// on the screen, null: as its pixels), {warnings}, {error}, and {shown: levels, more, exact, bytes, isWhole, done, seconds,
// colors: what is to be said of them, chunks: that say how they are meant}, of a picture without levels also {name, share,
// isDeep}; of an archive {names: [{name, width, height}]}, and {picture, pixels, bitmap, colors, isDeep, seconds}.

import { Archive } from "./archive.js";
import { ColorSpace } from "./color.js";
import { MODEL } from "./header.js";
import { decodeAlpha } from "./image_file.js";
import { installed } from "./installed.js";
import { Reader } from "./reader.js";
import { ShownLevels } from "./shown_levels.js";
import { ShownWhole } from "./shown_whole.js";
import { arriving, pause } from "./source.js";

const ROUND_MS = 50;
const MOST_PIXELS = 100e6; // that memory is sure to suffice for
let viewing = null;
let archive = { url: "" }; // the last one, with its bytes

/** One picture that is looked at. */
class Viewing {
  constructor(url, rate) {
    Object.assign(this, { url, rate, reader: new Reader(), shown: null, alpha: null, limit: Infinity, region: null });
    this.ended = false;
    this.fault = null;
    this.abort = new AbortController();
  }

  /** Whether nobody has opened another picture since. */
  get isOpen() {
    return viewing === this;
  }

  tell(message, transferred = []) {
    if (viewing === this) postMessage({ url: this.url, ...message }, transferred);
  }

  /** Takes the file in, and shows it meanwhile, until another picture is opened. */
  async run() {
    try {
      const taken = this.takeIn();
      while (viewing === this) {
        await this.shown?.show();
        await pause(ROUND_MS); // in which what has come meanwhile is taken in
        if (this.ended) await taken;
      }
    } catch (error) {
      this.tell({ error: error.message });
    }
  }

  async takeIn() {
    try {
      for await (const bytes of arriving(this.url, this.rate, this.abort.signal)) {
        const before = this.reader.header;
        this.reader.feed(bytes);
        if (!before && this.reader.header) await this.begin(this.reader.header);
        this.tell({ arrived: this.reader.length });
      }
    } catch (error) {
      if (this.abort.signal.aborted) return;
      this.fault = error.message;
    }
    const { header, length, complete, warnings } = this.reader;
    if (header && !complete) warnings.push(`the file ends after ${length} of ${header.fileBytes} bytes`);
    if (!header) this.fault ??= "the file ends inside its header";
    else if (this.shown?.missing) this.fault ??= this.shown.missing;
    if (this.fault) this.tell({ error: this.fault });
    if (this.fault && this.shown) warnings.push(this.fault);
    this.tell({ warnings });
    this.ended = true;
  }

  async begin(header) {
    const { width, height } = header;
    if (width * height > MOST_PIXELS) throw new Error(`${width}x${height} pixels are more than this page decodes`);
    this.tell({ header });
    const isWhole = header.model === MODEL;
    this.shown = isWhole ? new ShownWhole(this) : new ShownLevels(this, await installed.photo(header.fingerprint));
  }

  /** Shows pixels, four bytes each, in their place. hasAlpha: they bring the alpha channel along. */
  async put(pixels, place, hasAlpha = false) {
    if (!hasAlpha) await this.addAlpha(pixels, place);
    const { top, left, height, width } = place;
    const bitmap = await this.colors.bitmap(pixels, height, width);
    this.tell({ part: { top, left, height, width }, pixels, bitmap }, [pixels.buffer, ...(bitmap ? [bitmap] : [])]);
  }

  /** Says what is shown; begin: when that was begun. */
  async tellShown(facts, begin) {
    const seconds = (performance.now() - begin) / 1000;
    this.tell({ ...facts, seconds, colors: await this.colors.said(), chunks: this.colors.given });
  }

  /** The color space of the picture; what says so arrives before the picture does. */
  get colors() {
    this._colors ??= new ColorSpace(this.reader.chunks, this.reader.header.gray);
    return this._colors;
  }

  async addAlpha(pixels, { top, left, height, width }) {
    const { chunks, header } = this.reader;
    if (chunks.alph && this.alpha === null) await this.readAlpha(chunks.alph);
    if (!this.alpha) return;
    for (let i = 0; i < height * width; i++) {
      pixels[4 * i + 3] = this.alpha[(top + Math.floor(i / width)) * header.width + left + (i % width)];
    }
  }

  async readAlpha(payload) {
    const { height, width } = this.reader.header;
    try {
      this.alpha = await decodeAlpha(payload, height, width);
    } catch (error) {
      this.alpha = false;
      this.reader.warnings.push(`the alpha channel was ignored: ${error.message}`);
    }
  }
}

/** A picture of an archive that is looked at, or the list of them. */
class Inside {
  constructor(url, rate, place) {
    Object.assign(this, { url, rate, place, abort: new AbortController() });
  }

  async run() {
    try {
      if (archive.url !== this.url || this.place < 0) archive = { url: this.url, found: await this.takeIn() };
      const { found } = archive;
      const names = found.pictures.map(({ name, width, height }) => ({ name, width, height }));
      const answer = this.place in names ? await this.answer(found, names[this.place]) : { names };
      const moved = [answer.pixels?.buffer, answer.bitmap].filter((one) => one);
      if (viewing === this) postMessage({ url: this.url, ...answer }, moved);
    } catch (error) {
      if (viewing === this) postMessage({ url: this.url, error: error.message });
    }
  }

  /** Returns a promise of what is to be said of a picture. */
  async answer(found, picture) {
    const begin = performance.now();
    const pixels = await found.pixels(this.place);
    const seconds = (performance.now() - begin) / 1000;
    const colors = await found.colors(this.place);
    const bitmap = await colors.bitmap(pixels, picture.height, picture.width);
    return { picture, pixels, bitmap, colors: await colors.said(), isDeep: found.isDeep(this.place), seconds };
  }

  /** Returns a promise of the archive, whole. */
  async takeIn() {
    const parts = [];
    for await (const bytes of arriving(this.url, this.rate, this.abort.signal)) parts.push(bytes);
    return Archive.open(new Uint8Array(await new Blob(parts).arrayBuffer()), installed);
  }
}

onmessage = ({ data: { open, rate, inside, limit, region } }) => {
  if (open) {
    viewing?.abort.abort();
    viewing = inside === undefined ? new Viewing(open, rate) : new Inside(open, rate, inside);
    viewing.run();
  } else if (viewing) {
    Object.assign(viewing, { limit, region });
  }
};
