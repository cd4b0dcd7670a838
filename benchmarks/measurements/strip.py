"""The picture strip: what a person sees of one photograph after 2, 5, 10, 25 and 50 kB, one row for each codec.

The pictures are for looking at; the numbers are in the result files.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.images import Photo, Pixels, read
from benchmarks.metrics import psnr
from benchmarks.peers import NothingYetError, Peer

BUDGETS_BYTES = (2000, 5000, 10000, 25000, 50000)
_FAVORITES = ("kodim23", "kodim15", "kodim04")
_TILE_PX = 330  # longer side of one picture of the strip
_PART = 0.62  # of each side of the photograph that is shown, so that detail can be seen
_HEAD_PX, _FOOT_PX, _GAP_PX = 34, 26, 8
_SIDE_PX = 150
_INK, _PALE = (30, 30, 30), (235, 235, 235)


def favorite(photos: Sequence[Photo]) -> int:
    """Index of the photograph to show: a well-known one, else the first."""
    names = [photo.name for photo in photos]
    return next((names.index(name) for name in _FAVORITES if name in names), 0)


def draw(photo: Photo, peers: Sequence[Peer], path: Path) -> None:
    """Writes the strip to `path`, a row for each of `peers` whose one file has many qualities."""
    original = read(photo.path)
    scale = _TILE_PX / max(original.shape[:2])
    size = (round(original.shape[1] * scale), round(original.shape[0] * scale))
    rows = [peer for peer in peers if peer.stream]
    width = _SIDE_PX + len(BUDGETS_BYTES) * (size[0] + _GAP_PX)
    height = _HEAD_PX + len(rows) * (size[1] + _FOOT_PX)
    sheet = Image.new("RGB", (width, height), "white")
    _write_heads(sheet, size[0])
    for index, peer in enumerate(rows):
        _draw_row(sheet, peer, original, size, _HEAD_PX + index * (size[1] + _FOOT_PX))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, optimize=True)


def _write_heads(sheet: Image.Image, tile_width: int) -> None:
    canvas = ImageDraw.Draw(sheet)
    for column, budget in enumerate(BUDGETS_BYTES):
        place = (_left(column, tile_width) + tile_width // 2, _HEAD_PX // 2)
        canvas.text(place, f"{budget / 1000:g} kB", _INK, ImageFont.load_default(17), anchor="mm")


def _left(column: int, tile_width: int) -> int:
    return _SIDE_PX + column * (tile_width + _GAP_PX)


def _draw_row(sheet: Image.Image, peer: Peer, original: Pixels, size: tuple[int, int], top: int) -> None:
    canvas = ImageDraw.Draw(sheet)
    label = "\n".join(_wrapped(peer.label))
    canvas.multiline_text((8, top + size[1] // 2), label, _INK, ImageFont.load_default(15), anchor="lm")
    whole = peer.encode(original, peer.typical)
    for column, budget in enumerate(BUDGETS_BYTES):
        left = _left(column, size[0])
        tile, caption = _tile(peer, whole, budget, original, size)
        sheet.paste(tile, (left, top))
        place = (left + size[0] // 2, top + size[1] + _FOOT_PX // 2)
        canvas.text(place, caption, _INK, ImageFont.load_default(13), anchor="mm")


def _wrapped(text: str, length: int = 17) -> list[str]:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) > length:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def _tile(peer: Peer, whole: bytes, budget: int, original: Pixels, size: tuple[int, int]) -> tuple[Image.Image, str]:
    if peer.stream is None:
        raise ValueError(f"{peer.name} does not make one file of many qualities")
    try:
        decoded = peer.decode(peer.stream.cut(whole, budget))
    except NothingYetError:
        return Image.new("RGB", size, _PALE), "nothing yet"
    height, width = decoded.shape[:2]
    low, high = (1 - _PART) / 2, (1 + _PART) / 2
    middle = (width * low, height * low, width * high, height * high)
    image = Image.fromarray(np.ascontiguousarray(decoded)).resize(size, Image.Resampling.LANCZOS, middle)
    caption = f"{psnr(original, decoded):.1f} dB"
    return image, caption if budget < len(whole) else f"{caption} (whole, {len(whole) / 1000:.0f} kB)"
