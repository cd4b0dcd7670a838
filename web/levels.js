// One level of a picture or of one of its windows: its symbols from a piece, and the state with them.
//
// A prefix is a picture as far as the first levels of its file say: {position, levels, inside}. It never changes. inside: where
// in the maps a window lies (a rectangle of cells; null: everywhere), which are wider than the window by its margin.

import { popAll, popOffsets, Stack } from "./stack.js";

/** Returns the prefix with one level more. isCut: the piece is only the beginning of one. Throws FormatError. */
export function decoded(agreed, tables, prefix, piece, hasOffsets, isCut = false, note = null) {
  const stack = new Stack(piece, isCut);
  stack.note = note;
  const level = Math.floor(prefix.levels) + 1;
  const position = descend(agreed, prefix.position, numLatents(agreed, level), ({ channels }, { state, scale }) => {
    const inside = prefix.inside ?? { top: 0, left: 0, bottom: state.rows, right: state.columns };
    let indices = cut(scale, state.columns * channels, inside, channels);
    if (hasOffsets) indices = popOffsets(stack, tables, indices, channels);
    const symbols = popAll(stack, tables, indices);
    return placed(symbols, scale.length, state.columns * channels, inside, channels);
  });
  stack.close();
  return { ...prefix, position, levels: prefix.levels + (isCut ? stack.share : 1) };
}

/** Returns the position after the levels of the whole picture, those that are missing without symbols. */
export function filled(agreed, prefix) {
  return { ...prefix, position: descend(agreed, prefix.position, numLatents(agreed, numCoarse(agreed))) };
}

/** Returns the state at stride 8 after all levels, those that are missing without symbols, of the window alone. */
export function completed(agreed, prefix) {
  const { state } = descend(agreed, prefix.position, agreed.latents.length);
  return prefix.inside ? state.cut(prefix.inside) : state;
}

/** Returns the state at stride 8 as the levels so far left it, of the window alone. */
export function atFinest(agreed, prefix) {
  const { state } = agreed.atStride(prefix.position, 8);
  return prefix.inside ? state.cut(prefix.inside) : state;
}

/** Returns how many of the first levels are of the whole picture. */
export function numCoarse({ config }) {
  return config.levels.filter((latents) => latents.every(([stride]) => stride > 8)).length;
}

function numLatents({ latents }, levels) {
  return latents.filter(({ level }) => level <= levels).length;
}

/** Returns the position before a latent; answer(latent, prior) gives the symbols of each one on the way, null: all are 0. */
function descend(agreed, position, end, answer = null) {
  for (const latent of agreed.latents.slice(position.index, end)) {
    position = agreed.atStride(position, latent.stride);
    const prior = agreed.prior(latent, position.state);
    const symbols = answer ? answer(latent, prior) : new Int32Array(prior.mean.length);
    position = { ...position, state: agreed.advance(latent, prior.state, prior.mean, symbols), index: position.index + 1 };
  }
  return position;
}

/** Returns what lies in a rectangle of cells of a Uint8Array, whose rows have so many values. */
function cut(values, rowLength, { top, left, bottom, right }, channels) {
  const length = (right - left) * channels;
  const found = new Uint8Array((bottom - top) * length);
  for (let row = top; row < bottom; row++) {
    const start = row * rowLength + left * channels;
    found.set(values.subarray(start, start + length), (row - top) * length);
  }
  return found;
}

/** Returns symbols in their place in a whole map, with zeros around them. */
function placed(symbols, total, rowLength, { top, left, bottom, right }, channels) {
  const length = (right - left) * channels;
  const found = new Int32Array(total);
  for (let row = top; row < bottom; row++) {
    found.set(symbols.subarray((row - top) * length, (row - top + 1) * length), row * rowLength + left * channels);
  }
  return found;
}
