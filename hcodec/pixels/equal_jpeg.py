"""The JPEG file that a number of bytes buys: what a viewer shows beside a level of a file.

Room: pixels, beside the data's path. Imports numpy, Pillow, `errors` and `picture` only.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hcodec.errors import PictureError
from hcodec.pixels.picture import psnr

_SUBSAMPLINGS = ("4:2:0", "4:4:4")
_QUALITIES = (1, 100)
_MOST = 65_500  # pixels a side that libjpeg writes


@dataclass(frozen=True)
class Jpeg:
    """A JPEG file, the quality and chroma subsampling that Pillow made it with, and what it reaches."""

    data: bytes
    quality: int
    subsampling: str
    psnr_db: float


def equal_jpeg(pixels: NDArray[np.uint8], num_bytes: int) -> Jpeg:
    """Returns the best JPEG file of pixels, uint8 (H, W, 3), of at most so many bytes; the smallest that there is if none is.

    Raises PictureError for a side that JPEG files cannot have.
    """
    image = Image.fromarray(pixels)
    if max(image.size) > _MOST:
        raise PictureError(f"a JPEG file holds at most {_MOST} pixels a side, the picture has {max(image.size)}")
    found = [_measured(pixels, image, _largest(image, num_bytes, subsampling), subsampling) for subsampling in _SUBSAMPLINGS]
    fitting = [jpeg for jpeg in found if len(jpeg.data) <= num_bytes]
    return max(fitting, key=lambda jpeg: jpeg.psnr_db) if fitting else min(found, key=lambda jpeg: len(jpeg.data))


def _largest(image: Image.Image, num_bytes: int, subsampling: str) -> int:
    """Returns the highest quality whose file has at most so many bytes, the lowest of all if none has."""
    low, high = _QUALITIES
    while low < high:
        middle = (low + high + 1) // 2
        if len(_saved(image, middle, subsampling)) <= num_bytes:
            low = middle
        else:
            high = middle - 1
    return low


def _measured(pixels: NDArray[np.uint8], image: Image.Image, quality: int, subsampling: str) -> Jpeg:
    data = _saved(image, quality, subsampling)
    return Jpeg(data, quality, subsampling, psnr(pixels, np.asarray(Image.open(io.BytesIO(data)))))


def _saved(image: Image.Image, quality: int, subsampling: str) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, subsampling=subsampling, optimize=True)
    return file.getvalue()
