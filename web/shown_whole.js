// Shows a picture that is stored as a whole, while its file arrives.

import { FormatError, NeedMore } from "./bytes.js";
import { Rectangle } from "./rectangle.js";
import { Whole } from "./whole.js";

const STEPS = 10; // of a file's bytes; after each, what is there is shown
const SLICE_MS = 400; // of decoding, after which what is known is shown, at least
const SLICE_MS_PER_PIXEL = 5e-5; // for showing that takes its time, too
const STRIP_PIXELS = 1 << 20; // that are handed over at once, about

/** What a viewing (of `worker.js`) shows of a file without levels. */
export class ShownWhole {
  constructor(viewing) {
    Object.assign(this, { viewing, reader: viewing.reader, whole: new Whole(viewing.reader.header) });
    this.last = ""; // what was shown, all that there is of it
    this.begin = null; // when what is being decoded was begun
  }

  /** Why nothing can be shown, though no more will arrive; or nothing. */
  get missing() {
    return this.reader.whole || this.reader.coarse.length ? "" : "the file ends before its picture";
  }

  /** Whether its picture is not where it should be; one in the other section of chunks is fine. */
  get isDamaged() {
    const { whole, coarse, complete } = this.reader;
    return !whole && coarse.length > 0 && (complete || this.viewing.ended);
  }

  /** Shows what has arrived, or a part of that, if it was not shown yet. */
  async show() {
    const { viewing, reader, whole } = this;
    const isCut = !reader.chunks.PICT;
    if (this.isDamaged) throw this.refusal(new FormatError("the picture is damaged"));
    const step = !isCut || viewing.ended ? "all" : Math.floor((STEPS * reader.length) / reader.header.fileBytes);
    const state = `${step} ${isCut}`;
    if (!reader.whole || state === this.last) return;
    this.begin ??= performance.now();
    if (!this.last) viewing.tell({ decoding: 1, of: 1 });
    const found = await this.found(isCut);
    if (!found) return;
    await this.put(found);
    viewing.tell({ warnings: reader.warnings });
    const { share, isExact: exact, deep } = found;
    const facts = { shown: 1, exact, more: false, bytes: exact ? reader.header.fileBytes : reader.length, isWhole: true };
    const done = found.isDone && step === "all";
    await viewing.tellShown({ ...facts, name: whole.name, share, isDeep: deep !== null, done }, this.begin);
    if (found.isDone) [this.last, this.begin] = [state, null];
  }

  /** Returns a promise of what there is; null if that is nothing and more may come. */
  async found(isCut) {
    try {
      const { height, width } = this.reader.header;
      const slice = Math.max(SLICE_MS, SLICE_MS_PER_PIXEL * height * width);
      return await this.whole.shown(this.reader.whole, isCut, slice);
    } catch (error) {
      if (this.viewing.ended || !(error instanceof NeedMore)) throw this.refusal(error);
      return null;
    }
  }

  /** Takes back what was shown, which may be wrong; returns the error. */
  refusal(error) {
    this.viewing.tell({ blank: true });
    return error;
  }

  /** Shows pixels, strip by strip. */
  async put({ pixels, deep }) {
    const { height, width } = this.reader.header;
    const rows = Math.max(1, Math.floor(STRIP_PIXELS / width));
    for (let top = 0; top < height && this.viewing.isOpen; top += rows) {
      const place = new Rectangle(top, 0, Math.min(top + rows, height), width);
      await this.viewing.put(pixels.slice(4 * top * width, 4 * place.bottom * width), place, deep !== null);
    }
  }
}
