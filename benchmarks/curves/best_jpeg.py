"""The best that Pillow's JPEG can do, as one curve: the anchor that a new codec has to answer to.

For each picture and quality the smaller of baseline and progressive (equal pixels), and of 4:2:0 and 4:4:4 the one whose
point lies on the upper hull of both: 4:4:4 where it is above the 4:2:0 curve at its own rate.
"""

from __future__ import annotations

import numpy as np

from benchmarks.curves.curve import Columns, Curve, averaged

NAME = "jpeg-best"
_SOURCES = ("jpeg-420", "jpeg-progressive-420", "jpeg-444", "jpeg-progressive-444")


def best_jpeg(curves: dict[str, Curve]) -> Curve | None:
    """The curve made of the four JPEG curves, or None when one of them is missing."""
    if any(name not in curves for name in _SOURCES):
        return None
    sources = [curves[name] for name in _SOURCES]
    photos = set.intersection(*(set(curve.images) for curve in sources))
    images = {photo: _one_picture(*(curve.images[photo] for curve in sources)) for photo in sorted(photos)}
    faults = tuple(line for curve in sources for line in curve.faults)
    label = "JPEG, best of 4:2:0 / 4:4:4"
    return averaged(Curve(NAME, label, sources[0].version, sources[0].settings, images, faults))


def _one_picture(baseline_420: Columns, progressive_420: Columns, baseline_444: Columns, progressive_444: Columns) -> Columns:
    subsampled, full = _smaller(baseline_420, progressive_420), _smaller(baseline_444, progressive_444)
    rivals = np.interp(np.log(full["bpp"]), np.log(subsampled["bpp"]), subsampled["psnr-rgb"])
    full_wins = np.array(full["psnr-rgb"]) > rivals
    return _merge(full_wins, full, subsampled)


def _smaller(baseline: Columns, progressive: Columns) -> Columns:
    return _merge(np.array(progressive["bpp"]) < np.array(baseline["bpp"]), progressive, baseline)


def _merge(choice: np.ndarray[tuple[int], np.dtype[np.bool_]], yes: Columns, no: Columns) -> Columns:
    return {column: np.where(choice, yes[column], no[column]).tolist() for column in yes}
