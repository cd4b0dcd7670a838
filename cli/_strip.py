"""The strip that `hcodec demo` writes: every level side by side, whole and in a detail, with captions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Pixels = NDArray[np.uint8]

_TILE_PX = 320  # the width of a tile: larger pictures are reduced to it, and shown in a detail below at full size
_GAP_PX = 8
_CAPTION_PX = 44
_PAPER, _INK, _FAINT = (250, 250, 248), (30, 30, 30), (110, 110, 110)


def compose(pictures: Sequence[tuple[str, str, Pixels]]) -> Image.Image:
    """The strip of `pictures`, each (title, line below it, uint8 (H, W, 3)), all of one size.

    The last picture decides which detail is shown: where it has most contrast.
    """
    height, width = pictures[-1][2].shape[:2]
    tile_width = min(_TILE_PX, width)
    tile_height = max(1, round(height * tile_width / width))
    detail = _detail(pictures[-1][2], tile_width, min(tile_width, height)) if width > _TILE_PX else None
    column = max(tile_width, 150) + _GAP_PX
    below = 0 if detail is None else detail[0].stop - detail[0].start + _GAP_PX
    strip = Image.new("RGB", (_GAP_PX + column * len(pictures), _CAPTION_PX + tile_height + _GAP_PX + below), _PAPER)
    for index, (title, line, pixels) in enumerate(pictures):
        left = _GAP_PX + column * index
        _write_caption(strip, left, title, line)
        whole = Image.fromarray(pixels).resize((tile_width, tile_height), Image.Resampling.LANCZOS)
        strip.paste(whole, (left, _CAPTION_PX))
        if detail is not None:
            strip.paste(Image.fromarray(pixels[detail]), (left, _CAPTION_PX + tile_height + _GAP_PX))
    return strip


def _write_caption(strip: Image.Image, left: int, title: str, line: str) -> None:
    draw = ImageDraw.Draw(strip)
    draw.text((left, 5), title, fill=_INK, font=ImageFont.load_default(16))
    draw.text((left, 25), line, fill=_FAINT, font=ImageFont.load_default(13))


def _detail(pixels: Pixels, width: int, height: int) -> tuple[slice, slice]:
    """The window of that size with most contrast between neighboring pixels, on a grid of 16 pixels."""
    luma = pixels.astype(np.float64).mean(axis=2)
    contrast = np.abs(np.diff(luma, axis=0, append=luma[-1:])) + np.abs(np.diff(luma, axis=1, append=luma[:, -1:]))
    sums = np.pad(contrast.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    tops = np.arange(0, luma.shape[0] - height + 1, 16)[:, None]
    lefts = np.arange(0, luma.shape[1] - width + 1, 16)[None, :]
    inside = sums[tops + height, lefts + width] - sums[tops, lefts + width] - sums[tops + height, lefts]
    row, column = np.unravel_index(np.argmax(inside + sums[tops, lefts]), inside.shape)
    top, left = int(tops[row, 0]), int(lefts[0, column])
    return slice(top, top + height), slice(left, left + width)
