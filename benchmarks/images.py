"""The pictures that everything is measured on: the image files of a folder, read as 8-bit RGB."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]
"""Pixels of a picture, uint8 (H, W, 3), RGB."""

_SUFFIXES = {".png", ".webp", ".bmp", ".ppm", ".tif", ".tiff", ".jpg", ".jpeg"}


@dataclass(frozen=True)
class Photo:
    """An image file. `digest`: SHA-256 of the file, hexadecimal; `num_px`: W * H."""

    name: str
    path: Path
    digest: str
    width: int
    height: int

    @property
    def num_px(self) -> int:
        """Number of pixels."""
        return self.width * self.height

    def bpp(self, num_bytes: float) -> float:
        """Bits per pixel of a file of `num_bytes`, everything in it included."""
        return 8 * num_bytes / self.num_px


def photo(path: Path) -> Photo:
    """The image file at `path`."""
    with Image.open(path) as image:
        width, height = image.size
    return Photo(path.stem, path, hashlib.sha256(path.read_bytes()).hexdigest(), width, height)


def folder(path: Path, limit: int | None = None) -> list[Photo]:
    """The image files of a folder, by name, at most `limit` of them. Raises FileNotFoundError when there is none."""
    paths = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in _SUFFIXES)
    if not paths:
        raise FileNotFoundError(f"no image files in {path}")
    return [photo(entry) for entry in paths[:limit]]


def read(path: Path) -> Pixels:
    """Pixels uint8 (H, W, 3) of an image file; gray and palette are converted to RGB, alpha is dropped."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def mosaic(photos: list[Photo], num_px: int) -> Pixels:
    """A picture of about `num_px` pixels at 3:2, tiled from the photos, so that detail does not change with size."""
    height = max(8, round((num_px / 1.5) ** 0.5))
    width = max(8, round(1.5 * height))
    canvas = np.zeros((height, width, 3), np.uint8)
    tiles = [read(entry.path) for entry in photos]
    side_y, side_x = (min(tile.shape[axis] for tile in tiles) for axis in (0, 1))
    for row, y in enumerate(range(0, height, side_y)):
        for column, x in enumerate(range(0, width, side_x)):
            tile = tiles[(row * 7 + column) % len(tiles)][:side_y, :side_x]
            canvas[y : y + side_y, x : x + side_x] = tile[: height - y, : width - x]
    return canvas


def middle(pixels: Pixels, edge: int) -> Pixels:
    """The square of that many pixels a side in the middle of a picture, or as much of it as there is."""
    top, left = (max(0, (size - edge) // 2) for size in pixels.shape[:2])
    return np.ascontiguousarray(pixels[top : top + edge, left : left + edge])


def enlarged(pixels: Pixels, num_px: int, noise: float = 3.0) -> Pixels:
    """A picture scaled (bicubic) to about `num_px` pixels, with Gaussian noise, whose detail stands for that of a camera."""
    scale = (num_px / (pixels.shape[0] * pixels.shape[1])) ** 0.5
    height, width = (max(8, round(scale * edge)) for edge in pixels.shape[:2])
    image = np.array(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))
    random = np.random.default_rng(0)
    for row in image:  # by rows, so that a large picture is not held in floats
        row[:] = np.clip(np.rint(row + random.normal(0, noise, row.shape)), 0, 255)
    return image
