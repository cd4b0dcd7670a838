// The page: the list of pictures, the level that is wanted, and what is said of what is shown.

import { Camera, View } from "./view.js";

const element = (id) => document.getElementById(id);
const camera = new Camera();
const ours = new View(element("ours"), camera);
const theirs = new View(element("theirs"), camera);
const worker = new Worker("/web/worker.js", { type: "module" });
const REGION_DELAY_MS = 150; // after the last move, before what is seen now is decoded
const MOST_EDGE = 16384; // of a canvas

/** What is looked at. exact: whether the slider has a place more, for the lossless layer. */
const now = { url: "", file: "", name: "", more: {}, header: null, levels: 0, exact: false, jpegBytes: 0, timer: 0 };

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
  Object.assign(now, { url: address("pictures", file), file, name, more, header: null, levels: 0, jpegBytes: 0 });
  for (const button of element("list").querySelectorAll("button")) {
    button.toggleAttribute("aria-current", button.dataset.name === name);
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
    if (Math.max(width, height) > MOST_EDGE) return answers.error({ error: `a canvas cannot hold ${width}×${height} pixels` });
    now.header = header;
    const level = element("level");
    level.max = numLevels + lossless;
    level.value = level.max;
    level.disabled = false;
    ours.clear(width, height);
    camera.open(width, height);
    want();
  },
  bytes({ bytes }) {
    if (now.header) element("progress").value = bytes / now.header.fileBytes;
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
  picture({ picture, pixels, seconds }) {
    const { width, height } = picture;
    ours.clear(width, height);
    camera.open(width, height);
    ours.put(pixels, { top: 0, left: 0, width, height });
    say(`${now.name}: ${width}×${height}, decoded here in ${seconds.toFixed(1)} s`);
    element("ours-said").textContent = "lossless, out of an archive";
    document.body.dataset.shown = `${now.name} exact`;
  },
  decoding({ decoding, of }) {
    say(`${now.name}: decoding${of > 1 ? `, window ${decoding} of ${of}` : ""}`);
  },
  part({ part, pixels }) {
    ours.put(pixels, part);
  },
  shown({ shown, exact, seconds }) {
    const { width, height, fileBytes, prefixBytes, model, numLevels } = now.header;
    const bytes = exact ? fileBytes : prefixBytes[shown - 1];
    const rate = ((8 * bytes) / (width * height)).toFixed(3);
    const what = exact ? "lossless" : `level ${shown} of ${numLevels}`;
    Object.assign(now, { levels: shown, exact });
    element("ours-said").textContent = `${what}: ${bytes.toLocaleString("en")} bytes, ${rate} bits a pixel`;
    const time = seconds < 0.05 ? "" : `, decoded here in ${seconds.toFixed(1)} s`;
    say(`${now.name}: ${width}×${height}, model ${model}${time}`);
    document.body.dataset.shown = `${now.name} ${exact ? "exact" : shown}`; // what a test waits for
    compare(bytes);
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
  element("level-said").textContent = Number(value) > now.header.numLevels ? "exact" : value;
  worker.postMessage({ limit, region: camera.region() });
}

/** Shows a JPEG file of so many bytes, if that is wanted. */
async function compare(bytes) {
  const isWanted = element("compare").checked;
  element("jpeg").hidden = !isWanted;
  if (!isWanted || bytes === now.jpegBytes) return;
  now.jpegBytes = bytes;
  const { url, file } = now;
  const response = await fetch(`${address("jpeg", file)}?bytes=${bytes}`);
  if (now.url !== url || now.jpegBytes !== bytes) return;
  if (!response.ok) {
    element("theirs-said").textContent = "the server cannot make a JPEG file of it";
    return;
  }
  const { quality, subsampling, origin } = JSON.parse(response.headers.get("X-Jpeg"));
  const blob = await response.blob();
  theirs.image(await createImageBitmap(blob));
  const size = blob.size > bytes ? "the smallest there is" : `quality ${quality}, ${subsampling}`;
  element("theirs-said").textContent = `JPEG: ${blob.size.toLocaleString("en")} bytes, ${size}, made of ${origin}`;
  document.body.dataset.compared = `${file} ${bytes}`;
}

camera.changed = () => {
  clearTimeout(now.timer);
  if (now.header) now.timer = setTimeout(want, REGION_DELAY_MS);
};
element("level").oninput = want;
element("compare").onchange = () => {
  element("jpeg").hidden = !element("compare").checked;
  if (now.levels) compare(now.exact ? now.header.fileBytes : now.header.prefixBytes[now.levels - 1]);
};
element("again").onclick = () => now.name && begin(now.file, now.name, now.more);
element("fit").onclick = () => camera.fit();
element("controls").onsubmit = (event) => event.preventDefault();
list().catch((error) => say(error.message, true));
