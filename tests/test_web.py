"""The viewer's decoder in JavaScript against Python's: the same integers of all golden files, and the same pixels but for a step.

In Node, and in a headless Chromium through `hcodec serve`; tests are skipped where there is none.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from chromium import PROGRAM, Chromium
from conftest import render
from PIL import Image
from test_golden import EXACT, FOLDER, SHOWN, golden, shown

from hcodec import codec, container, packing
from hcodec.container.window import windows
from hcodec.gallery import Gallery
from hcodec.models import registry, weights_file
from hcodec.pixels.picture import psnr
from hcodec.server import PictureServer

ROOT = Path(__file__).parent.parent
NODE = shutil.which("node")
MODEL = "photo-1"
in_node = pytest.mark.skipif(NODE is None, reason="there is no Node.js here (program node)")
in_chromium = pytest.mark.skipif(PROGRAM is None, reason="there is no Chromium here (program chromium)")
REGION = (3, 5, 40, 60)  # x, y, width, height


def decoded(jobs: list[dict]) -> list[dict]:
    """Returns what Node says of jobs, as web_decoder.mjs takes them."""
    families = registry.PHOTO, registry.LOSSLESS, registry.SMALL
    paths = [path for family in families for path in family.files().values() if "weights" in path.parts]
    files = {weights_file.header(path)["fingerprint"]: str(path) for path in paths}
    script = [NODE, Path(__file__).with_name("web_decoder.mjs"), ROOT / "web"]
    task = json.dumps({"models": files, "jobs": jobs})
    done = subprocess.run(script, input=task, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def job(name: str, **more) -> dict:
    return {"path": str(FOLDER / f"{name}.hcodec"), **more}


def kept(name: str) -> np.ndarray:
    """Returns what a golden file looked like when it was made, int (H, W, 3)."""
    return np.asarray(Image.open(FOLDER / f"{name}.png").convert("RGB")).astype(int)


def distance(pixels: np.ndarray, expected: np.ndarray) -> int:
    return int(np.abs(pixels.reshape(*expected.shape[:2], 4)[..., :3].astype(int) - expected).max())


def opaque(picture) -> np.ndarray:
    """Returns pixels and alpha of a picture, uint8 (H, W, 4)."""
    alpha = np.full(picture.pixels.shape[:2], 255, np.uint8) if picture.alpha is None else picture.alpha
    return np.concatenate([picture.pixels, alpha[..., None]], -1)


@in_node
def test_golden_files_give_the_same_integers_in_node(tmp_path):
    known = json.loads((FOLDER / "digests.json").read_text())
    half = {name: (container.read_all(golden(name))[1].header_bytes + len(golden(name))) // 2 for name in SHOWN}
    whole = [job(name, out=str(tmp_path / name)) for name in SHOWN]
    found = decoded(whole + [job(name, bytes=half[name]) for name in SHOWN])
    assert [one["digest"] for one in found] == [known[name][part] for part in ("integers", "begun") for name in SHOWN]
    for name in SHOWN:
        assert distance(np.fromfile(tmp_path / name, np.uint8), kept(name)) <= 1, name


@in_node
def test_lossless_golden_files_and_the_archive_are_exact_in_node(tmp_path):
    """But for what is stored as WebP, which only a browser reads."""
    coded = [name for name in EXACT if name != "lossless-stored"]
    jobs = [job(name, exact=True, out=str(tmp_path / name)) for name in coded]
    *_, archive = decoded([*jobs, job("archive", out=str(tmp_path / "archive"))])
    for name in coded:
        expected = np.asarray(Image.fromarray(shown(golden(name)).astype(np.uint8)).convert("RGB")).astype(int)
        assert distance(np.fromfile(tmp_path / name, np.uint8), expected) == 0
    pictures = dict(packing.unpack(golden("archive"), strict=True))
    assert set(pictures) - set(archive["names"]) == {"drawing.png"}
    expected = [opaque(pictures[name]) for name in archive["names"]]
    assert (tmp_path / "archive").read_bytes() == b"".join(pixels.tobytes() for pixels in expected)


@in_node
def test_levels_and_regions_look_the_same_in_node(tmp_path):
    x, y, width, height = REGION
    region = [y, x, y + height, x + width]
    decoded([job("windows", limit=levels, region=region, out=str(tmp_path / str(levels))) for levels in range(1, 8)])
    for levels in range(1, 8):
        expected = np.asarray(codec.decode(golden("windows"), levels=levels, region=REGION)).astype(int)
        assert distance(np.fromfile(tmp_path / str(levels), np.uint8), expected) <= 1


@in_node
def test_damaged_files_are_refused_or_shown_without_what_is_damaged_in_node():
    """Any byte changed: an error of the format, or a warning; in the header always an error."""
    name = "levels-65x65"
    data = golden(name)
    header_bytes = container.read_all(data)[1].header_bytes
    places = [*range(0, header_bytes, 3), *range(header_bytes, len(data), 401)]
    for place, found in zip(places, decoded([job(name, changed=[[place, 1 << place % 8]]) for place in places]), strict=True):
        assert found.get("error") if place < header_bytes else found["warnings"], place
    ends = [*range(0, header_bytes, 5), header_bytes, header_bytes + 1]
    assert all("error" in found or found["digest"] for found in decoded([job(name, bytes=end) for end in ends]))


@in_node
def test_damaged_lossless_layers_and_archives_are_refused_in_node(tmp_path):
    """Checksums apart: they are made right again, so that what they guard is read."""
    data = golden("lossless-gray")
    header = container.read_all(data)[1]
    start, length = header.piece_range(len(header.layers), 0)
    jobs = []
    for place in range(start, start + length, 131):
        changed = bytearray(data)
        changed[place] ^= 1 << place % 8
        sums = header.header_bytes - 8  # of the last piece, and of the header
        changed[sums : sums + 4] = zlib.crc32(changed[start : start + length]).to_bytes(4, "little")
        changed[sums + 4 : sums + 8] = zlib.crc32(changed[: sums + 4]).to_bytes(4, "little")
        path = tmp_path / f"{place}.hcodec"
        path.write_bytes(changed)
        jobs.append({"path": str(path), "exact": True, "out": str(tmp_path / "out")})
    size = len(golden("archive"))
    jobs += [job("archive", changed=[[place, 255]]) for place in (0, 5, 8, 20, 100, 300, size // 2, size - 3)]
    jobs += [job("archive", bytes=length) for length in (7, 12, 200, 700, size // 2, size - 1)]
    assert all(found.get("error") or found["errors"] for found in decoded(jobs))


@in_node
def test_a_photograph_gives_the_same_integers_in_node(tmp_path):
    """Larger than a golden file, and with every kind of symbol."""
    from exactness import decoded as digest

    data = codec.encode(render(400, 300))
    (tmp_path / "photo.hcodec").write_bytes(data)
    [found] = decoded([{"path": str(tmp_path / "photo.hcodec")}])
    assert found["digest"] == digest(data)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A browser, and the address where it finds the golden files and a picture with its source."""
    folder = tmp_path_factory.mktemp("gallery")
    for path in FOLDER.glob("*.hcodec"):
        shutil.copy(path, folder)
    for name, data in damaged(golden("levels-130x150")).items():
        (folder / f"{name}.hcodec").write_bytes(data)
    (folder / "half-exact.hcodec").write_bytes(half_exact())
    Image.fromarray(render(130, 150)).save(folder / "levels-130x150.png")
    with PictureServer(Gallery(folder)) as server, Chromium() as browser:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield browser, server.address
        server.shutdown()


# opens a picture as the page does, and gathers its parts until all of the file has been shown
SHOW = """
new Promise((resolve, reject) => {
  const worker = new Worker("/web/worker.js", { type: "module" });
  const found = { levels: [], warnings: [] };
  let header, pixels;
  worker.onmessage = ({ data }) => {
    if (data.error) reject(new Error(data.error));
    if (data.header) {
      ({ header } = data);
      pixels = new Uint8Array(4 * header.width * header.height);
    }
    if (data.part) {
      const { top, left, height, width } = data.part;
      for (let row = 0; row < height; row++) {
        pixels.set(data.pixels.subarray(4 * row * width, 4 * (row + 1) * width), 4 * ((top + row) * header.width + left));
      }
    }
    if (data.warnings) found.warnings = data.warnings;
    if (data.shown !== undefined) found.levels.push(data.shown);
    if (!data.done) return;
    worker.terminate();
    resolve({ ...found, exact: data.exact, pixels: btoa(Array.from(pixels, (byte) => String.fromCharCode(byte)).join("")) });
  };
  worker.postMessage({ open: "/pictures/NAME.hcodec", rate: RATE });
})
"""


# decodes files by the modules of the page; a digest of all that was popped and of the last states, as test_golden has it
DIGEST = """
(async () => {
  const names = ["machine", "model", "reader", "decoder", "source"];
  const [{ Machine }, { loadModel }, { Reader }, { Decoder }, { ranges }] = await Promise.all(
    names.map((name) => import(`/web/${name}.js`)));
  const model = await loadModel(new Machine(), "FINGERPRINT", ranges("/weights/FINGERPRINT"));
  const digest = async (name) => {
    const reader = new Reader();
    reader.feed(new Uint8Array(await (await fetch(`/pictures/${name}.hcodec`)).arrayBuffer()));
    const decoder = new Decoder(model, reader);
    const parts = [];
    decoder.note = (indices, symbols) => parts.push(Int16Array.from(indices), symbols);
    const states = decoder.windows.map((_, index) => decoder.state(index, reader.header.numLevels).state);
    parts.push(...states.map(({ data }) => data.map((value) => value + 0)));
    const sum = new Uint8Array(await crypto.subtle.digest("SHA-256", await new Blob(parts).arrayBuffer()));
    return Array.from(sum.slice(0, 8), (byte) => byte.toString(16).padStart(2, "0")).join("");
  };
  const found = {};
  for (const name of NAMES) found[name] = await digest(name);
  return found;
})()
"""


@in_chromium
def test_golden_files_give_the_same_integers_in_a_browser(page):
    browser, address = page
    browser.open(address)
    browser.wait("document.body?.dataset.shown")
    script = DIGEST.replace("FINGERPRINT", registry.summary(MODEL).fingerprint).replace("NAMES", json.dumps(SHOWN))
    known = json.loads((FOLDER / "digests.json").read_text())
    assert browser.run(script) == {name: known[name]["integers"] for name in SHOWN}


def browsed(page, name: str, rate: int = 0) -> dict:
    """Returns what a worker shows of a picture, its pixels as bytes (H * W * 4)."""
    browser, address = page
    if browser.run("location.href.split('#')[0]") != address:
        browser.open(address)
        browser.wait("document.body?.dataset.shown")
    found = browser.run(SHOW.replace("NAME", name).replace("RATE", str(rate)))
    return found | {"pixels": np.frombuffer(base64.b64decode(found["pixels"]), np.uint8)}


@in_chromium
@pytest.mark.parametrize("name", SHOWN)
def test_golden_files_look_the_same_in_a_browser(page, name):
    found = browsed(page, name)
    assert distance(found["pixels"], kept(name)) <= 1
    whole = Image.open(FOLDER / f"{name}.png").convert("RGBA")
    assert (found["pixels"].reshape(-1, 4)[:, 3] == np.asarray(whole)[..., 3].ravel()).all()


@in_chromium
@pytest.mark.parametrize("name", EXACT)
def test_lossless_golden_files_are_exact_in_a_browser(page, name):
    found = browsed(page, name)
    expected = np.asarray(Image.fromarray(shown(golden(name)).astype(np.uint8)).convert("RGB")).astype(int)
    assert found["exact"] and not found["warnings"] and distance(found["pixels"], expected) == 0


@in_chromium
def test_levels_are_shown_as_they_arrive(page):
    found = browsed(page, "levels-130x150", rate=2000)
    assert found["levels"] == sorted(found["levels"]) and found["levels"][-1] == 7 and len(set(found["levels"])) >= 3
    assert distance(found["pixels"], kept("levels-130x150")) <= 1


LOOKS = "document.getElementById('ours').toDataURL()"
ZOOM = """
document.getElementById("ours").dispatchEvent(
  new WheelEvent("wheel", { deltaY: -1500, clientX: 700, clientY: 300, cancelable: true }))
"""


@in_chromium
def test_damaged_and_short_files_are_shown_as_far_as_they_go(page):
    found = browsed(page, "damaged-5")
    assert found["levels"][-1] == 4 and found["warnings"] == ["layer 5 is damaged; it and what builds on it were ignored"]
    found = browsed(page, "short")
    assert found["levels"][-1] >= 3 and found["warnings"] == ["the file ends after 3000 of 6826 bytes"]
    for name, line in (("damaged-1", "layer 1 is damaged"), ("header", "inside its header"), ("newer", "newer than this viewer")):
        with pytest.raises(AssertionError, match=line):
            browsed(page, name)


WIDE = render(24, 1100)  # two windows


def half_exact() -> bytes:
    """Returns a lossless file of WIDE whose last window is damaged in the lossless layer."""
    data = bytearray(codec.encode(WIDE, lossless=True))
    header = container.read_all(data)[1]
    data[header.piece_range(len(header.layers), 1)[0] + 9] ^= 1
    return bytes(data)


@in_chromium
def test_a_damaged_lossless_piece_leaves_the_other_window_exact_in_a_browser(page):
    found, edge = browsed(page, "half-exact"), windows(*WIDE.shape[:2])[1].left
    exact = (found["pixels"].reshape(*WIDE.shape[:2], 4)[..., :3] == WIDE).all(-1)
    assert exact[:, :edge].all() and not exact[:, edge:].all() and not found["exact"]
    assert len(found["warnings"]) == 1 and "is damaged" in found["warnings"][0]


def damaged(data: bytes) -> dict[str, bytes]:
    """Returns what became of a file, by name."""
    header = container.read_all(data)[1]
    found = {"short": data[:3000], "header": data[:30], "newer": data[:7] + b"\2" + data[8:]}
    for layer in (1, 5):
        changed = bytearray(data)
        changed[header.piece_range(layer, 0)[0] + 9] ^= 255
        found[f"damaged-{layer}"] = bytes(changed)
    return found


@in_chromium
def test_the_page_shows_levels_regions_and_jpeg_files(page):
    browser, address = page
    browser.open(f"{address}#levels-130x150.hcodec")
    browser.run("location.reload()")
    browser.wait("document.body?.dataset.shown === 'levels-130x150.hcodec 7'")
    browser.run("document.getElementById('compare').click()")
    browser.wait(f"document.body.dataset.compared === 'levels-130x150.hcodec {len(golden('levels-130x150'))}'")
    said = browser.run("document.getElementById('theirs-said').textContent")
    assert "made of levels-130x150.png" in said and said.endswith(" dB")
    reached = psnr(render(130, 150), kept("levels-130x150").astype(np.uint8))
    said = browser.run("document.getElementById('ours-said').textContent")
    assert float(said.split(", ")[-1].removesuffix(" dB")) == pytest.approx(reached, abs=0.02)
    browser.run("const level = document.getElementById('level'); level.value = 2; level.oninput()")
    browser.wait("document.body.dataset.shown === 'levels-130x150.hcodec 2'")
    assert "level 2 of 7" in browser.run("document.getElementById('ours-said').textContent")
    before = browser.run(LOOKS)
    browser.run(ZOOM)
    assert browser.run(LOOKS) != before
    browser.run("level.value = 7; delete document.body.dataset.shown; level.oninput()")
    browser.wait("document.body.dataset.shown === 'levels-130x150.hcodec 7'")
    browser.run("document.getElementById('fit').click()")
    browser.wait("document.body.dataset.shown === 'levels-130x150.hcodec 7'")


@in_chromium
def test_the_page_shows_pictures_of_an_archive(page):
    browser, address = page
    browser.open(f"{address}?#archive.hcodec")
    browser.wait("document.body?.dataset.shown === 'archive.hcodec › digits/0.png exact'")
    names = browser.run("[...document.querySelectorAll('#list ul button')].map((one) => one.firstChild.textContent)")
    assert sorted(names) == sorted(name for name, _ in packing.unpack(golden("archive")))
    browser.run("[...document.querySelectorAll('#list ul button')].at(-1).click()")
    browser.wait(f"document.body.dataset.shown === 'archive.hcodec › {names[-1]} exact'")


INSIDE = """
(async () => {
  const worker = new Worker("/web/worker.js", { type: "module" });
  const answer = (inside) => new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => (data.error ? reject(new Error(data.error)) : resolve(data));
    worker.postMessage({ open: "/pictures/archive.hcodec", rate: 0, inside });
  });
  const found = [];
  for (const [place, { name }] of (await answer(-1)).names.entries()) {
    const { pixels } = await answer(place);
    found.push([name, btoa(Array.from(pixels, (byte) => String.fromCharCode(byte)).join(""))]);
  }
  return found;
})()
"""


@in_chromium
def test_the_golden_archive_is_exact_in_a_browser(page):
    """Chains of every kind, of both models for small pictures: with bits back."""
    browser, address = page
    browser.open(address)
    browser.wait("document.body?.dataset.shown")
    found = {name: np.frombuffer(base64.b64decode(pixels), np.uint8) for name, pixels in browser.run(INSIDE)}
    for name, picture in packing.unpack(golden("archive"), strict=True):
        expected = opaque(picture)
        assert (found.pop(name).reshape(expected.shape) == expected).all(), name
    assert not found


def test_files_of_the_viewer_stay_short():
    for path in (ROOT / "web").glob("*.js"):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert len(lines) <= 350 and max(map(len, lines)) <= 130, path.name
