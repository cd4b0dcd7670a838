"""A picture with transparency on a color, for formats and places that have none.

Room: pixels (after decode step 9). Imports numpy, Pillow, `picture` and `errors` only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import ImageColor

from hcodec.errors import HcodecError
from hcodec.pixels.picture import Picture

Color = str | Sequence[int]  # a name or "#ffcc00"; red, green and blue, each 0 .. 255
Rgb = tuple[int, int, int]
S = TypeVar("S", np.uint8, np.uint16)


def rgb(color: Color) -> Rgb:
    """Returns red, green and blue of a color, each 0 .. 255. Raises HcodecError if it is none, or transparent itself."""
    try:
        red, green, blue = map(int, ImageColor.getrgb(color) if isinstance(color, str) else color)
    except (TypeError, ValueError, OverflowError):
        red = green = blue = -1
    if not all(0 <= value <= 255 for value in (red, green, blue)):
        raise HcodecError(f'the background {color!r} is no color; "white", "#ffcc00" or red, green and blue from 0 to 255 are')
    return red, green, blue


def on_background(picture: Picture, color: Rgb) -> Picture:
    """Returns a picture without its alpha channel, as it looks in front of a color; one without alpha as it is.

    It stays gray if the color is gray, too, and keeps samples of 16 bits.
    """
    if picture.alpha is None:
        return picture
    gray = picture.gray and len(set(color)) == 1
    pixels = _mixed(picture.pixels, picture.alpha[..., np.newaxis], np.array(color, np.uint16), np.uint8)
    deep = picture.deep
    if deep is not None:
        wide = np.array(color[:1] if gray else color, np.uint32) * 257  # 255 * 257 = 65535
        deep = _mixed(deep[..., :-1], deep[..., -1:], wide, np.uint16)
    return replace(picture, pixels=pixels, alpha=None, deep=deep, gray=gray)


def _mixed(samples: NDArray[S], alpha: NDArray[S], color: NDArray[Any], kind: type[S]) -> NDArray[S]:
    """Returns samples in front of a color, whose type has room for the square of the largest of them."""
    full = color.dtype.type(np.iinfo(kind).max)
    cover = alpha.astype(color.dtype)
    return ((samples * cover + color * (full - cover) + full // 2) // full).astype(kind)
