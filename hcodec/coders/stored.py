"""Pictures as ordinary lossless files, one after the other: the chain of an archive that needs no model.

Room: coders: to bytes without a network. It has the functions that every coder of chains has, and is what
a chain must be shorter than to be kept. FORMAT.md, "Stored pictures". Imports numpy, `image_file`, `fields` only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hcodec.container.fields import MAX_LENGTH_BYTES, Cursor, Range, pack_varint
from hcodec.pixels import image_file

if TYPE_CHECKING:
    from hcodec.pixels.picture import Picture

_GRAY_SAMPLES, _RGB_SAMPLES, _FILE = range(3)  # format: forms of a picture
_FORM = Range("form", _GRAY_SAMPLES, _FILE)  # format
_LENGTH = Range("its length", 1, MAX_LENGTH_BYTES)  # format
_QUALITY = 75  # of WebP; more effort: 1 % less for 3 to 20 times the time


def encode(pixels: NDArray[np.uint8], quality: int = _QUALITY, method: int = 4) -> bytes:
    """Returns one picture, uint8 (H, W) or (H, W, 3): its samples as they are, or a lossless file if that is shorter.

    quality, method: as `image_file.encode` takes them.
    """
    packed = image_file.encode(pixels, quality, method)
    if len(packed) < pixels.size:
        return bytes((_FILE,)) + pack_varint(len(packed)) + packed
    return bytes((_GRAY_SAMPLES if pixels.ndim == 2 else _RGB_SAMPLES,)) + pixels.tobytes()


def fast_size(pixels: NDArray[np.uint8]) -> int:
    """Returns how many bytes a quick attempt at `encode` takes, if its file is a WebP file; else the samples' own size."""
    if not image_file.can_be_webp(pixels):
        return pixels.size
    return len(image_file.encode(pixels, quality=0, method=1))


def fits(pictures: Sequence[Picture]) -> str | None:
    """Returns the empty name of no model, with which all pictures can be stored; None if there are none."""
    return "" if pictures else None


def fingerprint(model: str) -> bytes:
    """Returns the empty fingerprint of no model."""
    return model.encode()


def find(fingerprint: bytes) -> str:
    """Returns the empty name of no model."""
    return fingerprint.decode()


def encode_chain(pixels: Sequence[NDArray[np.uint8]], model: str = "") -> bytes:
    """Returns pictures, uint8 (H, W) or (H, W, 3), one after the other. There is no model."""
    return b"".join(map(encode, pixels))


def decode_chain(data: bytes, sizes: Sequence[tuple[int, int]], model: str = "") -> list[NDArray[np.uint8]]:
    """Returns the pictures of `encode_chain`, of the given heights and widths, uint8 (H, W) or (H, W, 3).

    What was gray may come back as three equal planes. Raises FormatError if the bytes are anything else.
    """
    cursor = Cursor(data, "a stored picture")
    pictures = [_decode(cursor, height, width) for height, width in sizes]
    cursor.end()
    return pictures


def decode(data: bytes, height: int, width: int) -> NDArray[np.uint8]:
    """Returns the picture of `encode`, as `decode_chain` does."""
    return decode_chain(data, [(height, width)])[0]


def _decode(cursor: Cursor, height: int, width: int) -> NDArray[np.uint8]:
    form = cursor.byte(_FORM)
    if form == _FILE:
        return image_file.decode(cursor.take(cursor.varint(_LENGTH)), height, width, "a stored picture")
    shape = (height, width) if form == _GRAY_SAMPLES else (height, width, 3)
    return np.frombuffer(cursor.take(math.prod(shape)), np.uint8).reshape(shape).copy()
