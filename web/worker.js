// Decodes a picture beside the page: takes in the file while it arrives, and shows what there is of what is wanted.
//
// Messages in: {open: url, rate}, and {limit, region} (levels at most; rectangle [top, left, bottom, right] or null); of an
// archive {open: url, rate, inside: place of a picture, -1: all their names}.
// Messages out, all with the url: {header}, {arrived: bytes}, {decoding: window, of}, {part, pixels}, {warnings}, {error}, and
// {shown: levels, more, exact, bytes, isWhole, done, seconds}; of an archive {names: [{name, width, height}]}, and
// {picture, pixels, seconds}.

import { Archive } from "./archive.js";
import { Decoder } from "./decoder.js";
import { exactPixels } from "./exact.js";
import { decodeAlpha } from "./image_file.js";
import { installed } from "./installed.js";
import { Reader } from "./reader.js";
import { Rectangle } from "./rectangle.js";
import { arriving, pause } from "./source.js";

const STEPS = 10; // of a file's bytes; after each, what is there of a level is shown
const ROUND_MS = 50;
const MOST_PIXELS = 100e6; // that memory is sure to suffice for
let viewing = null;
let archive = { url: "" }; // the last one, with its bytes

/** One picture that is looked at. */
class Viewing {
  constructor(url, rate) {
    Object.assign(this, { url, rate, reader: new Reader(), decoder: null, alpha: null, limit: Infinity, region: null });
    this.ended = false;
    this.fault = null;
    this.abort = new AbortController();
    this.last = ""; // what was shown
    this.painted = new Map(); // window -> how much of it was shown, and under which key
  }

  tell(message, transferred = []) {
    if (viewing === this) postMessage({ url: this.url, ...message }, transferred);
  }

  /** Takes the file in, and shows it meanwhile, until another picture is opened. */
  async run() {
    try {
      const taken = this.takeIn();
      while (viewing === this) {
        await (this.decoder ? this.show() : null);
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
    else if (!this.decoder?.numArrived()) this.fault ??= warnings[0] ?? "the first level is not there";
    if (this.fault) this.tell({ error: this.fault });
    if (this.fault && this.decoder) warnings.push(this.fault);
    this.tell({ warnings });
    this.ended = true;
  }

  async begin(header) {
    const { width, height } = header;
    if (width * height > MOST_PIXELS) throw new Error(`${width}x${height} pixels are more than this page decodes`);
    this.tell({ header });
    this.decoder = new Decoder(await installed.photo(header.fingerprint), this.reader);
  }

  /** Shows what has arrived of what is wanted, if that was not shown yet. */
  async show() {
    const { decoder, reader, limit, region } = this;
    const { height, width, numLevels, lossless, fileBytes } = reader.header;
    const levels = decoder.numArrived(Math.min(limit, numLevels));
    const exact = lossless && limit > numLevels && reader.lossless.every((piece) => piece);
    const isAll = levels >= Math.min(limit, numLevels) && (exact || !lossless || limit <= numLevels);
    const isDone = this.ended || isAll;
    const step = isDone ? "all" : Math.floor((STEPS * reader.length) / fileBytes);
    const key = [levels, exact, step, Math.min(limit, numLevels + 1)].join();
    const state = `${key} ${region}`;
    if (state === this.last || (!levels && !exact)) return;
    this.last = state;
    await this.readAlpha();
    const begin = performance.now();
    const parts = decoder.parts(region ? new Rectangle(...region) : new Rectangle(0, 0, height, width));
    const isWanted = () => viewing === this && this.limit === limit && this.region === region;
    if (!(await this.paint(parts, key, exact, isWanted))) {
      this.last = "";
      return;
    }
    const found = parts.map(({ index }) => this.painted.get(index));
    const shown = Math.floor(Math.min(...found.map((one) => one.levels)));
    this.tell({ warnings: [...reader.warnings, ...decoder.faults.values()] });
    const facts = this.facts(shown, found);
    this.tell({ shown, ...facts, isWhole: !region, done: isDone, seconds: (performance.now() - begin) / 1000 });
  }

  /** Returns whether what was found is exact, whether it has more than so many levels, and the bytes that it took. */
  facts(shown, found) {
    const { prefixBytes, fileBytes } = this.reader.header;
    const exact = found.every((one) => one.isExact);
    const more = !exact && found.some((one) => one.levels > shown);
    const bytes = exact ? fileBytes : more ? this.reader.length : prefixBytes[shown - 1];
    return { exact, more, bytes };
  }

  /** Shows parts of windows, but for those that were shown under the same key; returns whether they were wanted to the end. */
  async paint(parts, key, exact, isWanted) {
    for (const [number, { index, part }] of parts.entries()) {
      const before = this.painted.get(index);
      if (before?.key === key && before.place.holds(part)) continue;
      this.tell({ decoding: number + 1, of: parts.length });
      await pause();
      const { pixels, ...found } = (exact && (await this.exactPart(index))) || this.part(index, part);
      if (found.levels < 1) throw new Error([...this.reader.warnings, ...this.decoder.faults.values()].at(-1));
      this.addAlpha(pixels, found.place);
      const { top, left, height, width } = found.place;
      this.tell({ part: { top, left, height, width }, pixels }, [pixels.buffer]);
      this.painted.set(index, { key, ...found });
      await pause();
      if (!isWanted()) return false;
    }
    return true;
  }

  /** Returns what the levels show of a part of a window: {place, pixels, levels, isExact}. */
  part(index, part) {
    const most = Math.min(this.limit, this.reader.header.numLevels);
    return { place: part, ...this.decoder.shown(index, part, most), isExact: false };
  }

  /** Returns a promise of the exact pixels of a window, likewise; null where they are damaged, of which there is a warning. */
  async exactPart(index) {
    const { decoder, reader } = this;
    const name = `exact ${index}`;
    if (decoder.faults.has(name)) return null;
    try {
      const pixels = await exactPixels(decoder, index, (own) => installed.lossless(reader.header.fingerprint, own));
      return { place: decoder.windows[index], pixels, levels: reader.header.numLevels, isExact: true };
    } catch (error) {
      decoder.faults.set(name, error.message);
      return null;
    }
  }

  async readAlpha() {
    if (this.alpha || !this.reader.alpha) return;
    const { height, width } = this.reader.header;
    try {
      this.alpha = await decodeAlpha(this.reader.alpha, height, width);
    } catch (error) {
      this.reader.alpha = null;
      this.tell({ warnings: [`the alpha channel was ignored: ${error.message}`] });
    }
  }

  addAlpha(pixels, { top, left, height, width }) {
    if (!this.alpha) return;
    for (let i = 0; i < height * width; i++) {
      pixels[4 * i + 3] = this.alpha[(top + Math.floor(i / width)) * this.reader.header.width + left + (i % width)];
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
      const { name, width, height } = found.pictures[this.place] ?? {};
      const begin = performance.now();
      const pixels = name ? await found.pixels(this.place) : null;
      const seconds = (performance.now() - begin) / 1000;
      const names = found.pictures.map(({ name, width, height }) => ({ name, width, height }));
      const answer = pixels ? { picture: { name, width, height }, pixels, seconds } : { names };
      if (viewing === this) postMessage({ url: this.url, ...answer }, pixels ? [pixels.buffer] : []);
    } catch (error) {
      if (viewing === this) postMessage({ url: this.url, error: error.message });
    }
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
