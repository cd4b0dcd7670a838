"""Samples of 16 bits, from images that Pillow opens.

Room: pixels, below `picture`. Pillow reads 16-bit color as 8 bits, but which byte of a sample it takes is said by the raw
mode of the file's tiles: so such a file is read twice more, for the high bytes and for the low ones. Imports numpy and
Pillow only.
"""

from __future__ import annotations

import sys
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

Halves = tuple[Image.Image, Image.Image]  # the high and the low bytes, both of mode L, LA, RGB or RGBA
Deep = NDArray[np.uint16]  # (H, W, C), C being 1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha
_BYTES = {"B": ("B", "L"), "L": ("L", "B"), "N": ("N", "B" if sys.byteorder == "little" else "L")}  # high, low, by byte order
_COLOR = ("RGB;16", "RGBA;16")
_GRAY_ALPHA = "LA;16B"


def halves(image: Image.Image, rawmode: str) -> Halves | None:
    """Returns the samples of an image that is not loaded yet, given its raw mode, if they are of color and have 16 bits."""
    file = getattr(image, "fp", None)
    known = isinstance(image, PngImageFile | TiffImageFile) and image.tell() == 0  # the first frame, if there are several
    if file is None or not known or (rawmode[:-1] not in _COLOR and rawmode != _GRAY_ALPHA):
        return None
    position = file.tell()
    try:
        if rawmode == _GRAY_ALPHA:  # its four bytes are as those of RGBA
            red, green, blue, alpha = _reread(image, file, "RGBA").split()
            return Image.merge("LA", (red, blue)), Image.merge("LA", (green, alpha))
        high, low = (_reread(image, file, rawmode[:-1] + order) for order in _BYTES[rawmode[-1]])
        return high, low
    finally:
        file.seek(position)


def _reread(image: Image.Image, file: BinaryIO, rawmode: str) -> Image.Image:
    """Returns the same picture with its bytes taken in another way."""
    file.seek(0)
    twin = PngImageFile(file) if isinstance(image, PngImageFile) else TiffImageFile(file)
    twin.tile = [tile._replace(args=(rawmode, *tile.args[1:]) if isinstance(tile.args, tuple) else rawmode) for tile in twin.tile]
    twin.load()
    return twin


def joined(image: Image.Image, found: Halves | None, turn: Image.Transpose | None) -> Deep | None:
    """Returns the samples of an image that is loaded now, turned upright, if they have 16 bits; found: as from `halves`."""
    if found is None and image.mode.startswith("I;16"):
        samples = np.asarray(image).astype(np.uint16)
        found = Image.fromarray((samples >> 8).astype(np.uint8)), Image.fromarray((samples & 255).astype(np.uint8))
    if found is None:
        return None
    high, low = (np.asarray(half if turn is None else half.transpose(turn)).astype(np.uint16) for half in found)
    deep = (high << 8 | low).astype(np.uint16)
    deep = deep[..., None] if deep.ndim == 2 else deep
    key = image.info.get("transparency")
    return _with_alpha(deep, key) if isinstance(key, int | tuple) and np.size(key) == deep.shape[2] else deep


def _with_alpha(deep: Deep, key: int | tuple[int, ...]) -> Deep:
    """Returns gray or RGB samples with an alpha channel, which is 0 where they are the transparent color of a PNG file."""
    opaque = (deep != np.array(key)).any(axis=2, keepdims=True)
    return np.concatenate([deep, opaque.astype(np.uint16) * np.uint16(0xFFFF)], axis=2)
