// What is done to a few rows of a map at a time, by whichever thread is free: parts of blocks, and dense products.
//
// A job is a list of numbers, addresses in shared memory among them; see `machine.js`. k: the functions of `kernels.js`;
// f32: the memory as Float32Array.

import { ROWS } from "./kernels.js";

const ACTIVATION_LIMIT = 1023;
const STATE_LIMIT = 2 ** 22 - 1;
const FARTHEST = 8; // spreads from the center that a float branch still tells apart
const MOST = 2 ** 60; // as a limit: none
const GELU_STEPS = 256;
const GELU_END = 8; // beyond it, the function is its argument, or 0
const GELU = Float32Array.from({ length: 2 * GELU_END * GELU_STEPS + 2 }, (_, i) => {
  const x = i / GELU_STEPS - GELU_END;
  return (x / 2) * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
});
const HALF_EVEN = 1.5 * 2 ** 52; // adding and subtracting it rounds a float64 to an integer, halves to even

const clamp = (x, limit) => Math.min(Math.max(x, -limit), limit);
const whole = (cells) => Math.ceil(cells / ROWS) * ROWS;

/** One row of states to activations, in the middle of a map with a margin of a cell. */
function activations(k, f32, [state, gain, frame, columns, channels], row) {
  const [from, by] = [state / 4 + row * columns * channels, gain / 4];
  const to = frame / 4 + ((row + 1) * (columns + 2) + 1) * channels;
  for (let i = 0; i < columns * channels; i += channels) {
    for (let c = 0; c < channels; c++) {
      const rounded = Math.fround(f32[from + i + c] * f32[by + c]) + HALF_EVEN - HALF_EVEN;
      f32[to + i + c] = clamp(rounded, ACTIVATION_LIMIT);
    }
  }
}

/** Some rows through an integer block, from activations: the state changes, and the head's outputs are written. */
function blockRows(k, f32, job, part, thread) {
  const [state, frame, rows, columns, channels, rowsAtOnce, kernel, fc1, fc2, head, heads, scratch, scratchBytes] = job;
  const [hidden, numHead] = job.slice(13);
  const first = part * rowsAtOnce;
  const cells = Math.min(rowsAtOnce, rows - first) * columns;
  const y = scratch + thread * scratchBytes;
  const h = y + 4 * whole(cells) * channels;
  const outputs = h + 4 * whole(cells) * hidden;
  const wide = 4 * (columns + 2) * channels;
  for (let row = 0; row * columns < cells; row++) {
    expandedRow(k, f32, [frame + first * wide, kernel, y, columns, channels], row);
  }
  k.dense(y, ...after(fc1, channels * hidden, hidden), h, whole(cells), channels, hidden, 0, ACTIVATION_LIMIT);
  if (head) {
    k.dense(h, ...after(head, hidden * numHead, numHead), outputs, whole(cells), hidden, numHead, -MOST, MOST);
    f32.copyWithin(heads / 4 + first * columns * numHead, outputs / 4, outputs / 4 + cells * numHead);
  }
  k.dense(h, ...after(fc2, hidden * channels, channels), y, whole(cells), hidden, channels, -STATE_LIMIT, STATE_LIMIT);
  const to = state / 4 + first * columns * channels;
  for (let i = 0; i < cells * channels; i++) f32[to + i] = clamp(f32[to + i] + f32[y / 4 + i], STATE_LIMIT);
}

/** Returns the addresses of weights, bias and gain, which lie one after the other. */
function after(weights, numWeights, numOut) {
  return [weights, weights + 4 * numWeights, weights + 4 * (numWeights + numOut)];
}

/** Some rows of an integer product. */
function exactRows(k, f32, [x, product, out, rows, rowsAtOnce, numIn, numOut, low, high], part) {
  const first = part * rowsAtOnce;
  const [from, to] = [x + 4 * first * numIn, out + 4 * first * numOut];
  const count = whole(Math.min(rowsAtOnce, rows - first));
  k.dense(from, ...after(product, numIn * numOut, numOut), to, count, numIn, numOut, low, high);
}

/** One row of activations through a depthwise product. */
function expandedRow(k, f32, [frame, kernel, out, columns, channels], row) {
  const wide = 4 * (columns + 2) * channels;
  const to = out + 4 * row * columns * channels;
  const limits = [-ACTIVATION_LIMIT, ACTIVATION_LIMIT];
  k.depthwise(frame + row * wide, ...after(kernel, 9 * channels, channels), to, columns, 4 * channels, wide, 3, ...limits);
}

/** Some rows of a wide integer product, of float64. */
function wideRows(k, f32, [x, product, out, rows, rowsAtOnce, numIn, numOut, limit], part) {
  const first = part * rowsAtOnce;
  const [from, to] = [x + 8 * first * numIn, out + 8 * first * numOut];
  const bias = product + 8 * numIn * numOut;
  const count = whole(Math.min(rowsAtOnce, rows - first));
  k.denseWide(from, product, bias, bias + 8 * numOut, to, count, numIn, numOut, -limit, limit);
}

/** Some rows of a float product. */
function floatRows(k, f32, [x, product, out, rows, rowsAtOnce, numIn, numOut], part) {
  const first = part * rowsAtOnce;
  const [from, to] = [x + 4 * first * numIn, out + 4 * first * numOut];
  const count = whole(Math.min(rowsAtOnce, rows - first));
  k.denseFloat(from, product, product + 4 * numIn * numOut, 0, to, count, numIn, numOut, 0, 0);
}

/** One row of a float map: centered, brought to spread 1 and limited, in the middle of a map with a margin of cells. */
function centered(k, f32, [state, center, frame, columns, channels, margin], row) {
  const [from, of, by] = [state / 4 + row * columns * channels, center / 4, center / 4 + channels];
  const to = frame / 4 + ((row + margin) * (columns + 2 * margin) + margin) * channels;
  for (let i = 0; i < columns * channels; i += channels) {
    for (let c = 0; c < channels; c++) f32[to + i + c] = clamp((f32[from + i + c] - f32[of + c]) * f32[by + c], FARTHEST);
  }
}

/** One row of a float map, as it is, in the middle of a map with a margin of cells. */
function framed(k, f32, [state, , frame, columns, channels, margin], row) {
  const from = state / 4 + row * columns * channels;
  f32.copyWithin(frame / 4 + ((row + margin) * (columns + 2 * margin) + margin) * channels, from, from + columns * channels);
}

/** Some rows through a float block of either kind, from the map with a margin. taps: 3 of a rectified one, 5 of the other. */
function floatBlockRows(k, f32, job, part, thread) {
  const [state, frame, rows, columns, channels, rowsAtOnce, kernel, fc1, fc2, value, scratch, scratchBytes, hidden, taps] = job;
  const first = part * rowsAtOnce;
  const cells = Math.min(rowsAtOnce, rows - first) * columns;
  const y = scratch + thread * scratchBytes;
  const h = y + 4 * whole(cells) * channels;
  const gate = h + 4 * whole(cells) * hidden;
  const wide = 4 * (columns + taps - 1) * channels;
  for (let row = 0; row * columns < cells; row++) {
    const out = y + 4 * row * columns * channels;
    const from = frame + (first + row) * wide;
    k.depthwiseFloat(from, ...after(kernel, taps ** 2 * channels, channels), out, columns, 4 * channels, wide, taps, 0, 0);
  }
  const product = (...dense) => floatRows(k, f32, [...dense.slice(0, 3), whole(cells), whole(cells), ...dense.slice(3)], 0);
  if (value) product(y, value, gate, channels, hidden);
  if (taps === 5) normalize(f32.subarray(y / 4, y / 4 + cells * channels), channels);
  product(y, fc1, h, channels, hidden);
  const values = f32.subarray(h / 4, h / 4 + cells * hidden);
  if (taps === 5) gelu(values);
  else for (let i = 0; i < values.length; i++) values[i] = Math.max(values[i], 0);
  if (value) for (let i = 0; i < values.length; i++) values[i] *= f32[gate / 4 + i];
  product(h, fc2, y, hidden, channels);
  const to = state / 4 + first * columns * channels;
  for (let i = 0; i < cells * channels; i++) f32[to + i] += f32[y / 4 + i];
}

/** Divides the channels of each cell by sqrt(1 + the mean of their squares). */
function normalize(values, channels) {
  for (let i = 0; i < values.length; i += channels) {
    let sum = 0;
    for (let c = i; c < i + channels; c++) sum += values[c] * values[c];
    const factor = 1 / Math.sqrt(1 + sum / channels);
    for (let c = i; c < i + channels; c++) values[c] *= factor;
  }
}

/** GELU (with tanh) of each value, interpolated in a table: closer than 2e-6. */
function gelu(values) {
  for (let i = 0; i < values.length; i++) {
    const x = values[i];
    if (x >= GELU_END) continue;
    const place = (Math.max(x, -GELU_END) + GELU_END) * GELU_STEPS;
    const low = place | 0;
    values[i] = GELU[low] + (place - low) * (GELU[low + 1] - GELU[low]);
  }
}

/** By name; their order is known to all threads, which have the same file. */
export const TASKS = { activations, blockRows, expandedRow, exactRows, wideRows, floatRows, centered, framed, floatBlockRows };
