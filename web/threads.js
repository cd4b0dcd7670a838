// Tasks on several threads, which share memory: helpers take parts of them as the one who asks does, until none is left.
//
// What they agree on: a word with the number of the job in its upper half and of the next part in its lower one (CLOSED while a
// job is written), how many parts are done, and the job. A part is taken by changing the word; who is late finds it changed.

import { instantiated } from "./kernels.js";
import { TASKS } from "./tasks.js";

const [NEXT, NUM_PARTS, DONE, FAILED, TASK, LENGTH, MEMORY_PAGES] = [0, 1, 2, 3, 4, 5, 6]; // places of words
const NUM_WORDS = 8;
const MOST_NUMBERS = 24; // of a job
const CLOSED = 0xffff;
const NAMES = Object.keys(TASKS);
const PAGE_BYTES = 65536;
const MOST_HELPERS = 7;
const PATIENCE_MS = 1000; // after which one looks again

/** Returns helpers, one for each processor but one; null where threads cannot share memory. */
export function helpers() {
  const count = Math.min((globalThis.navigator?.hardwareConcurrency ?? 1) - 1, MOST_HELPERS);
  return globalThis.crossOriginIsolated && count > 0 ? new Helpers(count) : null;
}

class Helpers {
  constructor(count) {
    const buffer = new SharedArrayBuffer(4 * NUM_WORDS + 8 * MOST_NUMBERS);
    this.shared = views(buffer);
    this.number = 0; // of the job
    this.workers = Array.from({ length: count }, () => new Worker(new URL("helper.js", import.meta.url), { type: "module" }));
  }

  /** Gives the helpers their kernels and memory; returns how many there are. */
  join(module, memory) {
    this.memory = memory;
    const { buffer } = this.shared.words;
    this.workers.forEach((worker, index) => worker.postMessage({ module, memory, buffer, thread: index + 1 }));
    return this.workers.length;
  }

  /** Does a task on all its parts; own(part): does one on this thread. */
  run(name, job, numParts, own) {
    const { words } = this.shared;
    const number = this._write(name, job, numParts);
    for (let part; (part = taken(words, number)) >= 0; ) {
      own(part);
      Atomics.add(words, DONE, 1);
    }
    for (let done; (done = Atomics.load(words, DONE)) < numParts; ) Atomics.wait(words, DONE, done, PATIENCE_MS);
    if (Atomics.load(words, FAILED)) throw new Error("a thread has failed");
  }

  /** Writes a job, calls the helpers, and returns its number. */
  _write(name, job, numParts) {
    const { words, numbers } = this.shared;
    this.number = (this.number + 1) % 0x8000;
    Atomics.store(words, NEXT, (this.number << 16) | CLOSED);
    numbers.set(job);
    const facts = { [NUM_PARTS]: numParts, [DONE]: 0, [TASK]: NAMES.indexOf(name), [LENGTH]: job.length };
    for (const [place, value] of Object.entries(facts)) Atomics.store(words, Number(place), value);
    Atomics.store(words, MEMORY_PAGES, this.memory.buffer.byteLength / PAGE_BYTES);
    Atomics.store(words, NEXT, this.number << 16);
    Atomics.notify(words, NEXT);
    return this.number;
  }
}

/** Returns whether helpers can take so many parts. */
export function canShare(numParts) {
  return numParts > 1 && numParts < CLOSED;
}

/** Does parts of jobs for ever: what a helper is there for. */
export function help({ module, memory, buffer, thread }) {
  const shared = views(buffer);
  const functions = instantiated(module, memory);
  for (;;) {
    const word = Atomics.load(shared.words, NEXT);
    const isOpen = (word & 0xffff) !== CLOSED; // else the job is still being written
    const helped = isOpen && helpOnce(shared, word >>> 16, functions, memory, thread);
    if (!helped) Atomics.wait(shared.words, NEXT, word, PATIENCE_MS);
  }
}

/** Does one part of the job of that number; returns whether there was one. */
function helpOnce({ words, numbers }, number, functions, memory, thread) {
  const name = NAMES[Atomics.load(words, TASK)];
  const job = numbers.slice(0, Atomics.load(words, LENGTH));
  const numPages = Atomics.load(words, MEMORY_PAGES);
  const part = taken(words, number); // only if what was read belongs to it
  if (part < 0) return false;
  try {
    if (memory.buffer.byteLength < numPages * PAGE_BYTES) memory.grow(0); // which shows how it has grown
    TASKS[name](functions, new Float32Array(memory.buffer), job, part, thread);
  } catch {
    Atomics.store(words, FAILED, 1);
  }
  Atomics.add(words, DONE, 1);
  Atomics.notify(words, DONE);
  return true;
}

/** Takes the next part of the job of that number; -1 if there is none. */
function taken(words, number) {
  for (;;) {
    const word = Atomics.load(words, NEXT);
    const part = word & 0xffff;
    if (word >>> 16 !== number || part === CLOSED || part >= Atomics.load(words, NUM_PARTS)) return -1;
    if (Atomics.compareExchange(words, NEXT, word, word + 1) === word) return part;
  }
}

function views(buffer) {
  return { words: new Int32Array(buffer, 0, NUM_WORDS), numbers: new Float64Array(buffer, 4 * NUM_WORDS) };
}
