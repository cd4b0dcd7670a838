"""The viewer on pictures that are stored as a whole, and on colors: what it decodes is what Python decodes, pixel for pixel.

In Node what needs no WebP decoder, in a headless Chromium the rest; tests are skipped where there is none.
"""

from __future__ import annotations

import base64
import struct
import threading
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from chromium import Chromium
from PIL import Image, ImageCms
from test_web import browsed, decoded, in_chromium, in_node, opaque
from test_whole import GOLDEN, PALETTE, SAMPLES, forged, saved, screen
from test_whole import page as letter

from hcodec import codec, packing
from hcodec.coders import colors
from hcodec.coders import stored as stored_pictures
from hcodec.coders import whole as coder
from hcodec.container import archive, whole
from hcodec.container.attachments import Chromaticities, Cicp
from hcodec.container.directory import DEEP, DRAWN
from hcodec.container.fields import pack_varint
from hcodec.errors import FormatError, HcodecError, HcodecWarning, TruncatedError
from hcodec.gallery import Gallery
from hcodec.pixels.picture import Metadata, Picture
from hcodec.server import PictureServer

FEW = ("bilevel", "colors", "one-color", "smooth-edges")
NOISE = np.random.default_rng(0).integers(0, 1 << 16, (20, 30, 4), dtype=np.uint16)


def shown_of(data: bytes) -> np.ndarray:
    """Returns what Python shows of a file or of its first bytes, uint8 (H, W, 4). Raises as decoding does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HcodecWarning)
        return opaque(codec.decode_picture(data))


def in_files(folder: Path, files: list[bytes]) -> list[dict]:
    """Returns what Node says of files, each with its pixels as they were written, or None."""
    paths = [folder / str(number) for number in range(len(files))]
    for path, data in zip(paths, files, strict=True):
        path.write_bytes(data)
    outs = [path.with_suffix(".pixels") for path in paths]
    found = decoded([{"path": str(path), "out": str(out)} for path, out in zip(paths, outs, strict=True)])
    return [one | {"pixels": np.fromfile(out, np.uint8) if out.exists() else None} for one, out in zip(found, outs, strict=True)]


@in_node
def test_every_prefix_shows_the_same_pixels_in_node(tmp_path):
    """Of files that the decoder had seen half of before: it goes on where it was."""
    whole_files = [(GOLDEN / f"{name}.hcodec").read_bytes() for name in FEW]
    files = [data[:end] for data in whole_files for end in [*range(50, len(data), 97), len(data) - 1, len(data)]]
    num_shown = 0
    for data, found in zip(files, in_files(tmp_path, files), strict=True):
        try:
            expected = shown_of(data)
        except TruncatedError:
            assert "ends" in found["error"]
            continue
        num_shown += 1
        assert (found["pixels"].reshape(expected.shape) == expected).all(), len(data)
    assert num_shown > 20


def pictures() -> list[np.ndarray]:
    """Pictures that are coded in ways of their own: waves without pixels, many colors, samples of 16 bits as they are."""
    rng = np.random.default_rng(1)
    sizes = [(50, 1, 3), (50, 2, 2), (1, 60, 2), (40, 61, 4096), (300, 40, 5), (7, 9, 17)]
    drawn = [rng.integers(0, count, (height, width)) for height, width, count in sizes]
    palette = np.unique(rng.integers(0, 256, (6000, 3), dtype=np.uint8), axis=0)
    smooth = np.cumsum(NOISE % 90, axis=0, dtype=np.uint16)
    return [palette[indices] for indices in drawn] + [NOISE, smooth, NOISE[..., :1], smooth[..., :2], NOISE[..., :3] // 16 * 16]


def stored(pixels: np.ndarray) -> bytes:
    """Returns a file that holds a picture as a whole, by its colors or by its 16 bits."""
    height, width = pixels.shape[:2]
    if pixels.dtype == np.uint16:
        return forged(coder.encode_deep(pixels), size=(width, height), gray=pixels.shape[2] < 3, depth=16)
    palette, indices = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True)
    body = colors.encode(indices.reshape(height, width).astype(np.uint16), len(palette))
    few = whole.Palette(3, len(palette), palette.T.tobytes())
    return forged(whole.Whole(b"", whole.COLORS, few, body).pack(), size=(width, height))


def as_samples(pixels: np.ndarray, *_: object) -> bytes:
    """Returns a stored picture as its samples, as one of noise is."""
    return bytes([pixels.ndim == 3]) + pixels.tobytes()


@in_node
def test_all_ways_of_storing_give_the_same_pixels_in_node(tmp_path, monkeypatch):
    monkeypatch.setattr(stored_pictures, "encode", as_samples)
    files = [stored(pixels) for pixels in pictures()]
    for data, found in zip(files, in_files(tmp_path, files), strict=True):
        expected = shown_of(data)
        assert (found["pixels"].reshape(expected.shape) == expected).all(), found.get("name")


@in_node
def test_archives_of_stored_pictures_are_exact_in_node(tmp_path):
    named = {"a": np.asarray(letter().convert("RGB")), "b": np.asarray(letter("L")), "c": NOISE, "d": NOISE[..., :2]}
    data = packing.pack(list(named.items()))
    with archive.opened(data) as opened:
        assert {segment.kind for segment in opened.directory.segments} == {DRAWN, DEEP}
    (tmp_path / "archive.hcodec").write_bytes(data)
    *_, found = decoded([{"path": str(tmp_path / "archive.hcodec"), "out": str(tmp_path / "out")}])
    expected = dict(packing.unpack(data, strict=True))
    assert sorted(found["names"]) == sorted(named) and not found["errors"]
    assert (tmp_path / "out").read_bytes() == b"".join(opaque(expected[name]).tobytes() for name in found["names"])
    half = len(data) // 2
    damaged = decoded([{"path": str(tmp_path / "archive.hcodec"), "changed": [[half, 1]]}])[0]
    assert damaged["errors"] and all("\n" not in line for line in damaged["errors"])


STRANGE = [
    b"\0", b"\0\5", b"\0\3", b"\0\3\1\2\1x", b"\0\3\2\1\3abc", b"\0\0" + bytes(1199), b"\0\0" + bytes(1201),
    b"\0\1" + bytes(3601),
    b"\0\2\1R", b"\0\4", b"\0\4\5", b"\0\4\1\2\1", b"\0\4\1\0\0", b"\xff\xff\3",
    whole.Whole(b"", whole.COLORS, PALETTE, bytes(4)).pack(),
    whole.Whole(b"", whole.COLORS, PALETTE, b"\1\0\0").pack(),
    whole.Whole(b"", whole.COLORS, PALETTE, b"\1\0\0\0" * 50).pack(),
    whole.Whole(b"", whole.COLORS, whole.Palette(1, 3, b"\0\1\2"), bytes(range(1, 201))).pack(),
    whole.Whole(b"", whole.DEEP, None, b"\1\0\1\0" + bytes(1199)).pack(),
    whole.Whole(b"", whole.DEEP, None, b"\1\0\2" + 2 * (b"\0" + b"\xff" * 1200)).pack(),
]  # fmt: skip


@in_node
def test_hostile_files_are_refused_in_one_line_in_node(tmp_path):
    files = [forged(payload, **more) for payload in STRANGE for more in ({}, {"gray": True}, {"depth": 16})]
    files.append(forged(STRANGE[-6], size=(1 << 24, 1)))
    color = stored(pictures()[0])
    files += [color[:at] + bytes([color[at] ^ 1]) + color[at + 1 :] for at in range(45, len(color), 3)]
    for data, found in zip(files, in_files(tmp_path, files), strict=True):
        with pytest.raises(HcodecError):
            shown_of(data)
        assert found["error"] and "\n" not in found["error"]


# In a browser


def profile(space: bytes, **tags: bytes) -> bytes:
    """Returns a small ICC profile of a screen."""
    names, bodies = list(tags), [body + bytes(-len(body) % 4) for body in tags.values()]
    start = 128 + 4 + 12 * len(tags)
    places = [start + sum(map(len, bodies[:number])) for number in range(len(bodies))]
    rows = [struct.pack(">4sII", n.encode(), at, len(b)) for n, at, b in zip(names, places, bodies, strict=True)]
    size = start + sum(map(len, bodies))
    head = struct.pack(">I4sI4s4s4s12s4s", size, b"", 0x02100000, b"mntr", space, b"XYZ ", b"", b"acsp")
    white = struct.pack(">iii", 63190, 65536, 54061)
    return (head + bytes(28) + white).ljust(128, b"\0") + struct.pack(">I", len(tags)) + b"".join(rows) + b"".join(bodies)


def swapped() -> bytes:
    """Returns sRGB's profile with red for blue."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return srgb.replace(b"rXYZ", b"....", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"....", b"bXYZ", 1)


WHITE = b"XYZ " + bytes(4) + struct.pack(">iii", 63190, 65536, 54061)
LINEAR = b"curv" + bytes(4) + struct.pack(">IHH", 1, 256, 0)
COLORED = {
    "plain": Metadata(),
    "icc": Metadata(icc=swapped()),
    "srgb-icc": Metadata(icc=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()),
    "no-icc": Metadata(icc=b"nonsense" * 20),
    "gray-icc": Metadata(icc=profile(b"GRAY", wtpt=WHITE, kTRC=LINEAR)),
    "p3": Metadata(cicp=Cicp(12, 13, 0, 1)),
    "srgb-cicp": Metadata(cicp=Cicp(1, 13, 0, 1), icc=swapped()),
    "srgb": Metadata(gamma=45455, chromaticities=Chromaticities(31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)),
    "gamma": Metadata(gamma=100_000),
    "primaries": Metadata(gamma=45455, chromaticities=Chromaticities(31270, 32900, 15000, 6000, 30000, 60000, 64000, 33000)),
}


def colored(name: str, size: int = 40) -> Picture:
    """Returns a picture of few colors with what is said of them, one of them with an alpha channel."""
    steps = np.linspace(0, 255, size).astype(np.uint8)
    pixels = np.stack([np.tile(steps, (size, 1)), np.tile(steps[:, None], (1, size)), np.full((size, size), 60, np.uint8)], -1)
    gray = name == "gray-icc"
    alpha = np.tile(steps, (size, 1)) if name in ("icc", "gray-icc") else None
    return Picture(np.repeat(pixels[..., :1], 3, axis=2) if gray else pixels, alpha, gray, COLORED[name])


@cache
def files() -> dict[str, bytes]:
    """Returns the files of the gallery, by name."""
    rng = np.random.default_rng(2)
    noise = np.repeat(np.repeat(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8), 8, axis=0), 8, axis=1)
    blurred = forged(coder.encode(noise ^ rng.integers(0, 2, noise.shape, dtype=np.uint8), None), size=(480, 320))
    page = codec.encode(letter(size=(600, 450)))
    found = {path.stem: path.read_bytes() for path in GOLDEN.glob("*.hcodec")}
    found |= {"file-cut": blurred[: len(blurred) // 2], "page": page, "page-cut": page[: len(page) // 2]}
    found |= {"screen": codec.encode(screen(), lossless=True), "file": blurred}
    found |= {"page-damaged": page[:-200] + bytes([page[-200] ^ 1]) + page[-199:], "empty": page[:56], "emptier": page[:50]}
    for kind in ("WEBP", "PNG"):
        inner = saved(Image.fromarray(noise[:30, :40]), format=kind, lossless=True)[:120]
        found[f"{kind}-damaged"] = forged(b"\0\2" + pack_varint(len(inner)) + inner, size=(40, 30))
    found["preview-damaged"] = forged(b"\x28" + bytes(40) + b"\2" + bytes(500))[:-300]
    found |= {f"color-{name}": codec.encode(colored(name), lossless=True) for name in COLORED}
    pictures = [
        ("letter.png", letter("RGB")),
        ("deep.png", NOISE),
        ("deep-gray.png", np.arange(3000, dtype=np.uint16).reshape(50, 60)),
    ]
    return found | {"archive": packing.pack([*pictures, ("icc.png", colored("icc")), ("gray.png", colored("gray-icc"))])}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A browser, and the address where it finds the files."""
    folder = tmp_path_factory.mktemp("gallery")
    for name, data in files().items():
        (folder / f"{name}.hcodec").write_bytes(data)
    Image.fromarray(colored("icc").pixels).save(folder / "color-icc.png")
    with PictureServer(Gallery(folder)) as server, Chromium() as browser:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield browser, server.address
        server.shutdown()


@in_chromium
@pytest.mark.parametrize("name", [*SAMPLES, "page", "screen", "file", "color-icc", "color-gray-icc"])
def test_stored_pictures_are_exact_in_a_browser(page, name):
    found, expected = browsed(page, name), shown_of(files()[name])
    assert found["exact"] and not found["warnings"]
    assert (found["pixels"].reshape(expected.shape) == expected).all()


@in_chromium
@pytest.mark.parametrize("name", ["page-cut", "file-cut"])
def test_beginnings_show_what_is_known_and_the_preview_in_a_browser(page, name):
    found, expected = browsed(page, name), shown_of(files()[name]).astype(int)
    assert not found["exact"] and [line[:19] for line in found["warnings"]] == ["the file ends after"]
    difference = np.abs(found["pixels"].reshape(expected.shape).astype(int) - expected)
    assert difference.max() <= 20 and difference.mean() < 1.5  # of the preview, which two programs enlarge
    assert name == "file-cut" or difference.max() == 0


@in_chromium
def test_stored_pictures_are_shown_as_they_arrive(page):
    assert len(browsed(page, "page", rate=1000)["levels"]) >= 3


@in_chromium
@pytest.mark.parametrize(("name", "line"), [
    ("page-damaged", "the picture is damaged"),
    ("empty", "the file ends inside its picture, and there is no preview of it"),
    ("emptier", "the file ends before its picture"),
    ("preview-damaged", "the preview is damaged"),
    ("WEBP-damaged", "stored picture is damaged"),
    ("PNG-damaged", "stored picture is damaged"),
])  # fmt: skip
def test_what_cannot_be_shown_is_one_line_in_a_browser(page, name, line):
    with pytest.raises(AssertionError, match=line):
        browsed(page, name, rate=20000)
    with pytest.raises((FormatError, TruncatedError), match=line):
        shown_of(files()[name])


INSIDE = """
(async () => {
  const worker = new Worker("/web/worker.js", { type: "module" });
  const answer = (inside) => new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => (data.error ? reject(new Error(data.error)) : resolve(data));
    worker.postMessage({ open: "/pictures/archive.hcodec", rate: 0, inside });
  });
  const found = {};
  for (const [place, { name }] of (await answer(-1)).names.entries()) {
    const { pixels, colors, isDeep } = await answer(place);
    found[name] = { colors, isDeep, pixels: btoa(Array.from(pixels, (byte) => String.fromCharCode(byte)).join("")) };
  }
  return found;
})()
"""


@in_chromium
def test_archives_of_stored_pictures_are_exact_in_a_browser(page):
    browser, address = page
    browser.open(address)
    browser.wait("document.body?.dataset.shown")
    found, expected = browser.run(INSIDE), dict(packing.unpack(files()["archive"], strict=True))
    assert set(found) == set(expected)
    for name, one in found.items():
        assert base64.b64decode(one["pixels"]) == opaque(expected[name]).tobytes(), name
        assert one["isDeep"] == name.startswith("deep")
        assert one["colors"] == ("colors by its ICC profile" if name in ("icc.png", "gray.png") else "")


# what is drawn on the screen of a picture, whose pixels stay what they are: [what is said of its colors, pixels]
SEEN = """
new Promise((resolve, reject) => {
  const worker = new Worker("/web/worker.js", { type: "module" });
  let seen = null;
  worker.onmessage = ({ data }) => {
    if (data.error) reject(new Error(data.error));
    if (data.part && data.bitmap) {
      const context = new OffscreenCanvas(data.part.width, data.part.height).getContext("2d");
      context.drawImage(data.bitmap, 0, 0);
      seen = Array.from(context.getImageData(0, 0, data.part.width, data.part.height).data);
    }
    if (!data.done) return;
    worker.terminate();
    resolve([data.colors, seen]);
  };
  worker.postMessage({ open: "/pictures/NAME.hcodec", rate: 0 });
})
"""


def seen(page, name: str) -> tuple[str, np.ndarray | None]:
    """Returns what is said of the colors of a picture, and what is drawn of it, int (H, W, 4); None if that is its pixels."""
    browser, address = page
    if browser.run("location.href.split('#')[0]") != address:
        browser.open(address)
        browser.wait("document.body?.dataset.shown")
    said, pixels = browser.run(SEEN.replace("NAME", name))
    return said, None if pixels is None else np.array(pixels).reshape(40, 40, 4)


def linear(values: np.ndarray) -> np.ndarray:
    """Returns samples of sRGB as light, 0 .. 1."""
    shares = values / 255
    return np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)


@in_chromium
@pytest.mark.parametrize("name", ["plain", "srgb-icc", "no-icc", "srgb-cicp", "srgb"])
def test_colors_of_srgb_are_left_alone(page, name):
    said, found = seen(page, f"color-{name}")
    assert found is None
    assert said == ("colors as sRGB, which its ICC profile does not change here" if name.endswith("-icc") else "")


@in_chromium
@pytest.mark.parametrize(("name", "words"), [("icc", "ICC profile"), ("primaries", "gamma and primaries")])
def test_colors_are_shown_by_their_profile(page, name, words):
    said, found = seen(page, f"color-{name}")
    assert said == f"colors by its {words}"
    picture = colored(name)
    shown = found[..., 3] >= 64  # of what is less opaque, a canvas keeps fewer steps
    assert shown.sum() > 1000 and (picture.alpha is None or (found[..., 3] == picture.alpha).all())
    near = 3 if name == "icc" else 14  # a gamma of 1 / 2.2 is not quite that of sRGB
    assert np.abs(found[..., :3] - picture.pixels[..., ::-1])[shown].max() <= near


@in_chromium
@pytest.mark.parametrize(("name", "words"), [("gray-icc", "ICC profile"), ("gamma", "gamma")])
def test_linear_samples_are_shown_as_light(page, name, words):
    said, found = seen(page, f"color-{name}")
    shown = found[..., 3] >= 64
    assert said == f"colors by its {words}"
    assert np.abs(linear(found[..., :3]) - colored(name).pixels / 255)[shown].max() < 0.02


@in_chromium
def test_wide_colors_are_shown_by_their_code_points(page):
    said, found = seen(page, "color-p3")
    assert said == "colors by its CICP code points"
    light = linear(colored("p3").pixels) @ np.array([[1.2249, -0.0420, -0.0197], [-0.2247, 1.0419, -0.0786], [0, 0, 1.0979]])
    inside = ((light >= 0) & (light <= 1)).all(axis=2)
    assert inside.sum() > 100 and np.abs(linear(found[..., :3]) - light)[inside].max() < 0.02


@in_chromium
def test_the_page_says_what_it_shows(page):
    browser, address = page
    for name, said in (
        ("page", "lossless, bilevel: "),
        ("deep-gray", "lossless, 16-bit, shown as 8 bits: "),
        ("file", "lossless, image file: "),
        ("page-cut", "% of the pixels, bilevel: "),
        ("file-cut", "a preview: "),
    ):
        browser.open(f"{address}?{name}#{name}.hcodec")
        browser.wait(f"document.body?.dataset.shown === '{name}.hcodec {1 if 'cut' in name else 'exact'}'")
        assert said in browser.run("document.getElementById('ours-said').textContent")
        assert "stored as a whole" in browser.run("document.getElementById('message').textContent")


@in_chromium
def test_the_jpeg_beside_it_has_the_same_colors(page):
    browser, address = page
    browser.open(f"{address}?#color-icc.hcodec")
    browser.wait("document.body?.dataset.shown === 'color-icc.hcodec exact'")
    assert "colors by its ICC profile" in browser.run("document.getElementById('message').textContent")
    browser.run("document.getElementById('compare').click()")
    browser.wait(f"document.body.dataset.compared === 'color-icc.hcodec {len(files()['color-icc'])}'")
    middle = "[...document.getElementById('theirs').getContext('2d').getImageData(X / 2, Y / 2, 1, 1).data]"
    place = "document.getElementById('theirs')"
    found = browser.run(middle.replace("X", f"{place}.width").replace("Y", f"{place}.height"))
    assert np.abs(np.array(found[:3]) - [60, 128, 128]).max() < 40  # blue and red have changed places
