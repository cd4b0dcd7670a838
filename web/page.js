// The page: the list of pictures, the level that is wanted, and what is said of what is shown.

import { ColorSpace } from "./color.js";
import { about, amount } from "./facts.js";
import { decibels, fetched } from "./quality.js";
import { Camera, View } from "./view.js";

const element = (id) => document.getElementById(id);
const camera = new Camera();
const ours = new View(element("ours"), camera);
const theirs = new View(element("theirs"), camera);
const worker = new Worker("/web/worker.js", { type: "module" });
const REGION_DELAY_MS = 150; // after the last move, before what is seen now is decoded
const MOST_EDGE = 16384; // of a canvas

const NOTHING = { header: null, bytes: 0, said: "", isWhole: false, chunks: {}, jpegBytes: 0, jpegSaid: "", source: null };
/** What is looked at, and what is shown of it: how many bytes it took, and whether all of it was decoded for that. */
const now = { url: "", file: "", name: "", more: {}, timer: 0, ...NOTHING };

/** Returns the address of a picture under one of the server's places. */
function address(place, name) {
  return `/${place}/${name.split("/").map(encodeURIComponent).join("/")}`;
}

async function list() {
  const entries = await (await fetch("/list")).json();
  element("list").replaceChildren(...entries.map(item));
  const wanted = decodeURIComponent(location.hash.slice(1));
  const found = entries.find(({ name }) => name === wanted) ?? entries.find(({ fault }) => !fault);
  if (!entries.length) say("There is no .hcodec file in this folder: `hcodec encode` makes them.");
  if (found) choose(found);
}

function item(entry) {
  const { name, num_bytes: bytes, num_pictures: count, width, height, fault } = entry;
  const size = count ? `${count} pictures` : `${width}×${height}`;
  return row(name, fault || `${size}, ${bytes.toLocaleString("en")} bytes`, () => choose(entry), name);
}

/** Returns a row of the list: a name, what is said of it, and what is done when it is chosen. */
function row(name, said, chosen, key) {
  const button = document.createElement("button");
  const about = document.createElement("small");
  button.textContent = name;
  about.textContent = said;
  button.append(about);
  button.dataset.name = key;
  button.onclick = chosen;
  const found = document.createElement("li");
  found.append(button);
  return found;
}

/** Shows an entry of the list: a picture, or the pictures of an archive. */
function choose({ name, num_pictures: count }) {
  for (const list of element("list").querySelectorAll("ul")) list.remove();
  if (count) begin(name, name, { inside: -1 });
  else begin(name, name, {});
  history.replaceState(null, "", `#${encodeURIComponent(name)}`);
}

/** Has the worker open a file. name: what is looked at, also in the list; more: of the message. */
function begin(file, name, more) {
  Object.assign(now, { url: address("pictures", file), file, name, more, ...NOTHING });
  for (const button of element("list").querySelectorAll("button")) {
    button.toggleAttribute("aria-current", button.dataset.name === name);
    if (button.dataset.name === name) button.scrollIntoView({ block: "nearest" });
  }
  ours.clear(0, 0);
  theirs.clear(0, 0);
  element("level").disabled = true;
  element("warnings").replaceChildren();
  for (const id of ["ours-said", "theirs-said", "level-said"]) element(id).textContent = "";
  say(`${name}: loading`);
  worker.postMessage({ open: now.url, rate: Number(element("rate").value), ...more });
}

function say(text, isFault = false) {
  element("message").textContent = text;
  element("message").classList.toggle("fault", isFault);
}

const answers = {
  header({ header }) {
    const { width, height, numLevels, lossless } = header;
    if (Math.max(width, height) > MOST_EDGE) {
      now.url = ""; // what the worker says of it from now on is not for anyone
      return answers.error({ error: `a canvas cannot hold ${width}×${height} pixels` });
    }
    now.header = header;
    const level = element("level");
    level.max = numLevels + lossless;
    level.value = level.max;
    level.disabled = level.max === "1"; // the whole picture, or nothing
    ours.clear(width, height);
    camera.open(width, height);
    want();
  },
  arrived({ arrived }) {
    if (now.header) element("progress").value = arrived / now.header.fileBytes;
  },
  names({ names }) {
    const list = document.createElement("ul");
    const key = (name) => `${now.file} › ${name}`;
    const inside = ({ name, width, height }, place) =>
      row(name, `${width}×${height}`, () => begin(now.file, key(name), { inside: place }), key(name));
    list.append(...names.map(inside));
    [...element("list").children].find((row) => row.firstChild.dataset.name === now.file).append(list);
    begin(now.file, key(names[0].name), { inside: 0 });
  },
  picture({ picture, pixels, bitmap, colors, isDeep, seconds }) {
    const { width, height } = picture;
    ours.clear(width, height);
    camera.open(width, height);
    ours.put(pixels, { top: 0, left: 0, width, height }, bitmap);
    say(`${now.name}: ${about(picture, { colors, seconds })}`);
    element("ours-said").textContent = `lossless, out of an archive${isDeep ? ", 16-bit, shown as 8 bits" : ""}`;
    document.body.dataset.shown = `${now.name} exact`;
  },
  decoding({ decoding, of }) {
    say(`${now.name}: decoding${of > 1 ? `, window ${decoding} of ${of}` : ""}`);
  },
  part({ part, pixels, bitmap }) {
    ours.put(pixels, part, bitmap);
  },
  blank() {
    ours.clear(now.header.width, now.header.height);
  },
  shown(found) {
    const { shown, exact, isWhole, bytes, chunks } = found;
    const said = amount(now.header, found);
    Object.assign(now, { bytes, said, isWhole, chunks });
    element("ours-said").textContent = said;
    say(`${now.name}: ${about(now.header, found)}`);
    document.body.dataset.shown = `${now.name} ${exact ? "exact" : shown}`; // what a test waits for
    compare();
  },
  warnings({ warnings }) {
    const rows = warnings.map((line) => Object.assign(document.createElement("li"), { textContent: line }));
    element("warnings").replaceChildren(...rows);
  },
  error({ error }) {
    say(`${now.name}: ${error}`, true);
    document.body.dataset.shown = `${now.name} fault`;
  },
};

worker.onmessage = ({ data: { url, ...data } }) => {
  if (url !== now.url) return;
  for (const [kind, answer] of Object.entries(answers)) if (kind in data) answer(data);
};
worker.onerror = ({ message }) => say(message, true);

/** Tells the worker what is to be shown. */
function want() {
  const { value, max } = element("level");
  const limit = value === max ? Infinity : Number(value);
  const said = Number(value) > now.header.numLevels ? "exact" : value;
  element("level-said").textContent = element("level").disabled ? "" : said;
  worker.postMessage({ limit, region: camera.region() });
}

/** Shows a JPEG file of as many bytes, if that is wanted, and says how far both pictures are from their source. */
async function compare() {
  element("jpeg").hidden = !element("compare").checked;
  if (element("jpeg").hidden || !now.bytes) return;
  const { url, file, bytes } = now;
  if (bytes !== now.jpegBytes) await showJpeg(file, bytes);
  now.source ??= fetched(address("source", file));
  const source = await now.source;
  if (now.url !== url || now.bytes !== bytes) return;
  if (source && now.isWhole) element("ours-said").textContent = now.said + decibels(ours.picture, source);
  if (source) element("theirs-said").textContent = now.jpegSaid + decibels(theirs.picture, source);
  document.body.dataset.compared = `${file} ${bytes}`;
}

async function showJpeg(file, bytes) {
  const response = await fetch(`${address("jpeg", file)}?bytes=${bytes}`);
  const blob = await response.blob();
  if (now.file !== file || now.bytes !== bytes) return;
  if (!response.ok) {
    element("theirs-said").textContent = "the server cannot make a JPEG file of it";
    return;
  }
  await theirs.image(await createImageBitmap(blob), new ColorSpace(now.chunks, now.header.gray));
  const { quality, subsampling, origin } = JSON.parse(response.headers.get("X-Jpeg"));
  const size = blob.size > bytes ? "the smallest there is" : `quality ${quality}, ${subsampling}`;
  const jpegSaid = `JPEG: ${blob.size.toLocaleString("en")} bytes, ${size}, made of ${origin}`;
  Object.assign(now, { jpegBytes: bytes, jpegSaid });
  element("theirs-said").textContent = jpegSaid;
}

camera.changed = () => {
  clearTimeout(now.timer);
  if (now.header) now.timer = setTimeout(want, REGION_DELAY_MS);
};
element("level").oninput = want;
element("compare").onchange = compare;
element("again").onclick = () => now.name && begin(now.file, now.name, now.more);
element("fit").onclick = () => camera.fit();
element("controls").onsubmit = (event) => event.preventDefault();
list().catch((error) => say(error.message, true));
