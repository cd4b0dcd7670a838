"""Pictures side by side, with captions: what `hcodec demo` and `hcodec inspect` write."""

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
    tile_width, _ = size = tile_size(height, width)
    detail = _detail(pictures[-1][2], tile_width, min(tile_width, height)) if width > _TILE_PX else None
    return sheet([(title, line, _tiles(pixels, size, detail)) for title, line, pixels in pictures])


def tile_size(height: int, width: int) -> tuple[int, int]:
    """The width and height at which a picture is shown."""
    tile_width = min(_TILE_PX, width)
    return tile_width, max(1, round(height * tile_width / width))


def _tiles(pixels: Pixels, size: tuple[int, int], detail: tuple[slice, slice] | None) -> list[Image.Image]:
    """A picture reduced, and a detail of it at full size."""
    whole = reduced(pixels, size)
    return [whole] if detail is None else [whole, Image.fromarray(pixels[detail])]


def reduced(pixels: Pixels, size: tuple[int, int]) -> Image.Image:
    """A picture at the size of a tile."""
    return Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)


def sheet(columns: Sequence[tuple[str, str, Sequence[Image.Image]]]) -> Image.Image:
    """Columns side by side, each (title, line below it, tiles below each other); tiles of one row have one size."""
    tiles = columns[0][2]
    pitch = max(tiles[0].width, 150) + _GAP_PX
    height = _CAPTION_PX + sum(tile.height + _GAP_PX for tile in tiles)
    made = Image.new("RGB", (_GAP_PX + pitch * len(columns), height), _PAPER)
    for index, (title, line, column) in enumerate(columns):
        left, top = _GAP_PX + pitch * index, _CAPTION_PX
        _write_caption(made, left, title, line)
        for tile in column:
            made.paste(tile, (left, top))
            top += tile.height + _GAP_PX
    return made


def _write_caption(made: Image.Image, left: int, title: str, line: str) -> None:
    draw = ImageDraw.Draw(made)
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
