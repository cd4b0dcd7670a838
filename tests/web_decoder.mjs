// Decodes files by the viewer's own modules in Node: for test_web.py.
//
// node web_decoder.mjs WEB WEIGHTS < JOBS: jobs are JSON objects {path, bytes, limit, region, out}; of a file the first bytes (all if
// null), so many levels, and a region (null: all), whose pixels go to `out`, if that is given. Answers are printed likewise:
// {digest} of all that was popped and of the last states, or {error}.

import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [web, weights] = process.argv.slice(2);
const load = (name) => import(pathToFileURL(`${web}/${name}.js`));
const [{ FormatError }, { Machine }, { loadModel }, { Reader }, { Decoder }, { Rectangle }] = await Promise.all(
  ["bytes", "machine", "model", "reader", "decoder", "rectangle"].map(load),
);
const { fingerprint, jobs } = JSON.parse(readFileSync(0, "utf8"));
const file = readFileSync(weights);
const range = async (start, end) => new Uint8Array(file.subarray(start, end));
const model = await loadModel(new Machine(), fingerprint, range);

/** Returns what is to be said of a job. */
function done({ path, bytes, limit, region, out, changed }) {
  const data = new Uint8Array(readFileSync(path)).slice(0, bytes ?? undefined);
  for (const [at, value] of changed ?? []) data[at] ^= value;
  const reader = new Reader();
  reader.feed(data);
  if (!reader.header) return { error: "the file ends inside its header" };
  const decoder = new Decoder(model, reader);
  const { height, width, numLevels } = reader.header;
  const levels = limit ?? numLevels;
  const digest = createHash("sha256");
  const add = (array) => digest.update(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
  decoder.note = (indices, symbols) => [Int16Array.from(indices), symbols].forEach(add);
  const states = decoder.windows.map((_, index) => decoder.state(index, levels).state);
  for (const { data } of states) add(data.map((value) => value + 0)); // no zero with a sign
  if (out) writeFileSync(out, pixels(decoder, region ? new Rectangle(...region) : new Rectangle(0, 0, height, width), levels));
  return { digest: digest.digest("hex").slice(0, 16), warnings: [...reader.warnings, ...decoder.faults.values()] };
}

function pixels(decoder, region, levels) {
  const found = new Uint8Array(4 * region.height * region.width);
  for (const { index, part } of decoder.parts(region)) {
    const shown = decoder.pixels(index, part, levels);
    const { top, left, height, width } = part.within(region);
    for (let row = 0; row < height; row++) {
      found.set(shown.subarray(4 * row * width, 4 * (row + 1) * width), 4 * ((top + row) * region.width + left));
    }
  }
  return found;
}

const answers = jobs.map((job) => {
  try {
    return done(job);
  } catch (error) {
    if (error instanceof FormatError) return { error: error.message };
    throw error;
  }
});
console.log(JSON.stringify(answers));
