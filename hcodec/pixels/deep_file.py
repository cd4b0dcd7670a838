"""PNG and TIFF files of 16 bits a sample; Pillow writes those of gray only.

Room: pixels, below `picture` (decode step 9). Imports numpy, zlib, `writing` and what Pillow has for parts of such files.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from io import BytesIO

import numpy as np
from PIL.PngImagePlugin import putchunk
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from hcodec.pixels import writing
from hcodec.pixels.deep import Deep
from hcodec.pixels.metadata import INCH_M, UNITS, Metadata

FORMATS = ("PNG", "TIFF")
_PNG_COLOR = (0, 4, 2, 6)  # color types by number of channels
_UP = 2  # PNG filter: the difference from the sample above
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262  # TIFF tags
_OFFSETS, _CHANNELS, _ROWS, _COUNTS, _EXTRA, _XMP, _ICC = 273, 277, 278, 279, 338, 700, 34675
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT, _WHITE_POINT, _PRIMARIES = 282, 283, 296, 318, 319
_INCH = 2
_DEFLATE, _NOT_PREMULTIPLIED, _BYTE, _UNDEFINED = 8, 2, 1, 7  # and their values and types


def encode(samples: Deep, image_format: str, metadata: Metadata) -> bytes:
    """Returns samples (H, W, 1 to 4) as a file, "PNG" or "TIFF", with the metadata that `left_out` does not name."""
    return _png(samples, metadata) if image_format == "PNG" else _tiff(samples, metadata)


def left_out(metadata: Metadata, image_format: str) -> list[str]:
    """Returns the names of what such a file is written without."""
    exif = ["Exif"] if metadata.exif and image_format == "TIFF" else []
    return exif + writing.options(replace(metadata, exif=b"") if exif else metadata, image_format)[1]


def _png(samples: Deep, metadata: Metadata) -> bytes:
    height, width, channels = samples.shape
    rows = samples.astype(">u2").reshape(height, -1).view(np.uint8)
    filtered = np.full((height, rows.shape[1] + 1), _UP, dtype=np.uint8)
    filtered[0, 1:], filtered[1:, 1:] = rows[0], rows[1:] - rows[:-1]
    file = BytesIO(b"\x89PNG\r\n\x1a\n")
    file.seek(0, 2)
    putchunk(file, b"IHDR", struct.pack(">IIBBBBB", width, height, 16, _PNG_COLOR[channels - 1], 0, 0, 0))
    if metadata.icc:
        putchunk(file, b"iCCP", b"ICC Profile\0\0", zlib.compress(metadata.icc))
    if metadata.exif:
        putchunk(file, b"eXIf", metadata.exif)
    if metadata.density and metadata.density.unit:
        putchunk(file, b"pHYs", struct.pack(">IIB", *metadata.density))
    for tag, payload, *_ in writing.options(metadata, "PNG")[0]["pnginfo"].chunks:  # color, XMP and texts
        putchunk(file, tag, payload)
    putchunk(file, b"IDAT", zlib.compress(filtered.tobytes()))
    putchunk(file, b"IEND", b"")
    return file.getvalue()


def _tiff(samples: Deep, metadata: Metadata) -> bytes:
    height, width, channels = samples.shape
    strip = zlib.compress(samples.astype("<u2").tobytes())
    tags = ImageFileDirectory_v2(prefix=b"II")
    tags[_WIDTH], tags[_HEIGHT], tags[_BITS] = width, height, (16,) * channels
    tags[_COMPRESSION], tags[_PHOTOMETRIC], tags[_CHANNELS] = _DEFLATE, 1 if channels < 3 else 2, channels
    tags[_OFFSETS], tags[_ROWS], tags[_COUNTS] = 0, height, len(strip)  # Pillow puts in where the tags end
    if channels % 2 == 0:
        tags[_EXTRA] = _NOT_PREMULTIPLIED
    for tag, kind, value in ((_ICC, _UNDEFINED, metadata.icc), (_XMP, _BYTE, metadata.xmp)):
        if value:
            tags.tagtype[tag] = kind
            tags[tag] = value
    _add_facts(tags, metadata)
    file = BytesIO()
    tags.save(file)
    return file.getvalue() + strip


def _add_facts(tags: ImageFileDirectory_v2, metadata: Metadata) -> None:
    """Adds resolution and chromaticities."""
    if metadata.density and metadata.density.unit:
        tags[_X_RESOLUTION], tags[_Y_RESOLUTION] = metadata.density.x * INCH_M, metadata.density.y * INCH_M
        tags[_RESOLUTION_UNIT] = _INCH
    if metadata.chromaticities:
        values = [value / UNITS for value in metadata.chromaticities]
        tags[_WHITE_POINT], tags[_PRIMARIES] = tuple(values[:2]), tuple(values[2:])
