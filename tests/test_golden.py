"""Golden files of format 1.0, one or more of every kind: they decode to the same integers and samples for ever.

Golden files of 1.0 are never regenerated: what a file decoded to when it was made, every later hcodec must give, so a test
that fails here tells of a bug, or of a change that needs another version, or of a model that needs another name.
`python tests/test_golden.py` makes those that are missing, and refuses where one that was known is missing or different.

Beside each file of levels lie the pixels that it gave (*.png). `digests.json` says for each file the SHA-256 of its bytes
(`file`), and digests of all symbols, indices and states that it decodes to (`integers`), of what the first half of its
layers does (`begun`), and of exact samples (`samples`).
"""

from __future__ import annotations

import hashlib
import json
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest import mock

import exactness
import numpy as np
import pytest
from conftest import render
from PIL import Image

from hcodec import codec, container, packing
from hcodec.container import archive
from hcodec.container.attachments import Attachments, Chromaticities, Cicp, Density
from hcodec.errors import HcodecWarning
from hcodec.models import registry
from hcodec.models.runtime import threads
from hcodec.pixels.picture import Metadata, Picture

FOLDER = Path(__file__).parent / "golden"
DIGESTS = "digests.json"
WINDOWS = (1040, 48)  # two of them
CHUNKS = Attachments(
    icc=b"an ICC profile",
    exif=b"II*\0\x08\0\0\0\0\0\0\0\0\0",
    xmp=b"<x/>",
    cicp=Cicp(1, 13, 0, 1),
    chromaticities=Chromaticities(31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000),
    gamma=45455,
    density=Density(2835, 2835, 1),
    orientation=6,
    text=(("Title", "golden"), ("Köln", "März")),
)


def smooth(height: int, width: int) -> np.ndarray:
    """Returns a picture that hardly costs anything, with an edge here and there, uint8 (height, width, 3)."""
    y, x = np.mgrid[0:height, 0:width].astype(float)
    plane = 120 + 60 * np.sin(x / 23 + y / 41) + 30 * (y // 130 % 2)
    return np.stack([plane, plane * 0.8 + 10, 230 - plane * 0.7], -1).clip(0, 255).astype(np.uint8)


def drawing(height: int, width: int) -> np.ndarray:
    """Returns a picture that is better stored, uint8 (height, width, 3)."""
    pixels = np.full((height, width, 3), 255, np.uint8)
    pixels[height // 4 : height // 2, width // 8 : -(width // 4)] = 20, 60, 120
    return pixels


def small(count: int, edge: int) -> list[np.ndarray]:
    """Returns small pictures of a bright ellipse on black, uint8 (edge, edge)."""
    y, x = np.mgrid[0:edge, 0:edge] - edge / 2
    radii = [np.hypot(x * (1 + i / count), y - i % 3) for i in range(count)]
    return [np.clip(300 - 40 * np.abs(radius - edge / 4 - i % 2), 0, 255).astype(np.uint8) for i, radius in enumerate(radii)]


def cut(data: bytes, share: float) -> bytes:
    """Returns a file, cut."""
    return container.truncate(data, num_bytes=round(share * len(data)))


def cut_early(data: bytes) -> bytes:
    """Returns a file of two windows, cut so that of its last layer only a part of the first one's piece is left."""
    shorter = (cut(data, share / 100) for share in range(40, 90))
    return next(file for file in shorter if len(container.read_all(file)[1].layers[-1].pieces) == 1)


def exact(pixels: np.ndarray, method: str) -> bytes:
    """Returns the lossless file of a picture; ValueError if it was not coded by that method."""
    data, code = codec.encode_lossless(pixels)
    if code.method != method:
        raise ValueError(f"a lossless layer is {code.method}, not {method}")
    return data


def with_chunks() -> bytes:
    """Returns a file with an alpha channel and every chunk that there is."""
    pixels, alpha = smooth(40, 50), np.arange(40 * 50, dtype=np.uint8).reshape(40, 50)
    reader, header = container.read_all(codec.encode(Picture(pixels, alpha)))
    frame = container.Frame(
        width=header.width, height=header.height, model=header.model, fingerprint=header.fingerprint, num_coarse=header.num_coarse
    )
    layers = [*([piece] for piece in reader.coarse), *([piece] for piece in reader.pieces[0])]
    return container.write(frame, layers, replace(CHUNKS, alpha=reader.attachments.alpha))


def packed() -> bytes:
    """Returns an archive with chains of every kind, and of both models for small pictures."""
    digits, colors = small(8, 28), [smooth(24 + i, 32)[:, ::-1] for i in range(6)]
    extras = Picture(smooth(90, 70), np.full((90, 70), 99, np.uint8), metadata=Metadata(b"an ICC profile", xmp=b"<x/>"))
    pictures: list[tuple[str, np.ndarray | Picture]] = [(f"digits/{i}.png", pixels) for i, pixels in enumerate(digits)]
    pictures += [(f"colors/{i}.png", pixels // 2 + render(*pixels.shape[:2], i) // 2) for i, pixels in enumerate(colors)]
    pictures += [("photo.png", render(90, 70)), ("gray.png", render(70, 90)[..., 0]), ("extras.png", extras)]
    with mock.patch.object(packing, "_NEARLY", 0):  # what is no drawing is coded, even where it would be shorter stored
        data = packing.pack([*pictures, ("drawing.png", drawing(90, 120))], restart=8)
    models = {registry.find(row.fingerprint, registry.SMALL) for row in segments(data) if row.kind == 1}
    if {row.kind for row in segments(data)} != {0, 1, 2} or models != {"mnist-1", "small-1"}:
        raise ValueError(f"the archive lacks a kind: {segments(data)}")
    return data


def segments(data: bytes) -> tuple[archive.Segment, ...]:
    """Returns what the directory of an archive says of its segments."""
    with archive.opened(data) as opened:
        return opened.directory.segments


MAKERS: dict[str, Callable[[], bytes]] = {
    "levels-96x128": lambda: codec.encode(render(96, 128)),
    "levels-65x65": lambda: codec.encode(render(65, 65)),
    "levels-1x1": lambda: codec.encode(render(1, 1)),
    "levels-37x200": lambda: codec.encode(render(37, 200)),
    "levels-130x150": lambda: codec.encode(render(130, 150)),  # with scale offsets
    "levels-three": lambda: codec.encode(render(60, 70), levels=3),  # only the coarse ones
    "windows": lambda: codec.encode(smooth(*WINDOWS)),
    "cut": lambda: cut(codec.encode(render(130, 150)), 0.6),
    "cut-windows": lambda: cut(codec.encode(smooth(*WINDOWS)), 0.6),
    "cut-early": lambda: cut_early(codec.encode(smooth(*WINDOWS))),
    "gray": lambda: codec.encode(render(50, 60)[..., 0]),
    "chunks": with_chunks,
    "lossless-coded": lambda: exact(render(24, 400), "coded"),  # two tiles
    "lossless-gray": lambda: exact(render(60, 50)[..., 0], "coded"),
    "lossless-windows": lambda: exact(smooth(*WINDOWS) ^ (render(*WINDOWS) & 1), "coded"),
    "lossless-stored": lambda: exact(drawing(60, 80), "stored"),
    "archive": packed,
}
SHOWN = [name for name in MAKERS if not name.startswith(("lossless", "archive"))]
EXACT = [name for name in MAKERS if name.startswith("lossless")]


def digests_of(name: str, data: bytes, backend: str | None = None) -> dict[str, str]:
    """Returns what is said of a golden file."""
    found = {"file": hashlib.sha256(data).hexdigest()}
    if name == "archive":
        return found | unpacked(data)
    found["integers"] = exactness.decoded(data, backend=backend)
    if name in SHOWN:
        header_bytes = container.read_all(data)[1].header_bytes
        return found | {"begun": exactness.decoded(data[: (header_bytes + len(data)) // 2], backend=backend)}
    samples = exactness.Digest()
    samples.add(codec.decode_picture(data, strict=True, backend=backend).pixels)
    return found | {"samples": str(samples)}


def unpacked(data: bytes) -> dict[str, str]:
    """Returns digests of all that is popped from the chains of an archive, on one thread, and of what they give."""
    integers, samples, before = exactness.Digest(), exactness.Digest(), threads.count()
    threads.set_threads(1)
    try:
        with exactness.noted(integers):
            for name, picture in packing.unpack(data, strict=True):
                samples.add(np.frombuffer(name.encode(), np.uint8), picture.pixels)
                samples.add(*[] if picture.alpha is None else [picture.alpha])
                samples.add(*(np.frombuffer(blob, np.uint8) for blob in vars(picture.metadata).values() if blob))
    finally:
        threads.set_threads(before)
    return {"integers": str(integers), "samples": str(samples)}


def shown(data: bytes) -> np.ndarray:
    """Returns what a file looks like, int (H, W[, C])."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HcodecWarning)
        return np.asarray(codec.decode(data)).astype(int)


def make(folder: Path) -> list[str]:
    """Makes golden files that are not there yet, and returns which; ValueError, and no file is touched, where one was changed."""
    known = json.loads((folder / DIGESTS).read_text()) if (folder / DIGESTS).exists() else {}
    for name, said in known.items():
        file = folder / f"{name}.hcodec"
        if not file.exists() or hashlib.sha256(file.read_bytes()).hexdigest() != said["file"]:
            raise ValueError(f"{file.name} is missing or different: golden files of 1.0 are never regenerated")
    if unknown := {path.stem for path in folder.glob("*.hcodec")} - set(known):
        raise ValueError(f"{min(unknown)}.hcodec has no digest: golden files of 1.0 are never regenerated")
    made = {name: maker() for name, maker in MAKERS.items() if name not in known}
    known |= {name: digests_of(name, data) for name, data in made.items()}
    for name, data in made.items():
        (folder / f"{name}.hcodec").write_bytes(data)
        if name in SHOWN:
            Image.fromarray(shown(data).astype(np.uint8)).save(folder / f"{name}.png", optimize=True)
    (folder / DIGESTS).write_text(json.dumps(known, indent=1) + "\n")
    return list(made)


@pytest.fixture(scope="module")
def known() -> dict[str, dict[str, str]]:
    assert (FOLDER / DIGESTS).exists(), "there are no golden files yet: python tests/test_golden.py"
    return json.loads((FOLDER / DIGESTS).read_text())


def golden(name: str) -> bytes:
    """Returns a golden file."""
    return (FOLDER / f"{name}.hcodec").read_bytes()


def test_there_is_a_golden_file_of_every_kind(known):
    assert set(known) == set(MAKERS) == {path.stem for path in FOLDER.glob("*.hcodec")}
    assert {path.stem for path in FOLDER.glob("*.png")} == set(SHOWN)
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 400_000


@pytest.mark.parametrize("backend", ["onnx", "torch"])
@pytest.mark.parametrize("name", MAKERS)
def test_golden_files_decode_to_the_same_integers(known, name, backend):
    if (name, backend) != ("archive", "torch"):  # the models of small pictures are run by what suits
        assert digests_of(name, golden(name), backend) == known[name]


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("name", SHOWN)
def test_golden_files_look_the_same(name):
    """The synthesis is float, so a sample may move by one."""
    kept = np.asarray(Image.open(FOLDER / f"{name}.png")).astype(int)
    assert np.abs(shown(golden(name)) - kept).max() <= 1


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("region", [(3, 5, 40, 60), (0, 500, 48, 100), (11, 1000, 20, 40)])
@pytest.mark.parametrize(("name", "tolerance"), [("windows", 1), ("lossless-windows", 0)])
def test_regions_of_golden_files_are_parts_of_them(name, tolerance, region):
    x, y, width, height = region
    part = np.asarray(codec.decode(golden(name), region=region)).astype(int)
    assert np.abs(part - shown(golden(name))[y : y + height, x : x + width]).max() <= tolerance


@pytest.mark.usefixtures("known")
def test_golden_chunks_are_read():
    reader, header = container.read_all(golden("chunks"))
    assert replace(reader.attachments, alpha=b"") == CHUNKS and header.num_windows == 1
    picture = codec.decode_picture(golden("chunks"), strict=True)
    metadata = Metadata(*CHUNKS.blobs[:3], CHUNKS.cicp, CHUNKS.chromaticities, CHUNKS.gamma, CHUNKS.density, CHUNKS.text)
    assert picture.metadata == metadata
    assert (picture.alpha == np.arange(40 * 50, dtype=np.uint8).reshape(40, 50)).all()


@pytest.mark.usefixtures("known")
def test_golden_files_are_what_their_names_say():
    headers = {name: container.read_all(golden(name))[1] for name in (*SHOWN, *EXACT)}
    assert [name for name, header in headers.items() if header.cut] == ["cut", "cut-windows", "cut-early"]
    windows = ["windows", "cut-windows", "cut-early", "lossless-windows"]
    assert [name for name, header in headers.items() if header.num_windows > 1] == windows
    assert [len(headers[name].layers[-1].pieces) for name in ("cut-windows", "cut-early")] == [2, 1]
    assert [name for name, header in headers.items() if header.lossless] == EXACT
    assert [name for name, header in headers.items() if header.gray] == ["gray", "lossless-gray"]
    assert headers["levels-130x150"].offsets and not headers["levels-96x128"].offsets
    assert {row.kind for row in segments(golden("archive"))} == {0, 1, 2}


def test_golden_files_are_never_regenerated(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "MAKERS", {"levels-1x1": MAKERS["levels-1x1"]})
    assert make(tmp_path) == ["levels-1x1"]
    file, before = tmp_path / "levels-1x1.hcodec", {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert make(tmp_path) == [] and {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    monkeypatch.setitem(MAKERS, "gray", lambda: codec.encode(render(8, 8)[..., 0]))
    assert make(tmp_path) == ["gray"] and file.read_bytes() == before[file]
    for harm in (lambda: file.write_bytes(b"another"), file.unlink, (tmp_path / DIGESTS).unlink):
        harm()
        with pytest.raises(ValueError, match=r"golden files of 1\.0 are never regenerated"):
            make(tmp_path)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    print("made:", ", ".join(make(FOLDER)) or "nothing, all are there")  # noqa: T201
