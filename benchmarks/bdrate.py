"""Bjontegaard delta rate between two curves: the mean change of bits at equal quality, over what both cover.

PCHIP through (quality, log rate), computed by the `bjontegaard` package; over the whole overlap and in bands of quality,
because one number hides where a codec wins and where it loses.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from bjontegaard import bd_rate
from scipy.interpolate import PchipInterpolator

from benchmarks.results import Curve

BANDS_DB = ((-math.inf, 32.0), (32.0, 36.0), (36.0, math.inf))
_MIN_SPAN_DB = 0.5  # of overlap, below which a mean says nothing
_SAMPLES = 65
Line = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]
"""Rates (bpp) and qualities (dB), both rising."""


@dataclass(frozen=True)
class Delta:
    """`percent`: bits of the tested codec against the anchor's, negative = fewer; `low_db`, `high_db`: the overlap."""

    percent: float
    low_db: float
    high_db: float


def line(rates: Sequence[float], qualities: Sequence[float]) -> Line:
    """The points by rising rate, without those that cost more bits for no better quality."""
    kept: list[tuple[float, float]] = []
    for rate, quality in sorted(zip(rates, qualities, strict=True)):
        if math.isfinite(quality) and (not kept or (rate > kept[-1][0] and quality > kept[-1][1])):
            kept.append((rate, quality))
    array = np.array(kept, np.float64).reshape(-1, 2)
    return array[:, 0], array[:, 1]


def delta(tested: Line, anchor: Line, band: tuple[float, float] = (-math.inf, math.inf)) -> Delta | None:
    """BD-rate of `tested` against `anchor` in the part of `band` (dB) that both cover; None when that is under 0.5 dB."""
    if min(len(tested[0]), len(anchor[0])) < 2:
        return None
    low = max(band[0], tested[1][0], anchor[1][0])
    high = min(band[1], tested[1][-1], anchor[1][-1])
    if high - low < _MIN_SPAN_DB:
        return None
    grid = np.linspace(low, high, _SAMPLES)
    rates = [np.exp(PchipInterpolator(quality, np.log(rate))(grid)) for rate, quality in (anchor, tested)]
    percent = bd_rate(rates[0], grid, rates[1], grid, method="pchip", min_overlap=0)
    return Delta(float(percent), float(low), float(high))


def rate_at(curve: Line, quality_db: float) -> float:
    """Bits per pixel that a curve needs for a quality; NaN outside of it."""
    rates, qualities = curve
    if len(rates) < 2 or not qualities[0] <= quality_db <= qualities[-1]:
        return math.nan
    return float(np.exp(PchipInterpolator(qualities, np.log(rates))(quality_db)))


def quality_at(curve: Line, bpp: float) -> float:
    """Quality in dB that a curve gives at a rate; NaN outside of it."""
    rates, qualities = curve
    if len(rates) < 2 or not rates[0] <= bpp <= rates[-1]:
        return math.nan
    return float(PchipInterpolator(np.log(rates), qualities)(np.log(bpp)))


def psnr_line(curve: Curve) -> Line:
    """Mean PSNR against mean rate."""
    return line(curve.bpp, curve.psnr)


def mean_of_pictures(tested: Curve, anchor: Curve) -> float:
    """BD-rate in per cent picture by picture, averaged: the other way to average; NaN when no picture can be compared."""
    deltas = []
    for photo in set(tested.images) & set(anchor.images):
        ours, theirs = (line(curve.images[photo]["bpp"], curve.images[photo]["psnr-rgb"]) for curve in (tested, anchor))
        if (found := delta(ours, theirs)) is not None:
            deltas.append(found.percent)
    return float(np.mean(deltas)) if deltas else math.nan
