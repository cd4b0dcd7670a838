"""Pictures to image files. Stdlib only until it is asked."""

from __future__ import annotations

import warnings
from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hcodec.pixels.picture import Picture


def file_of(decoded: Picture, pillow_format: str) -> bytes:
    """Returns a picture as an image file in one of Pillow's formats; warns of what it leaves out."""
    from hcodec.errors import HcodecWarning
    from hcodec.pixels import bilevel, deep_file, picture

    if decoded.deep is not None and pillow_format in deep_file.FORMATS:
        data, left_out = deep_file.encode(decoded.deep, pillow_format, decoded.metadata)
        if left_out:
            message = f"left out ({pillow_format} has no place for it): {', '.join(left_out)}"
            warnings.warn(message, HcodecWarning, stacklevel=1)
        return data
    if decoded.deep is not None:
        warnings.warn(f"16-bit samples rounded to 8 bits: {pillow_format} is not written with more", HcodecWarning, stacklevel=1)
    target, image = BytesIO(), picture.to_image(replace(decoded, deep=None))
    is_exact = decoded.exact and pillow_format in bilevel.FORMATS
    picture.save(bilevel.narrowed(image) if is_exact else image, target, pillow_format)
    return target.getvalue()
