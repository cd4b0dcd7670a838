// Weights files: safetensors, of which only the parts that decoding needs are fetched.

import { FormatError } from "./bytes.js";

const FIRST_BYTES = 1 << 17; // fetched at once; holds the header of the models that there are
const GAP_BYTES = 1 << 16; // between tensors, rather fetched than asked for twice
const HALVES = new Float32Array(65536).map((_, bits) => {
  const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
  const value = exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24;
  return (bits & 32768 ? -1 : 1) * value;
});
const TYPES = {
  I16: (buffer) => new Int16Array(buffer),
  I32: (buffer) => new Int32Array(buffer),
  F16: (buffer) => Float32Array.from(new Uint16Array(buffer), (bits) => HALVES[bits]),
  F32: (buffer) => new Float32Array(buffer),
  F64: (buffer) => new Float64Array(buffer),
};

/**
 * Returns {about, tensors} of a weights file; about: its metadata, strings by name; tensors: name -> {shape, data} of those
 * that `wanted` says yes to.
 *
 * range(start, end): returns a promise of these bytes of the file, fewer where it ends. Throws FormatError.
 */
export async function readWeights(range, wanted) {
  let start = await range(0, FIRST_BYTES);
  const view = new DataView(start.buffer, start.byteOffset, start.byteLength);
  const begin = 8 + Number(view.getBigUint64(0, true));
  if (begin > 10_000_000) throw new FormatError("the weights file is none");
  if (begin > start.length) start = await range(0, begin);
  const { __metadata__: about, ...rows } = JSON.parse(new TextDecoder().decode(start.subarray(8, begin)));
  const found = Object.entries(rows).filter(([name]) => wanted(name));
  const tensors = {};
  for (const run of runs(found)) Object.assign(tensors, await fetched(range, begin, run));
  return { about, tensors };
}

/** Returns tensors in groups that lie side by side in the file. */
function runs(rows) {
  const ordered = rows.sort(([, a], [, b]) => a.data_offsets[0] - b.data_offsets[0]);
  const found = [];
  let end = -Infinity;
  for (const row of ordered) {
    if (row[1].data_offsets[0] > end + GAP_BYTES) found.push([]);
    found.at(-1).push(row);
    end = row[1].data_offsets[1];
  }
  return found;
}

async function fetched(range, begin, run) {
  const [first, last] = [run[0][1].data_offsets[0], run.at(-1)[1].data_offsets[1]];
  const bytes = await range(begin + first, begin + last);
  if (bytes.length < last - first) throw new FormatError("the weights file ends too early");
  const tensor = ({ dtype, shape, data_offsets: [from, to] }) => {
    return { shape, data: TYPES[dtype](bytes.slice(from - first, to - first).buffer) };
  };
  return Object.fromEntries(run.map(([name, row]) => [name, tensor(row)]));
}
