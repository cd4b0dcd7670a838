"""Lossless image files, WebP or PNG, as bytes: what stored pictures and alpha channels are, through coders that everyone has.

Room: pixels, below `alpha` and `stored`. A file's own size is compared before memory is taken. FORMAT.md, "Stored
pictures" and "The alpha channel". Imports numpy, Pillow and `errors` only.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from hcodec.errors import FormatError

_MAX_WEBP_SIDE_PX = 16383
_PNG_START = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
_PNG_GRAY, _PNG_RGB = b"\x08\0", b"\x08\2"  # bit depth and color type


def encode(samples: NDArray[np.uint8], quality: int, method: int = 4) -> bytes:
    """Returns uint8 (H, W) or (H, W, 3) as a lossless file: WebP, or PNG where WebP cannot be written.

    `quality`, 0 .. 100, and `method`, 0 .. 6: the effort of WebP, as Pillow names it.
    """
    file = io.BytesIO()
    image = Image.fromarray(samples)
    if can_be_webp(samples):
        image.save(file, "WEBP", lossless=True, quality=quality, method=method)
    else:
        image.save(file, "PNG", optimize=True)
    return file.getvalue()


def can_be_webp(samples: NDArray[np.uint8]) -> bool:
    """Whether samples (H, W) or (H, W, 3) are not too many for WebP, and Pillow was built with it."""
    return max(samples.shape[:2]) <= _MAX_WEBP_SIDE_PX and bool(features.check("webp"))


def decode(data: bytes, height: int, width: int, place: str, *, color: bool = True) -> NDArray[np.uint8]:
    """Returns the samples of a lossless file, uint8 (H, W) or (H, W, 3).

    `place`: what it belongs to, for errors, as in "a stored picture"; `color`: a PNG file may be RGB, too. Raises
    FormatError if it is damaged, of another size or of another form.
    """
    if _size(data, color) != (width, height):
        raise FormatError(f"{place} is damaged: it has another size or form")
    try:
        # the classes themselves, not Image.open: the size is known to be right, Pillow's own limit must not refuse it
        image = (PngImageFile if data.startswith(_PNG_START) else WebPImageFile)(io.BytesIO(data))
        image.load()
        return np.array(image if image.mode == "L" else image.convert("RGB"))
    except Exception as error:  # Pillow's readers raise nearly everything on damaged files
        raise FormatError(f"{place} is damaged: {error}") from error


def _size(data: bytes, color: bool) -> tuple[int, int] | None:
    """Returns width and height as the first bytes tell, before memory is taken; None if it is neither of the two forms."""
    if data.startswith(_PNG_START) and data[24:26] in ((_PNG_GRAY, _PNG_RGB) if color else (_PNG_GRAY,)):
        return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    if data[:4] == b"RIFF" and data[8:16] == b"WEBPVP8L" and data[20:21] == b"\x2f":
        sides = int.from_bytes(data[21:25], "little")
        return (sides & 0x3FFF) + 1, (sides >> 14 & 0x3FFF) + 1
    return None
