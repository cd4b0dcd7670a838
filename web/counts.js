// What the coder of few colors does for each bit, in WebAssembly: numbers of 64 bits, and counts that are all over memory.
// FORMAT.md, "Few colors".

import { assemble, Body, i32, i64, select, when } from "./assembler.js";
import { MOST_PAGES } from "./kernels.js";

const NEAR = [ // row and column, relative to a pixel, of those that predict it
  [0, -1], [-1, 0],
  [-1, -1], [-1, 1],
  [0, -2], [-2, 0], [-1, 2], [-1, -2], [0, -3], [-2, 1], [-2, -1],
  [0, -4], [-2, 2], [-2, -2], [-3, 0], [-1, -3], [0, -5], [-3, 1], [-3, -1], [-2, 3], [-2, -3], [-1, -4],
];
const SPANS = [2, 4, 11, 22]; // how many of these make a context
const TABLE_BITS = [16, 18, 22, 22]; // of the number of pairs of counts of each
const FACTOR = 0x9e3779b97f4a7c15n;
const ONE = 1 << 24; // a probability of 1
export const LEFT = 5; // columns that neighbors reach to the left
export const ABOVE = 3; // rows that they reach above

const PAIR_BYTES = 8;
const CONTEXT_BYTES = 8 * SPANS.length; // of a pixel
const ASKED_BYTES = 4 * SPANS.length; // of a bit, in the list of those that were asked for
const [STATE, NEXT, EXHAUSTED] = [16, 24, 28]; // places of the stack's state, of its next word, and of whether it lacked one
const TABLES = TABLE_BITS.map((_, i) => 64 + TABLE_BITS.slice(0, i).reduce((sum, bits) => sum + PAIR_BYTES * 2 ** bits, 0));
const ROOM = TABLES.at(-1) + PAIR_BYTES * 2 ** TABLE_BITS.at(-1); // where other things begin
const PAGE_BYTES = 65536;

const power = (exponent) => i64.constant(FACTOR ** BigInt(exponent));

/** Returns the function (pixel, step, rowBytes, out, count): contexts of so many pixels, `step` bytes from one to the next. */
function contexts() {
  const body = new Body(...new Array(5).fill("i32"));
  const [pixel, step, rowBytes, out, count] = body.parameters;
  const rows = Array.from({ length: ABOVE + 1 }, () => body.local("i32")); // the pixel's, and those above it
  const sum = body.local("i64");
  const above = rows.slice(1).map((row, i) => row.set(i32.add(rows[i].get, i32.multiply(rowBytes.get, i32.constant(-1)))));
  const summed = NEAR.flatMap(([row, column], k) => {
    const number = i64.load16(rows[-row].get, 2 * (LEFT + column));
    const added = sum.set(i64.add(sum.get, i64.multiply(number, power(k + 1))));
    const level = SPANS.indexOf(k + 1);
    return level < 0 ? added : [...added, ...i64.store(out.get, sum.get, 8 * level)];
  });
  return body.of([
    body.repeat(count.get, 1, [
      rows[0].set(i32.add(pixel.get, i32.constant(-2 * LEFT))),
      ...above,
      sum.set(i64.constant(0)),
      summed,
      pixel.add(step.get),
      out.add(i32.constant(CONTEXT_BYTES)),
    ]),
  ]);
}

/** Returns operations that put into `ones` how probable a 1 is, by one context, and into the list which counts say so. */
function corrected({ ones, hash, place, zeros, total }, context, node, asked, level) {
  const mixed = i64.add(i64.load(context.get, 8 * level), i64.multiply(i64.of(node.get), power(NEAR.length + 1)));
  const scrambled = i64.multiply(i64.xor(hash.get, i64.shiftRight(hash.get, i64.constant(32))), power(1));
  const number = i32.lower(i64.shiftRight(scrambled, i64.constant(64 - TABLE_BITS[level])));
  const n1 = i64.load32(place.get, 4);
  const first = i64.divide(
    i64.multiply(i64.add(i64.shiftLeft(n1, i64.constant(3)), i64.constant(1)), i64.constant(ONE)),
    i64.add(i64.shiftLeft(total.get, i64.constant(3)), i64.constant(2)),
  );
  const more = i64.divide(
    i64.add(i64.multiply(n1, i64.constant(ONE)), ones.get),
    i64.add(total.get, i64.constant(1)),
  );
  return [
    hash.set(mixed),
    place.set(i32.add(i32.multiply(number, i32.constant(PAIR_BYTES)), i32.constant(TABLES[level]))),
    i32.store(asked.get, place.get, 4 * level),
    zeros.set(i64.load32(place.get)),
    total.set(i64.add(zeros.get, n1)),
    ones.set(level ? more : first),
  ].flat();
}

/** Returns operations that pop a bit: with `ones` for a 1, of the state; `next`: the address of the next word. */
function popped({ bit, ones, state, next, rest }, end) {
  const zeros = i64.subtract(i64.constant(ONE), ones.get);
  const above = i64.shiftRight(state.get, i64.constant(24));
  const advanced = (frequency, below) => i64.add(i64.multiply(frequency, above), i64.subtract(rest.get, below));
  const refilled = i64.or(i64.shiftLeft(state.get, i64.constant(32)), i64.load32(next.get));
  const refill = [state.set(refilled), next.add(i32.constant(4))];
  const lacking = i32.store(i32.constant(EXHAUSTED), i32.constant(1));
  return [
    ...rest.set(i64.and(state.get, i64.constant(ONE - 1))),
    ...when(
      i64.isLess(rest.get, zeros),
      [bit.set(i32.constant(0)), state.set(advanced(zeros, i64.constant(0)))],
      [bit.set(i32.constant(1)), state.set(advanced(ones.get, zeros))],
    ),
    ...when(
      i64.isLess(state.get, i64.constant(2 ** 32)),
      [...when(i32.isLess(next.get, end.get), refill, [lacking])],
      [],
    ),
  ];
}

/**
 * Returns the function (who, count, contexts, nodes, asked, end): pops a bit of each of the pixels in a list of numbers, puts it
 * behind the digits of its node, and writes to which four counts it belongs. end: of the words that are there.
 */
function ask() {
  const body = new Body(...new Array(6).fill("i32"));
  const [who, count, firstContext, firstNode, asked, end] = body.parameters;
  const local = (type, ...names) => Object.fromEntries(names.map((name) => [name, body.local(type)]));
  const { own, context, at, node, ...small } = local("i32", "own", "context", "at", "node", "place", "bit", "next");
  const all = { ...small, ...local("i64", "ones", "hash", "zeros", "total", "state", "rest") };
  const least = select(i64.isLess(all.ones.get, i64.constant(1)), i64.constant(1), all.ones.get);
  const most = select(i64.isLess(all.ones.get, i64.constant(ONE)), all.ones.get, i64.constant(ONE - 1));
  const counted = (_, level) => {
    const right = i32.add(i32.load(asked.get, 4 * level), i32.shiftLeft(all.bit.get, i32.constant(2)));
    return i32.store(asked.get, right, 4 * level);
  };
  return body.of([
    all.state.set(i64.load(i32.constant(STATE))),
    all.next.set(i32.load(i32.constant(NEXT))),
    body.repeat(count.get, 1, [
      own.set(i32.load(who.get)),
      context.set(i32.add(firstContext.get, i32.multiply(own.get, i32.constant(CONTEXT_BYTES)))),
      at.set(i32.add(firstNode.get, i32.multiply(own.get, i32.constant(4)))),
      node.set(i32.load(at.get)),
      ...SPANS.map((_, level) => corrected(all, context, node, asked, level)),
      all.ones.set(least),
      all.ones.set(most),
      popped(all, end),
      i32.store(at.get, i32.add(i32.shiftLeft(node.get, i32.constant(1)), all.bit.get)),
      ...SPANS.map(counted),
      who.add(i32.constant(4)),
      asked.add(i32.constant(ASKED_BYTES)),
    ]),
    i64.store(i32.constant(STATE), all.state.get),
    i32.store(i32.constant(NEXT), all.next.get),
  ]);
}

/** Returns the function (asked, count, amount): adds to each of the counts in a list of their addresses. */
function learn() {
  const body = new Body("i32", "i32", "i32");
  const [asked, count, amount] = body.parameters;
  const place = body.local("i32");
  return body.of([
    body.repeat(count.get, 1, [
      place.set(i32.load(asked.get)),
      i32.store(place.get, i32.add(i32.load(place.get), amount.get)),
      asked.add(i32.constant(4)),
    ]),
  ]);
}

let module = null; // compiled once

/** Counts of what stood in each context so far, and the stack that bits are popped from, with room for what one picture needs. */
export class Counts {
  /** mostPixels, mostBits: that are known at once; roomBytes: for whoever made it, from `room` on, zeros. */
  constructor(mostPixels, mostBits, roomBytes) {
    const sizes = [CONTEXT_BYTES * mostPixels, 4 * mostPixels, 4 * mostPixels, ASKED_BYTES * mostBits, 4 * (mostBits + 2)];
    const places = sizes.map((_, i) => ROOM + sizes.slice(0, i).reduce((sum, size) => sum + size, 0));
    [this._contexts, this._nodes, this._who, this._asked, this._words] = places;
    this.room = this._words + sizes.at(-1);
    const pages = Math.ceil((this.room + roomBytes) / PAGE_BYTES);
    module ??= new WebAssembly.Module(assemble({ contexts: contexts(), ask: ask(), learn: learn() }, false, MOST_PAGES));
    this.memory = new WebAssembly.Memory({ initial: pages, maximum: MOST_PAGES });
    this._functions = new WebAssembly.Instance(module, { from: { memory: this.memory } }).exports;
    const { buffer } = this.memory;
    this.nodes = new Int32Array(buffer, this._nodes, mostPixels); // of each pixel: the digits so far
    this.who = new Int32Array(buffer, this._who, mostPixels); // numbers of the pixels that are asked for
    this._bytes = new Uint8Array(buffer, this._words, sizes.at(-1));
    this._stack = new Uint32Array(buffer, STATE, 4); // low and high half of the state, address of the next word, exhausted
  }

  /** The state of the stack, [low, high]. */
  get state() {
    return [...this._stack.subarray(0, 2)];
  }

  set state(halves) {
    this._stack.set(halves);
  }

  /** Takes words of the stack (Uint8Array), as many as there is room for, and the contexts of pixels, one every `step` bytes. */
  begin(words, pixel, step, rowBytes, count) {
    const taken = words.subarray(0, this._bytes.length);
    this._bytes.set(taken);
    this._stack.set([this._words, 0], 2);
    this._end = this._words + taken.length;
    this._numAsked = 0;
    this._functions.contexts(pixel, step, rowBytes, this._contexts, count);
  }

  /** Pops a bit for each of the first `count` pixels in `who`, behind the digits of its node, and counts them. */
  pop(count) {
    const asked = this._asked + ASKED_BYTES * this._numAsked;
    this._functions.ask(this._who, count, this._contexts, this._nodes, asked, this._end);
    this._functions.learn(asked, SPANS.length * count, 1);
    this._numAsked += count;
  }

  /** Whether a word was missing since `begin`. */
  get exhausted() {
    return this._stack[3] === 1;
  }

  /** Returns how many bytes of words were used since `begin`. */
  get numUsed() {
    return this._stack[2] - this._words;
  }

  /** Takes back what was counted since `begin`. */
  forget() {
    this._functions.learn(this._asked, SPANS.length * this._numAsked, -1);
  }
}
