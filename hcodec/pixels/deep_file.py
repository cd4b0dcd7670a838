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
from PIL.TiffTags import TAGS_V2_GROUPS

from hcodec.pixels import writing
from hcodec.pixels.deep import Deep
from hcodec.pixels.metadata import INCH_M, Metadata

FORMATS = ("PNG", "TIFF")
_PNG_COLOR = (0, 4, 2, 6)  # color types by number of channels
_UP = 2  # PNG filter: the difference from the sample above
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262  # TIFF tags
_OFFSETS, _CHANNELS, _ROWS, _COUNTS, _EXTRA, _ICC = 273, 277, 278, 279, 338, 34675
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 282, 283, 296
_DEFLATE, _NOT_PREMULTIPLIED, _INCH, _UNDEFINED = 8, 2, 2, 7  # and their values and types


def encode(samples: Deep, image_format: str, metadata: Metadata) -> tuple[bytes, list[str]]:
    """Returns samples (H, W, 1 to 4) as a file, "PNG" or "TIFF", and what of the metadata it cannot say, in words."""
    options, left_out = writing.options(metadata, image_format)
    return (_png if image_format == "PNG" else _tiff)(samples, options), left_out


def _png(samples: Deep, options: writing.Options) -> bytes:
    height, width, channels = samples.shape
    rows = samples.astype(">u2").reshape(height, -1).view(np.uint8)
    filtered = np.full((height, rows.shape[1] + 1), _UP, dtype=np.uint8)
    filtered[0, 1:], filtered[1:, 1:] = rows[0], rows[1:] - rows[:-1]
    file = BytesIO(b"\x89PNG\r\n\x1a\n")
    file.seek(0, 2)
    putchunk(file, b"IHDR", struct.pack(">IIBBBBB", width, height, 16, _PNG_COLOR[channels - 1], 0, 0, 0))
    if "icc_profile" in options:
        putchunk(file, b"iCCP", b"ICC Profile\0\0", zlib.compress(options["icc_profile"]))
    if "dpi" in options:
        putchunk(file, b"pHYs", struct.pack(">IIB", *(round(value / INCH_M) for value in options["dpi"]), 1))
    if "exif" in options:
        putchunk(file, b"eXIf", options["exif"].removeprefix(b"Exif\0\0"))
    for tag, content, _ in options["pnginfo"].chunks:
        putchunk(file, tag, content)
    putchunk(file, b"IDAT", zlib.compress(filtered.tobytes()))
    putchunk(file, b"IEND", b"")
    return file.getvalue()


def _tiff(samples: Deep, options: writing.Options) -> bytes:
    if samples.shape[2] == 2:  # which Pillow does not read
        samples = samples[..., [0, 0, 0, 1]]
    height, width, channels = samples.shape
    strip = zlib.compress(samples.astype("<u2").tobytes())
    tags = _tags(options)
    tags[_WIDTH], tags[_HEIGHT], tags[_BITS] = width, height, (16,) * channels
    tags[_COMPRESSION], tags[_PHOTOMETRIC], tags[_CHANNELS] = _DEFLATE, 1 if channels < 3 else 2, channels
    tags[_OFFSETS], tags[_ROWS], tags[_COUNTS] = 0, height, len(strip)  # Pillow puts in where the tags end
    if channels % 2 == 0:
        tags[_EXTRA] = _NOT_PREMULTIPLIED
    file = BytesIO()
    tags.save(file)
    return file.getvalue() + strip


def _tags(options: writing.Options) -> ImageFileDirectory_v2:
    """Returns the tags of metadata, as Pillow writes them for other pictures."""
    tags, given = ImageFileDirectory_v2(prefix=b"II"), options.get("exif", {})
    for tag in given:
        tags[tag] = given.get_ifd(tag) if tag in TAGS_V2_GROUPS else given[tag]
    if "icc_profile" in options:
        tags.tagtype[_ICC] = _UNDEFINED
        tags[_ICC] = options["icc_profile"]
    if "dpi" in options:
        (tags[_X_RESOLUTION], tags[_Y_RESOLUTION]), tags[_RESOLUTION_UNIT] = options["dpi"], _INCH
    return tags
