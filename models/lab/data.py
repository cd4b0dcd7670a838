"""Pictures to learn and to measure on: MNIST, 32x32 color crops, and sets that are drawn on the spot.

Room: training. A set is named by what the user writes: a folder with MNIST's idx files, tar shards and folders of pictures, or
one of the embedded sets: "digits" (8x8, shipped by scikit-learn), "glyphs" (16x16 digits in Pillow's own font) and "drawn" (32x32
color crops of drawn screens). Nothing is downloaded. Arrays are uint8 (N, C, H, W).
"""

from __future__ import annotations

import functools
import gzip
import struct
import tarfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from hcodec.errors import PictureError
from hcodec.models.small import thumbnails
from hcodec.models.training import data, drawn

Pixels = NDArray[np.uint8]
EDGE = thumbnails.EDGE
GLYPH = 16
READING = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    TypeError,
    LookupError,
    tarfile.TarError,
    zlib.error,
    struct.error,
    Image.DecompressionBombError,
)  # what damaged pictures and shards raise
_HELD_OUT = 16  # every so many pictures are for the test
_FACTORS = (2, 3, 4, 6, 8)
_NUM_DRAWN = 96


@dataclass(frozen=True)
class DataSet:
    """A set: its name, how to draw training pictures uint8 (count, C, H, W), the random numbers for it, and test pictures."""

    name: str
    draw: Callable[[int], Pixels]
    random: np.random.Generator
    test: Pixels

    @property
    def channels(self) -> int:
        """Channels of a picture, 1 or 3."""
        return self.test.shape[1]

    def batch(self, count: int) -> Tensor:
        """Returns training pictures, float32 (count, C, H, W), 0..255."""
        return torch.from_numpy(self.draw(count)).float()


def open_set(sources: Sequence[str], seed: int = 0) -> DataSet:
    """Returns the set that these names stand for; PictureError if there are no such pictures."""
    if len(sources) == 1 and sources[0] in EMBEDDED:
        return EMBEDDED[sources[0]](seed)
    _expect(sources)
    if len(sources) == 1 and _idx(Path(sources[0]), "train"):
        train, test = (read_idx(_idx(Path(sources[0]), part)) for part in ("train", "t10k"))
        return _fixed("mnist", train, test, seed)
    return _crops("color", _load(sources), seed)


def _idx(folder: Path, part: str) -> Path | None:
    names = (f"{part}-images-idx3-ubyte", f"{part}-images-idx3-ubyte.gz")
    return next((folder / name for name in names if (folder / name).is_file()), None)


def read_idx(path: Path | None) -> Pixels:
    """Returns the pictures of an idx file, plain or compressed, (N, 1, H, W); PictureError if it is none."""
    if path is None:
        raise PictureError("MNIST is not complete: train-images and t10k-images are wanted")
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise PictureError(f"{path} is cut or damaged") from error
    if len(raw) < 16 or raw[:4] != b"\0\0\x08\x03":
        raise PictureError(f"{path} is not an idx file of pictures")
    count, height, width = np.frombuffer(raw[4:16], dtype=">u4").tolist()
    if len(raw) != 16 + count * height * width:
        raise PictureError(f"{path} is cut")
    return np.frombuffer(raw[16:], dtype=np.uint8).reshape(count, 1, height, width)


def _fixed(name: str, train: Pixels, test: Pixels, seed: int) -> DataSet:
    """Returns a set of pictures that are trained on as they are."""
    random = np.random.default_rng(seed)
    return DataSet(name, lambda count: train[random.integers(len(train), size=count)], random, test)


def _crops(name: str, pictures: Sequence[Pixels], seed: int) -> DataSet:
    """Returns a set of 32x32 crops: random ones of pictures downscaled by 2 to 8; for the test, tiles of other pictures."""
    held = pictures[::_HELD_OUT]
    smaller = [
        thumbnails.downscale(picture, factor)
        for i, picture in enumerate(pictures) if i % _HELD_OUT
        for factor in _FACTORS if min(picture.shape[:2]) // factor >= EDGE
    ]  # fmt: skip
    tiles = _tiles(held)
    if not smaller or len(tiles) < 2:
        raise PictureError(f"{len(pictures)} pictures are too few, or too many of them smaller than {2 * EDGE} pixels")
    crops = data.Crops(smaller, EDGE, seed)
    return DataSet(name, lambda count: _channels_first(crops.batch(count).numpy()), crops.random, tiles)


def test_tiles(sources: Sequence[str]) -> Pixels:
    """Returns 32x32 tiles of all pictures in shards and folders, downscaled by 2, 4 and 8; PictureError if there are not two."""
    _expect(sources)
    pictures = _load(sources)
    tiles = _tiles(pictures)
    if len(tiles) < 2:
        raise PictureError(f"{len(pictures)} pictures are too few, or too many of them smaller than {2 * EDGE} pixels")
    return tiles


def _load(sources: Sequence[str]) -> list[Pixels]:
    """Returns all pictures of shards, folders and files, uint8 (H, W, 3); PictureError if there are none or one is damaged."""
    found: list[Pixels] = []
    for source in sources:
        try:
            found += data.load([source])
        except READING as error:
            reason = [*str(error).splitlines(), "cut or damaged"][0]
            raise PictureError(f"{source}: {reason}") from error
    if not found:
        raise PictureError(f"there are no pictures in {', '.join(map(str, sources))}")
    return found


def _tiles(pictures: Sequence[Pixels]) -> Pixels:
    """Returns tiles that do not overlap, shuffled, (N, 3, 32, 32)."""
    tiles = np.array(thumbnails.tiles(pictures), np.uint8).reshape(-1, EDGE, EDGE, 3)
    return _channels_first(tiles[np.random.default_rng(0).permutation(len(tiles))])


def _expect(sources: Sequence[str]) -> None:
    """Raises PictureError if there is no such file or folder."""
    if missing := [source for source in sources if not Path(source).exists()]:
        alone = "; an embedded set stands alone" if missing[0] in EMBEDDED else ""
        raise PictureError(f"no such file, folder or embedded set: {missing[0]}{alone}")


def _channels_first(pixels: Pixels) -> Pixels:
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))


def _digits(seed: int) -> DataSet:
    try:
        from sklearn.datasets import load_digits  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise PictureError("the set 'digits' comes with scikit-learn, which is not installed; 'glyphs' is drawn here") from error
    values = load_digits().images[:, None]
    pixels = (values * (255 / 16)).round().astype(np.uint8)
    return _fixed("digits", pixels[:1500], pixels[1500:], seed)


def _glyphs(seed: int) -> DataSet:
    return _fixed("glyphs", glyphs("0123456789", 4000, GLYPH, 1), glyphs("0123456789", 1000, GLYPH, 2), seed)


def _drawn(seed: int) -> DataSet:
    return _crops("drawn", drawn.pictures(_NUM_DRAWN, 1), seed)


EMBEDDED: dict[str, Callable[[int], DataSet]] = {"digits": _digits, "glyphs": _glyphs, "drawn": _drawn}


@functools.lru_cache(maxsize=8)
def glyphs(letters: str, count: int, edge: int, seed: int) -> Pixels:
    """Returns letters in Pillow's own font, white on black, of varying size, place and slant, (count, 1, edge, edge)."""
    random = np.random.default_rng(seed)
    return np.stack([_glyph(letters[random.integers(len(letters))], edge, random) for _ in range(count)])[:, None]


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _glyph(letter: str, edge: int, random: np.random.Generator) -> Pixels:
    image = Image.new("L", (2 * edge, 2 * edge))
    font = _font(int(random.integers(round(1.2 * edge), round(1.9 * edge))))
    middle = edge + random.uniform(-0.2, 0.2, 2) * edge
    ImageDraw.Draw(image).text((float(middle[0]), float(middle[1])), letter, 255, font, anchor="mm")
    turned = image.rotate(float(random.uniform(-20, 20)), Image.Resampling.BILINEAR)
    return np.asarray(turned.resize((edge, edge), Image.Resampling.LANCZOS))
