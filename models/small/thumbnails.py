"""Small pictures to train and measure on: MNIST from its idx files, and photographs downscaled with Lanczos.

Room: small, training and benchmarks only.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hcodec.models.training import data

Pixels = NDArray[np.uint8]
EDGE = 32
FACTORS = (2, 4, 8)


def mnist(folder: Path, part: str) -> Pixels:
    """Returns the pictures of one part ("train", "t10k") of MNIST, uint8 (N, 28, 28)."""
    raw = gzip.decompress((folder / f"{part}-images-idx3-ubyte.gz").read_bytes())
    _, count, height, width = np.frombuffer(raw[:16], dtype=">u4").tolist()
    return np.frombuffer(raw[16:], dtype=np.uint8).reshape(count, height, width)


def downscale(picture: Pixels, factor: int) -> Pixels:
    """Returns uint8 (H // factor, W // factor, 3) from (H, W, 3), by Lanczos."""
    height, width = picture.shape[0] // factor, picture.shape[1] // factor
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS))


def tiles(pictures: Iterable[Pixels], edge: int = EDGE) -> list[Pixels]:
    """Returns all tiles (edge, edge, 3) that do not overlap, of every picture downscaled by 2, 4 and 8."""
    found = []
    for picture in pictures:
        for small in (downscale(picture, factor) for factor in FACTORS):
            rows, columns = (range(0, length - edge + 1, edge) for length in small.shape[:2])
            found += [np.ascontiguousarray(small[y : y + edge, x : x + edge]) for y in rows for x in columns]
    return found


class Digits:
    """Batches of MNIST, without change."""

    def __init__(self, pictures: Pixels, seed: int) -> None:
        self.pictures, self.random = pictures, np.random.default_rng(seed)

    def batch(self, count: int) -> Pixels:
        """Returns uint8 (count, 28, 28)."""
        return self.pictures[self.random.integers(len(self.pictures), size=count)]


class Thumbnails:
    """Batches of random crops, mirrored and turned, of photographs downscaled by 2, 3, 4, 6 and 8; coarse ones count double."""

    def __init__(self, sources: Sequence[str], seed: int) -> None:
        pictures = [small for picture in data.load(sources) for small in _pyramid(picture)]
        self.crops = data.Crops(pictures, EDGE, seed)
        area = self.crops.shapes.prod(1)
        weights = area * np.where(area < 90 * 90, 2.0, 1.0)
        self.crops.weights = weights / weights.sum()
        self.random = self.crops.random

    def batch(self, count: int) -> Pixels:
        """Returns uint8 (count, 32, 32, 3)."""
        found: Pixels = self.crops.batch(count).numpy()
        return found


def _pyramid(picture: Pixels) -> list[Pixels]:
    return [downscale(picture, factor) for factor in (2, 3, 4, 6, 8) if min(picture.shape[:2]) // factor >= EDGE]
