"""Pictures of the lab: which files are coded, and how pictures become sheets and files.

Room: files of the lab.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hcodec.errors import PictureError
from hcodec.models.lab.data import READING, read_idx

Pixels = NDArray[np.uint8]
_SUFFIXES = {".png", ".webp", ".bmp", ".jpg", ".jpeg", ".avif", ".tif", ".tiff"}


def read(paths: Sequence[Path], channels: int, count: int | None) -> tuple[Pixels, list[str]]:
    """Returns the first `count` pictures of files, folders and idx files, uint8 (N, C, H, W), and their names.

    PictureError unless all have one size, and the channels that are wanted: 1 for gray, 3 for color.
    """
    found = list(zip(_each(paths, channels), range(count or 1 << 20), strict=False))
    if not found:
        raise PictureError(f"there are no pictures in {', '.join(map(str, paths))}")
    names = [name for (name, _), _ in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise PictureError(f"two pictures would come back as {twice}")
    sizes = {f"{pixels.shape[2]}x{pixels.shape[1]}": None for (_, pixels), _ in found}
    if len(sizes) > 1:
        raise PictureError(f"pictures on one stack have one size, these have {', '.join(sizes)}")
    return np.stack([pixels for (_, pixels), _ in found]), names


def files(paths: Sequence[Path]) -> Iterator[Path]:
    """Yields the files that these paths stand for: themselves, and the pictures in folders."""
    for path in paths:
        if path.is_dir():
            yield from files(sorted(p for p in path.iterdir() if p.suffix.lower() in _SUFFIXES))
        else:
            yield path


def _each(paths: Sequence[Path], channels: int) -> Iterator[tuple[str, Pixels]]:
    for path in files(paths):
        if "idx3" in path.name:
            for number, pixels in enumerate(read_idx(path)):
                yield f"{number:05}.png", pixels
        else:
            yield f"{path.stem}.png", _read(path, channels)


def _read(path: Path, channels: int) -> Pixels:
    try:
        with Image.open(path) as image:
            pixels, mode = np.asarray(image), image.mode
    except READING as error:
        raise PictureError(f"{path} is not a picture, or damaged") from error
    if mode != ("RGB" if channels == 3 else "L"):
        kind = "color" if channels == 3 else "gray"
        raise PictureError(f"{path} is not an 8-bit {kind} picture, which the model wants (its mode is {mode})")
    return np.ascontiguousarray(pixels.transpose(2, 0, 1) if channels == 3 else pixels[None])


def to_image(pixels: Pixels) -> Image.Image:
    """Returns a picture (C, H, W) as a Pillow image."""
    return Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))


def sheet(pictures: Pixels, columns: int, gap: int = 2) -> Pixels:
    """Returns pictures (N, C, H, W) side by side in rows of `columns`, (C, height, width), on gray."""
    count, channels, height, width = pictures.shape
    rows = -(-count // columns)
    made = np.full((channels, rows * (height + gap) - gap, columns * (width + gap) - gap), 96, dtype=np.uint8)
    for number, picture in enumerate(pictures):
        y, x = (number // columns) * (height + gap), (number % columns) * (width + gap)
        made[:, y : y + height, x : x + width] = picture
    return made
