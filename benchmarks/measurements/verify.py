"""Catches a codec that is wrong: one that lies about its size, or returns another picture than the one it was given.

Low quality is no fault; a picture that fits better when shifted, flipped or with its colors swapped is.
"""

from __future__ import annotations

import numpy as np

from benchmarks.images import Pixels
from benchmarks.metrics import psnr

_REACH_PX = 2
_MARGIN_DB = 1.0  # coarse pictures may fit a little better one pixel aside; a real shift costs decibels
_MIN_JUDGED_DB = 26.0  # below, a picture is too blurred to say where it lies; its codec is caught at better settings
_WINDOW_PX = 384


def faults(original: Pixels, decoded: Pixels, *, claimed_bytes: int, file_bytes: int, lossless: bool) -> list[str]:
    """What is wrong with one decoded file, one sentence each; empty when all is well.

    `claimed_bytes`: what the codec said that it wrote; `file_bytes`: what the file system says; pixels uint8 (H, W, 3).
    """
    found = []
    if claimed_bytes != file_bytes:
        found.append(f"says {claimed_bytes} bytes, the file has {file_bytes}")
    if decoded.dtype != np.uint8 or decoded.shape != original.shape:
        return [*found, f"returns {decoded.dtype} {decoded.shape}, not uint8 {original.shape}"]
    if lossless:
        return found if np.array_equal(original, decoded) else [*found, "is not lossless"]
    return [*found, *_misplaced(_window(original), _window(decoded))]


def _window(pixels: Pixels) -> Pixels:
    y, x = (max(0, (size - _WINDOW_PX) // 2) for size in pixels.shape[:2])
    return pixels[y : y + _WINDOW_PX, x : x + _WINDOW_PX]


def _misplaced(original: Pixels, decoded: Pixels) -> list[str]:
    straight = psnr(original, decoded)
    rivals = _changed(original, decoded) | _shifted(original, decoded)
    name, best = max(rivals.items(), key=lambda rival: rival[1], default=("", -np.inf))
    return [f"fits {best - straight:.1f} dB better when {name}"] if best > max(straight + _MARGIN_DB, _MIN_JUDGED_DB) else []


def _changed(original: Pixels, decoded: Pixels) -> dict[str, float]:
    versions = {
        "mirrored": decoded[:, ::-1],
        "turned upside down": decoded[::-1],
        "red and blue are swapped": decoded[..., ::-1],
    }
    return {name: psnr(original, version) for name, version in versions.items()}


def _shifted(original: Pixels, decoded: Pixels) -> dict[str, float]:
    height, width = (size - 2 * _REACH_PX for size in original.shape[:2])
    if height < 8 or width < 8:
        return {}
    inner = original[_REACH_PX:-_REACH_PX, _REACH_PX:-_REACH_PX]
    offsets = range(-_REACH_PX, _REACH_PX + 1)
    return {
        f"shifted by ({dx}, {dy}) pixels": psnr(inner, _moved(decoded, dy, dx, height, width))
        for dy in offsets
        for dx in offsets
        if dy or dx
    }


def _moved(decoded: Pixels, dy: int, dx: int, height: int, width: int) -> Pixels:
    y, x = _REACH_PX + dy, _REACH_PX + dx
    return decoded[y : y + height, x : x + width]
