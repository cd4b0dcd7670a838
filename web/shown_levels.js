// Shows a picture level by level, while its file arrives.

import { Decoder } from "./decoder.js";
import { exactPixels } from "./exact.js";
import { installed } from "./installed.js";
import { Rectangle } from "./rectangle.js";
import { pause } from "./source.js";

const STEPS = 10; // of a file's bytes; after each, what is there of a level is shown

/** What a viewing (of `worker.js`) shows of a file with levels. */
export class ShownLevels {
  constructor(viewing, model) {
    Object.assign(this, { viewing, reader: viewing.reader, decoder: new Decoder(model, viewing.reader) });
    this.last = ""; // what was shown
    this.painted = new Map(); // window -> how much of it was shown, and under which key
  }

  /** Why nothing can be shown, though no more will arrive; or nothing. */
  get missing() {
    return this.decoder.numArrived() ? "" : (this.reader.warnings[0] ?? "the first level is not there");
  }

  /** Shows what has arrived of what is wanted, if that was not shown yet. */
  async show() {
    const { viewing, decoder, reader } = this;
    const { limit, region } = viewing;
    const { height, width, numLevels, lossless, fileBytes } = reader.header;
    const levels = decoder.numArrived(Math.min(limit, numLevels));
    // until no more can come, exact pixels are shown of all windows or of none
    const isLast = (levels > 0 && viewing.ended) || reader.lossless.every((piece) => piece);
    const exact = lossless && limit > numLevels && isLast;
    const isAll = levels >= Math.min(limit, numLevels) && (exact || !lossless || limit <= numLevels);
    const isDone = viewing.ended || isAll;
    const step = isDone ? "all" : Math.floor((STEPS * reader.length) / fileBytes);
    const key = [levels, exact, step, Math.min(limit, numLevels + 1)].join();
    const state = `${key} ${region}`;
    if (state === this.last || (!levels && !exact)) return;
    this.last = state;
    const begin = performance.now();
    const parts = decoder.parts(region ? new Rectangle(...region) : new Rectangle(0, 0, height, width));
    const isWanted = () => viewing.isOpen && viewing.limit === limit && viewing.region === region;
    if (!(await this.paint(parts, key, exact, isWanted))) {
      this.last = "";
      return;
    }
    const found = parts.map(({ index }) => this.painted.get(index));
    const shown = Math.floor(Math.min(...found.map((one) => one.levels)));
    viewing.tell({ warnings: [...reader.warnings, ...decoder.faults.values()] });
    await viewing.tellShown({ shown, ...this.facts(shown, found), isWhole: !region, done: isDone }, begin);
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
      this.viewing.tell({ decoding: number + 1, of: parts.length });
      await pause();
      const isThere = exact && this.reader.lossless[index];
      const { pixels, ...found } = (isThere && (await this.exactPart(index))) || this.part(index, part);
      if (found.levels < 1) throw new Error([...this.reader.warnings, ...this.decoder.faults.values()].at(-1));
      await this.viewing.put(pixels, found.place);
      this.painted.set(index, { key, ...found });
      await pause();
      if (!isWanted()) return false;
    }
    return true;
  }

  /** Returns what the levels show of a part of a window: {place, pixels, levels, isExact}. */
  part(index, part) {
    const most = Math.min(this.viewing.limit, this.reader.header.numLevels);
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
}
