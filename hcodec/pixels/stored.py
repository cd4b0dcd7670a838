"""Pictures as ordinary lossless files, one after the other: the chain of an archive that needs no model.

Room: pixels: to bytes without a network, beside `alpha`. It has the two functions that every kind of chain has, and
is what a chain must be shorter than to be kept. Described in FORMAT.md. Imports numpy, Pillow, `header` and `errors`
only.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from hcodec.container.header import MAX_VARINT_BYTES, pack_varint
from hcodec.errors import FormatError

_GRAY_SAMPLES, _RGB_SAMPLES, _FILE = 0, 1, 2  # format: forms of a picture
_MAX_WEBP_SIDE_PX = 16383
_PNG_START = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
_PNG_KINDS = (b"\x08\0", b"\x08\2")  # 8-bit gray, 8-bit RGB


def encode(pixels: NDArray[np.uint8]) -> bytes:
    """One picture, uint8 (H, W) or (H, W, 3): its samples as they are, or a WebP file (PNG if too wide) if shorter."""
    file = io.BytesIO()
    image = Image.fromarray(pixels)
    if max(image.size) <= _MAX_WEBP_SIDE_PX and features.check("webp"):
        image.save(file, "WEBP", lossless=True, quality=75, method=4)  # more effort: 1 % less for 3 to 20 times the time
    else:
        image.save(file, "PNG", optimize=True)
    packed = file.getvalue()
    if len(packed) < pixels.size:
        return bytes((_FILE,)) + pack_varint(len(packed)) + packed
    return bytes((_GRAY_SAMPLES if pixels.ndim == 2 else _RGB_SAMPLES,)) + pixels.tobytes()


def fast_size(pixels: NDArray[np.uint8]) -> int:
    """How many bytes a quick attempt at `encode` takes, where its file is a WebP file; the samples' own size otherwise."""
    if max(pixels.shape[:2]) > _MAX_WEBP_SIDE_PX or not features.check("webp"):
        return pixels.size
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", lossless=True, quality=0, method=1)
    return len(file.getvalue())


def encode_chain(pixels: Sequence[NDArray[np.uint8]], _model: str = "") -> bytes:
    """Pictures, uint8 (H, W) or (H, W, 3), one after the other. There is no model."""
    return b"".join(map(encode, pixels))


def decode_chain(data: bytes, sizes: Sequence[tuple[int, int]], _model: str = "") -> list[NDArray[np.uint8]]:
    """The pictures of `encode_chain`, of the given heights and widths, uint8 (H, W) or (H, W, 3).

    What was gray may come back as three equal planes. Raises FormatError if the bytes are anything else.
    """
    pictures, position = [], 0
    for height, width in sizes:
        pixels, position = _decode(data, position, height, width)
        pictures.append(pixels)
    if position != len(data):
        raise FormatError("a stored picture is damaged: there are bytes after the last one")
    return pictures


def _decode(data: bytes, position: int, height: int, width: int) -> tuple[NDArray[np.uint8], int]:
    """The picture at `position`, and the position after it."""
    form = data[position : position + 1]
    if form == bytes((_FILE,)):
        num_bytes, start = _parse_length(data, position + 1)
        return _decode_file(_cut(data, start, num_bytes), height, width), start + num_bytes
    shape = {_GRAY_SAMPLES: (height, width), _RGB_SAMPLES: (height, width, 3)}.get(int.from_bytes(form or b"\xff", "little"))
    if shape is None:
        raise FormatError("a stored picture is damaged: it has no known form")
    samples = np.frombuffer(_cut(data, position + 1, int(np.prod(shape))), np.uint8)
    return samples.reshape(shape).copy(), position + 1 + samples.size


def _parse_length(data: bytes, position: int) -> tuple[int, int]:
    """The varint at `position`, and the position after it."""
    value = 0
    for index, byte in enumerate(data[position : position + MAX_VARINT_BYTES]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, position + index + 1
    raise FormatError("a stored picture is damaged: its length does not end")


def _cut(data: bytes, start: int, num_bytes: int) -> bytes:
    if start + num_bytes > len(data):
        raise FormatError("a stored picture is damaged: it is longer than its segment")
    return data[start : start + num_bytes]


def _decode_file(data: bytes, height: int, width: int) -> NDArray[np.uint8]:
    if _file_size(data) != (width, height):
        raise FormatError("a stored picture is damaged: it has another size or form")
    try:
        # the classes themselves, not Image.open: the size is known to be right, Pillow's own limit must not refuse it
        image = (PngImageFile if data[:1] == b"\x89" else WebPImageFile)(io.BytesIO(data))
        image.load()
        return np.array(image if image.mode == "L" else image.convert("RGB"))
    except Exception as error:  # Pillow's readers raise nearly everything on damaged files
        raise FormatError(f"a stored picture is damaged: {error}") from error


def _file_size(data: bytes) -> tuple[int, int] | None:
    """Width and height as the first bytes tell, before memory is taken; None if it is neither of the two forms."""
    if data.startswith(_PNG_START) and data[24:26] in _PNG_KINDS:
        return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    if data[:4] == b"RIFF" and data[8:16] == b"WEBPVP8L" and data[20:21] == b"\x2f":
        sizes = int.from_bytes(data[21:25], "little")
        return (sizes & 0x3FFF) + 1, (sizes >> 14 & 0x3FFF) + 1
    return None
