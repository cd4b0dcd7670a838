// The inner loops of the networks, in WebAssembly with vectors: dense and depthwise products, and what follows them.
//
// Where sums are of integers and stay below 2^24 (or 2^53, of 64 bits), which the weights files guarantee, every partial
// sum is exact: it does not matter in which order it is made, nor whether products and sums are rounded together.

import { assemble, Body, f32, f64, i32, load, store, zero } from "./assembler.js";

export const ROWS = 4; // of dense products, at a time: outputs have room for a multiple of it
export const UNROLLED = 4; // inputs of dense products, whose number is a multiple of it
const VECTOR_BYTES = 16;
export const PANEL_BYTES = 2 * VECTOR_BYTES; // dense weights lie in panels of so many bytes of outputs for each input
export const MOST_PAGES = 32768; // of memory: 2 GiB

/** What becomes of a sum: with its bias, times gain, rounded half to even, clamped; or just with its bias. */
function finished(type, sum, bias, exact) {
  const biased = type.add(sum, bias);
  if (!exact) return biased;
  const rounded = type.nearest(type.multiply(biased, exact.gain));
  return type.min(type.max(rounded, exact.low), exact.high);
}

/**
 * Returns the function (x, w, bias, gain, out, rows, numIn, numOut, low, high): out = finished(x times w).
 *
 * x: rows of numIn numbers; out: rows of numOut. Addresses and numbers are i32; low and high of the type. Of four rows and
 * two vectors of outputs, sums stay in registers.
 */
function dense(type, isExact, fused) {
  const body = new Body(...new Array(8).fill("i32"), type.name, type.name);
  const [x, w, bias, gain, out, rows, numIn, numOut, low, high] = body.parameters;
  const [inBytes, outBytes, panel, place, row, target] = [1, 2, 3, 4, 5, 6].map(() => body.local("i32"));
  const limits = isExact && { low: type.splat(low.get), high: type.splat(high.get) };
  const places = { row, place, panel, target, bias, gain, inBytes, outBytes };
  const bytes = i32.constant(type.bytes);
  return body.of([
    inBytes.set(i32.multiply(numIn.get, bytes)),
    outBytes.set(i32.multiply(numOut.get, bytes)),
    place.set(w.get),
    body.repeat(numOut.get, PANEL_BYTES / type.bytes, [
      row.set(x.get),
      target.set(out.get),
      body.repeat(rows.get, ROWS, fourRows(body, type, fused, limits, numIn, places)),
      place.set(panel.get),
      ...[out, bias, gain].map((address) => address.add(i32.constant(PANEL_BYTES))),
    ]),
  ]);
}

/** Returns the sums of four rows of inputs with one panel: row and target go on by four rows, panel ends behind the weights. */
function fourRows(body, type, fused, limits, numIn, { row, place, panel, target, bias, gain, inBytes, outBytes }) {
  const from = [0, 1, 2, 3].map(() => body.local("i32"));
  const sums = from.map(() => [body.local("v128"), body.local("v128")]);
  const [left, right, one] = [1, 2, 3].map(() => body.local("v128"));
  const added = (sum, weight) => sum.set(multiplyAdd(type, fused, one.get, weight.get, sum.get));
  const step = (unit) => [
    ...left.set(load(panel.get, unit * PANEL_BYTES)),
    ...right.set(load(panel.get, unit * PANEL_BYTES + VECTOR_BYTES)),
    ...from.flatMap((address, i) => {
      const taken = one.set(type.repeated(address.get, unit * type.bytes));
      return [...taken, ...added(sums[i][0], left), ...added(sums[i][1], right)];
    }),
  ];
  const written = (sum, side) => {
    const exact = limits && { ...limits, gain: load(gain.get, side) };
    return store(target.get, finished(type, sum.get, load(bias.get, side), exact), side);
  };
  return [
    panel.set(place.get),
    from[0].set(row.get),
    ...from.slice(1).map((address, i) => address.set(i32.add(from[i].get, inBytes.get))),
    ...sums.flat().map((sum) => sum.set(zero)),
    body.repeat(numIn.get, UNROLLED, [
      ...[0, 1, 2, 3].flatMap(step),
      ...panel.add(i32.constant(UNROLLED * PANEL_BYTES)),
      ...from.flatMap((address) => address.add(i32.constant(UNROLLED * type.bytes))),
    ]),
    ...sums.map(([first, second]) => [...written(first, 0), ...written(second, VECTOR_BYTES), ...target.add(outBytes.get)]),
    row.set(i32.add(row.get, i32.multiply(inBytes.get, i32.constant(ROWS)))),
  ];
}

function multiplyAdd(type, fused, a, b, sum) {
  return fused ? type.multiplyAdd(a, b, sum) : type.add(sum, type.multiply(a, b));
}

/**
 * Returns the function (x, w, bias, gain, out, columns, channelBytes, rowBytes, taps, low, high) for one row of cells.
 *
 * x: the first of taps x taps cells that the first output sees, in a map with a margin, whose rows have rowBytes;
 * w: for each tap the weights of all channels.
 */
function depthwise(isExact, fused) {
  const body = new Body(...new Array(9).fill("i32"), "f32", "f32");
  const [x, w, bias, gain, out, columns, channelBytes, rowBytes, taps, low, high] = body.parameters;
  const [channel, weight, row, cell] = [1, 2, 3, 4].map(() => body.local("i32"));
  const sum = body.local("v128");
  const at = (address) => load(i32.add(address.get, channel.get));
  const exact = isExact && { gain: at(gain), low: f32.splat(low.get), high: f32.splat(high.get) };
  const tap = [
    sum.set(multiplyAdd(f32, fused, load(cell.get), load(weight.get), sum.get)),
    cell.add(channelBytes.get),
    weight.add(channelBytes.get),
  ];
  return body.of([
    body.repeat(columns.get, 1, [
      channel.set(i32.constant(0)),
      body.repeat(channelBytes.get, VECTOR_BYTES, [
        sum.set(zero),
        weight.set(i32.add(w.get, channel.get)),
        row.set(i32.add(x.get, channel.get)),
        body.repeat(taps.get, 1, [cell.set(row.get), body.repeat(taps.get, 1, tap), row.add(rowBytes.get)]),
        store(i32.add(out.get, channel.get), finished(f32, sum.get, at(bias), exact)),
        channel.add(i32.constant(VECTOR_BYTES)),
      ]),
      x.add(channelBytes.get),
      out.add(channelBytes.get),
    ]),
  ]);
}

function functions(fused) {
  return {
    dense: dense(f32, true, fused),
    denseWide: dense(f64, true, fused),
    denseFloat: dense(f32, false, fused),
    depthwise: depthwise(true, fused),
    depthwiseFloat: depthwise(false, fused),
  };
}

/** Returns the compiled module, for shared memory or for memory of one's own; an Error if there are no vectors here. */
export function compiled(isShared) {
  const ways = [true, false].map((fused) => assemble(functions(fused), isShared, MOST_PAGES));
  const way = ways.find((bytes) => WebAssembly.validate(bytes));
  if (!way) throw new Error("this browser has no WebAssembly SIMD, which decoding needs");
  return new WebAssembly.Module(way);
}

/** Returns memory as the module takes it. */
export function memory(isShared) {
  return new WebAssembly.Memory({ initial: 1, maximum: MOST_PAGES, shared: isShared });
}

/** Returns the functions, on that memory. */
export function instantiated(module, memory) {
  return new WebAssembly.Instance(module, { from: { memory } }).exports;
}
