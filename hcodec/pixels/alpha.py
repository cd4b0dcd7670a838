"""The alpha channel as bytes, lossless, through coders that everyone has.

Room: pixels, beside `picture`, which hands it on (encode step 11, decode step 9). What it makes is the payload of the
container's alpha chunk, described in FORMAT.md. Imports numpy, Pillow and `errors` only.
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


def encode_alpha(alpha: NDArray[np.uint8]) -> bytes:
    """An alpha channel, uint8 (H, W), without loss: one byte if constant, else a WebP file (PNG if too wide)."""
    if (alpha == alpha[0, 0]).all():
        return bytes(alpha[:1, :1])
    file = io.BytesIO()
    if max(alpha.shape) <= _MAX_WEBP_SIDE_PX and features.check("webp"):
        Image.fromarray(alpha).save(file, "WEBP", lossless=True, quality=100)  # the shorter on everything tried
    else:
        Image.fromarray(alpha).save(file, "PNG", optimize=True)
    return file.getvalue()


def decode_alpha(data: bytes, width: int, height: int) -> NDArray[np.uint8]:
    """The alpha channel, uint8 (H, W), that `encode_alpha` made. Raises FormatError if damaged or of another size."""
    if len(data) == 1:
        return np.full((height, width), data[0], np.uint8)
    if _alpha_size(data) != (width, height):
        raise FormatError("the alpha channel is damaged: it has another size or form")
    try:
        # the classes themselves, not Image.open: the size is known to be right, Pillow's own limit must not refuse it
        image = (PngImageFile if data[:1] == b"\x89" else WebPImageFile)(io.BytesIO(data))
        image.load()
        return np.array(image.getchannel(0))
    except Exception as error:  # Pillow's readers raise nearly everything on damaged files
        raise FormatError(f"the alpha channel is damaged: {error}") from error


def _alpha_size(data: bytes) -> tuple[int, int] | None:
    """Width and height as the first bytes tell, before memory is taken; None if it is neither of the two forms."""
    if data.startswith(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR") and data[24:26] == b"\x08\0":  # 8-bit gray
        return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    if data[:4] == b"RIFF" and data[8:16] == b"WEBPVP8L" and data[20:21] == b"\x2f":
        sizes = int.from_bytes(data[21:25], "little")
        return (sizes & 0x3FFF) + 1, (sizes >> 14 & 0x3FFF) + 1
    return None
