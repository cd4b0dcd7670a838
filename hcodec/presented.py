"""A decoded picture with what came along with it.

Room: codec (decode step 9).
"""

from __future__ import annotations

import warnings
from dataclasses import replace

from PIL import Image

from hcodec.container import Reader
from hcodec.errors import FormatError, HcodecWarning
from hcodec.mosaic import Rectangle
from hcodec.pixels import picture
from hcodec.pixels.attachments import attach
from hcodec.pixels.picture import Picture
from hcodec.session import Pixels


def picture_of(reader: Reader, pixels: Pixels, strict: bool = False, region: Rectangle | None = None) -> Picture:
    """Returns the Picture of decoded pixels, of the whole or of a region, with the alpha and metadata that the reader has so far.

    Alpha that cannot be decoded is left out with a warning; with strict, FormatError.
    """
    header = reader.known_header()
    size = header.height, header.width
    plain = Picture(picture.equal_planes(pixels) if header.gray else pixels, gray=header.gray)
    inside = (region or Rectangle(0, 0, *size)).inside
    try:
        return attach(plain, reader.attachments, size, inside)
    except FormatError as error:
        if strict:
            raise
        warnings.warn(str(error), HcodecWarning, stacklevel=3)
        return attach(plain, replace(reader.attachments, alpha=b""), size, inside)


def image_of(shown: Picture) -> Image.Image:
    """Returns a decoded picture as a Pillow image; warns of 16-bit samples that Pillow has no mode for."""
    if shown.deep is not None and shown.deep.shape[2] > 1:
        warnings.warn("16-bit samples rounded to 8 bits: decode_picture has them, in `deep`", HcodecWarning, stacklevel=3)
    return picture.to_image(shown)
