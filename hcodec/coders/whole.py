"""A picture as a whole to bytes and back, without a network: few colors, or an image file, whichever is shorter.

Room: coders. Above `colors` and `stored`. FORMAT.md, "Whole pictures".
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features
from PIL.WebPImagePlugin import WebPImageFile

from hcodec.coders import colors, deep, stored
from hcodec.coders.deep import Deep
from hcodec.container import whole
from hcodec.container.whole import Palette, Whole
from hcodec.errors import FormatError, TruncatedError

Samples = NDArray[np.uint8]  # (H, W) or (H, W, 3)
_PREVIEWS = ((224, 30), (160, 25), (112, 20), (80, 15), (56, 10))  # longer side in pixels and quality, the best first
_PREVIEW_SHARE = 0.01  # of the picture's bytes at most
_MAX_PREVIEW_PX = 1024  # format: of a side
_THOROUGH = 1.5  # by how much a thorough attempt at a WebP file is shorter than a quick one, at most
_HOPELESS = 4  # bits a pixel, above which a picture is no drawing, and a thorough attempt takes minutes


@dataclass(frozen=True)
class Shown:
    """What is known of a picture: its samples, and which of them are exact (H, W); the others are those of the preview.

    deep: uint16 (H, W, 1 to 4), if the picture has 16 bits; the samples are these, rounded.
    """

    samples: Samples
    exact: NDArray[np.bool_]
    deep: Deep | None = None


def encode(samples: Samples, palette: Samples | None) -> bytes:
    """Returns a picture, uint8 (H, W) or (H, W, 3); palette: all of its colors, (N) or (N, 3), if there are few, rising."""
    few = palette is not None and (len(palette) == 1 or colors.count_waves(*samples.shape[:2]) <= colors.MAX_WAVES)
    found = [_few_colors(samples, palette)] if few and palette is not None else []
    least = len(found[0].body) if found else math.inf
    quick = stored.encode(samples)
    if len(quick) < _THOROUGH * least:
        hopeless = 8 * len(quick) > _HOPELESS * samples.shape[0] * samples.shape[1]
        plain = quick if hopeless else min(quick, stored.encode(samples, quality=100, method=6), key=len)
        found.append(Whole(b"", plain[0], None, plain[1:]))
    best = min(found, key=lambda way: len(way.pack()))
    return Whole(_preview(samples, int(len(best.body) * _PREVIEW_SHARE)), best.form, best.palette, best.body).pack()


def encode_deep(samples: Deep) -> bytes:
    """Returns a picture of 16 bits, uint16 (H, W, 1 to 4)."""
    body = deep.encode(samples)
    color = rounded(samples)[..., : 1 if samples.shape[2] < 3 else 3]
    preview = _preview(color[..., 0] if color.shape[2] == 1 else np.ascontiguousarray(color), int(len(body) * _PREVIEW_SHARE))
    return Whole(preview, whole.DEEP, None, body).pack()


def rounded(samples: Deep) -> Samples:
    """Returns samples of 16 bits as the nearest ones of 8 bits."""
    return ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8)  # 65535 = 255 * 257


def _few_colors(samples: Samples, palette: Samples) -> Whole:
    planes = palette.reshape(len(palette), -1)
    indices = np.searchsorted(_keys(planes), _keys(samples.reshape(*samples.shape[:2], -1))).astype(np.uint16)
    body = colors.encode(indices, len(palette)) if len(palette) > 1 else b""
    return Whole(b"", whole.COLORS, Palette(planes.shape[1], len(palette), planes.T.tobytes()), body)


def _keys(colors: Samples) -> NDArray[np.int32]:
    """Returns a number for each color (..., 1 or 3)."""
    wide = colors.astype(np.int32)
    return wide[..., 0] if wide.shape[-1] == 1 else wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]


def _preview(samples: Samples, limit: int) -> bytes:
    """Returns the best small picture of at most so many bytes, empty if there is none."""
    if not features.check("webp"):
        return b""
    for side, quality in _PREVIEWS:
        image = Image.fromarray(samples)
        image.thumbnail((side, side), Image.Resampling.BOX)
        file = io.BytesIO()
        image.convert("RGB").save(file, "WEBP", quality=quality, method=6)
        if len(file.getvalue()) <= limit and max(image.size) < max(samples.shape[:2]):
            return file.getvalue()
    return b""


def decode(data: bytes, height: int, width: int, cut: bool = False) -> Shown:
    """Returns a picture, or what its beginning shows. FormatError if it is damaged, TruncatedError if it shows nothing yet."""
    try:
        parts = whole.parse(data)
        if parts.form == whole.COLORS:
            return _decode_colors(parts, height, width, cut)
    except TruncatedError:
        if not cut:
            raise FormatError("the picture is damaged: it ends too soon") from None
        parts = Whole(whole.preview_of(data), whole.FILE, None, b"")
    if cut:
        return Shown(_background(parts.preview, height, width), np.zeros((height, width), dtype=bool))
    if parts.form == whole.DEEP:
        found = deep.decode(parts.body, height, width)
        return Shown(rounded(found[..., : 1 if found.shape[2] < 3 else 3]), np.ones((height, width), dtype=bool), found)
    samples = stored.decode(bytes([parts.form]) + parts.body, height, width)
    return Shown(samples, np.ones((height, width), dtype=bool))


def _decode_colors(parts: Whole, height: int, width: int, cut: bool) -> Shown:
    palette = parts.palette
    if palette is None:
        raise FormatError("the picture is damaged: it has no palette")
    table = np.frombuffer(palette.values, np.uint8).reshape(palette.channels, palette.num_colors).T
    if palette.num_colors == 1:
        indices, exact = np.zeros((height, width), np.uint16), np.ones((height, width), dtype=bool)
    else:
        indices, exact = colors.decode(parts.body, height, width, palette.num_colors, cut)
    if indices.max() >= palette.num_colors:
        raise FormatError("the picture is damaged: it has a color that is not in its palette")
    samples = np.ascontiguousarray(table[indices][..., 0] if palette.channels == 1 else table[indices])
    if not exact.all():
        under = _background(parts.preview, height, width) if parts.preview else np.full((height, width, 3), 128, np.uint8)
        samples = np.where(exact[..., None], samples.reshape(height, width, -1), under)
    return Shown(samples, exact)


def _background(preview: bytes, height: int, width: int) -> Samples:
    """Returns the preview as large as the picture, (H, W, 3). TruncatedError if there is none, FormatError if it is damaged."""
    if not preview:
        raise TruncatedError("the file ends inside its picture, and there is no preview of it")
    sides = np.frombuffer(preview[26:30], "<u2") & 0x3FFF
    if preview[12:16] != b"VP8 " or len(sides) < 2 or max(sides) > _MAX_PREVIEW_PX:
        raise FormatError("the preview is damaged")
    try:
        image = WebPImageFile(io.BytesIO(preview)).convert("RGB")
        return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    except Exception as error:  # Pillow's readers raise nearly everything on damaged files
        raise FormatError(f"the preview is damaged: {error}") from error
