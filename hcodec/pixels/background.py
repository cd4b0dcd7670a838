"""A picture with transparency on a color, for formats and places that have none.

Room: pixels (after decode step 9). Imports numpy, Pillow, `picture` and `errors` only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import ImageColor

from hcodec.errors import HcodecError
from hcodec.pixels.picture import Picture

Color = str | Sequence[int]  # a name or "#ffcc00"; red, green and blue, each 0 .. 255
Rgb = tuple[int, int, int]


def rgb(color: Color) -> Rgb:
    """Returns red, green and blue of a color, each 0 .. 255. Raises HcodecError if it is none, or transparent itself."""
    try:
        red, green, blue = map(int, ImageColor.getrgb(color) if isinstance(color, str) else color)
    except (TypeError, ValueError):
        red = green = blue = -1
    if not all(0 <= value <= 255 for value in (red, green, blue)):
        raise HcodecError(f'the background {color!r} is no color; "white", "#ffcc00" or red, green and blue from 0 to 255 are')
    return red, green, blue


def on_background(picture: Picture, color: Rgb) -> Picture:
    """Returns a picture without its alpha channel, as it looks in front of a color; one without alpha as it is.

    It stays gray if the color is gray, too.
    """
    if picture.alpha is None:
        return picture
    cover = picture.alpha[..., np.newaxis].astype(np.uint16)
    mixed = picture.pixels * cover + np.array(color, np.uint16) * (255 - cover)  # at most 255 * 255
    pixels = ((mixed + 127) // 255).astype(np.uint8)
    return replace(picture, pixels=pixels, alpha=None, deep=None, gray=picture.gray and len(set(color)) == 1)
