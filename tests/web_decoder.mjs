// Decodes files by the viewer's own modules in Node: for test_web.py.
//
// node web_decoder.mjs WEB < TASK: JSON {models, jobs}; models: fingerprint -> weights file. Jobs are objects
// {path, bytes, changed, limit, region, exact, out}: of a file the first bytes (all if null), some of them changed
// ([[place, mask]]), so many levels, and a region (null: all), whose pixels go to `out`, if that is given; or, if exact, the
// lossless layer; or all that is there of a picture that is stored as a whole. Of an archive all pictures go there, one after the
// other. Answers are printed likewise: {digest} of all that was popped and of the last states, and {warnings}; or {name, share,
// warnings} of a picture as a whole; or {names}; or {error}.

import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const web = process.argv[2];
const load = (name) => import(pathToFileURL(`${web}/${name}.js`));
const [{ FormatError }, { Machine }, { loadLossless, loadModel, loadSmall }, { Reader }, { Decoder }, { Rectangle }] =
  await Promise.all(["bytes", "machine", "model", "reader", "decoder", "rectangle"].map(load));
const [{ exactPixels }, { Archive }, { Whole }, { MODEL }, { NeedMore }] = await Promise.all(
  ["exact", "archive", "whole", "header", "bytes"].map(load),
);
const { models: files, jobs } = JSON.parse(readFileSync(0, "utf8"));
const machine = new Machine();
const known = new Map();

/** Returns a promise of a model, which is loaded once. */
function model(fingerprint, read) {
  if (!files[fingerprint]) throw new FormatError(`there is no model ${fingerprint}`);
  if (!known.has(fingerprint)) {
    const file = readFileSync(files[fingerprint]);
    known.set(fingerprint, read(async (start, end) => new Uint8Array(file.subarray(start, end))));
  }
  return known.get(fingerprint);
}

const models = {
  photo: (fingerprint) => model(fingerprint, (range) => loadModel(machine, fingerprint, range)),
  lossless: (base, fingerprint) => model(fingerprint, (range) => loadLossless(machine, base, fingerprint, range)),
  small: (fingerprint) => model(fingerprint, (range) => loadSmall(machine, fingerprint, range)),
};

/** Returns what is to be said of a job. */
async function done(job) {
  const data = new Uint8Array(readFileSync(job.path)).slice(0, job.bytes ?? undefined);
  for (const [place, mask] of job.changed ?? []) data[place] ^= mask;
  if (job.path.endsWith("archive.hcodec")) return unpacked(data, job.out);
  const reader = new Reader();
  reader.feed(data);
  if (!reader.header) return { error: "the file ends inside its header" };
  if (reader.header.model === MODEL) return stored(reader, job.out);
  const decoder = new Decoder(await models.photo(reader.header.fingerprint), reader);
  const { height, width, numLevels } = reader.header;
  const region = job.region ? new Rectangle(...job.region) : new Rectangle(0, 0, height, width);
  const levels = job.limit ?? numLevels;
  if (job.exact) {
    writeFileSync(job.out, await pixels(decoder, region, (index) => exact(decoder, index)));
    return {};
  }
  const digest = digested(decoder, levels);
  if (job.out) writeFileSync(job.out, await pixels(decoder, region, (index, part) => decoder.shown(index, part, levels).pixels));
  return { digest, warnings: [...reader.warnings, ...decoder.faults.values()] };
}

/** Decodes a picture that is stored as a whole as a reader that gets its file byte after byte. */
async function stored(reader, out) {
  const isCut = !reader.chunks.PICT;
  if (!reader.whole) return { error: isCut && reader.coarse.length ? "the picture is damaged" : "the file ends before its picture" };
  const whole = new Whole(reader.header);
  const half = reader.whole.subarray(0, reader.whole.length >> 1);
  await whole.shown(half, true, Infinity).catch((error) => {
    if (!(error instanceof FormatError) && !(error instanceof NeedMore)) throw error;
  });
  const { pixels, share } = await whole.shown(reader.whole, isCut, Infinity);
  if (out) writeFileSync(out, pixels);
  return { name: whole.name, share, warnings: reader.warnings };
}

function digested(decoder, levels) {
  const digest = createHash("sha256");
  const add = (array) => digest.update(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
  decoder.note = (indices, symbols) => [Int16Array.from(indices), symbols].forEach(add);
  const states = decoder.windows.map((_, index) => decoder.state(index, levels).state);
  for (const { data } of states) add(data.map((value) => value + 0)); // no zero with a sign
  return digest.digest("hex").slice(0, 16);
}

function exact(decoder, index) {
  return exactPixels(decoder, index, (fingerprint) => models.lossless(decoder.header.fingerprint, fingerprint));
}

async function pixels(decoder, region, make) {
  const found = new Uint8Array(4 * region.height * region.width);
  for (const { index, part } of decoder.parts(region)) {
    const shown = await make(index, part);
    const { top, left, height, width } = part.within(region);
    for (let row = 0; row < height; row++) {
      found.set(shown.subarray(4 * row * width, 4 * (row + 1) * width), 4 * ((top + row) * region.width + left));
    }
  }
  return found;
}

async function unpacked(data, out) {
  const archive = await Archive.open(data, models);
  const [names, errors, parts] = [[], [], []];
  for (const [place, { name }] of archive.pictures.entries()) {
    try {
      parts.push(Uint8Array.from(await archive.pixels(place)));
      names.push(name);
    } catch (error) {
      if (!(error instanceof FormatError) && !/createImageBitmap/.test(error.message)) throw error; // which only browsers have
      errors.push(error.message);
    }
  }
  if (out) writeFileSync(out, Buffer.concat(parts));
  return { names, errors };
}

const answers = [];
for (const job of jobs) {
  try {
    answers.push(await done(job));
  } catch (error) {
    if (!(error instanceof FormatError) && !(error instanceof NeedMore)) throw error;
    answers.push({ error: error.message });
  }
}
console.log(JSON.stringify(answers));
