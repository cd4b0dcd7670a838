"""PNG and TIFF files of 16 bits a sample; Pillow writes those of gray only.

Room: pixels, below `picture` (decode step 9). Imports numpy, zlib and what Pillow has for parts of such files.
"""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import numpy as np
from PIL.PngImagePlugin import putchunk
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from hcodec.pixels.deep import Deep
from hcodec.pixels.metadata import Metadata

FORMATS = ("PNG", "TIFF")
_PNG_COLOR = (0, 4, 2, 6)  # color types by number of channels
_UP = 2  # PNG filter: the difference from the sample above
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _OFFSETS, _CHANNELS, _ROWS, _COUNTS = (
    256,
    257,
    258,
    259,
    262,
    273,
    277,
    278,
    279,
)
_EXTRA, _ICC, _DEFLATE, _NOT_PREMULTIPLIED = 338, 34675, 8, 2


def encode(samples: Deep, image_format: str, metadata: Metadata) -> bytes:
    """Returns samples (H, W, 1 to 4) as a file, "PNG" or "TIFF", with the metadata that `left_out` does not name."""
    return _png(samples, metadata.icc, metadata.exif) if image_format == "PNG" else _tiff(samples, metadata.icc)


def left_out(metadata: Metadata, image_format: str) -> list[str]:
    """Returns the names of what such a file is written without."""
    found = {"Exif": metadata.exif if image_format == "TIFF" else b"", "XMP": metadata.xmp}
    return [name for name, value in found.items() if value]


def _png(samples: Deep, icc: bytes, exif: bytes) -> bytes:
    height, width, channels = samples.shape
    rows = samples.astype(">u2").reshape(height, -1).view(np.uint8)
    filtered = np.full((height, rows.shape[1] + 1), _UP, dtype=np.uint8)
    filtered[0, 1:], filtered[1:, 1:] = rows[0], rows[1:] - rows[:-1]
    file = BytesIO(b"\x89PNG\r\n\x1a\n")
    file.seek(0, 2)
    putchunk(file, b"IHDR", struct.pack(">IIBBBBB", width, height, 16, _PNG_COLOR[channels - 1], 0, 0, 0))
    if icc:
        putchunk(file, b"iCCP", b"ICC Profile\0\0", zlib.compress(icc))
    if exif:
        putchunk(file, b"eXIf", exif)
    putchunk(file, b"IDAT", zlib.compress(filtered.tobytes()))
    putchunk(file, b"IEND", b"")
    return file.getvalue()


def _tiff(samples: Deep, icc: bytes) -> bytes:
    height, width, channels = samples.shape
    strip = zlib.compress(samples.astype("<u2").tobytes())
    tags = ImageFileDirectory_v2(prefix=b"II")
    tags[_WIDTH], tags[_HEIGHT], tags[_BITS] = width, height, (16,) * channels
    tags[_COMPRESSION], tags[_PHOTOMETRIC], tags[_CHANNELS] = _DEFLATE, 1 if channels < 3 else 2, channels
    tags[_OFFSETS], tags[_ROWS], tags[_COUNTS] = 0, height, len(strip)  # Pillow puts in where the tags end
    if channels % 2 == 0:
        tags[_EXTRA] = _NOT_PREMULTIPLIED
    if icc:
        tags.tagtype[_ICC] = 7
        tags[_ICC] = icc
    file = BytesIO()
    tags.save(file)
    return file.getvalue() + strip
