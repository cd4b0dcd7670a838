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

from benchmarks.curves.curve import Columns, Curve

BANDS_DB = {"below 32 dB": (-math.inf, 32.0), "32 to 36 dB": (32.0, 36.0), "above 36 dB": (36.0, math.inf)}
_EVERYWHERE = (-math.inf, math.inf)
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


@dataclass(frozen=True)
class Comparison:
    """One curve against another, in per cent of bits; None or NaN where they share less than half a decibel.

    `overall`, `bands` (in the order of `BANDS_DB`): of the mean curves; `by_picture`: the mean of the pictures' own BD-rates.
    """

    overall: Delta | None
    bands: tuple[Delta | None, ...]
    by_picture: float


def compare(tested: Curve, anchor: Curve) -> Comparison:
    """The BD-rates of `tested` against `anchor`, both ways to average."""
    lines = psnr_line(tested), psnr_line(anchor)
    bands = tuple(delta(*lines, band) for band in BANDS_DB.values())
    return Comparison(delta(*lines), bands, _mean_of_pictures(tested, anchor))


def psnr_line(curve: Curve) -> Line:
    """Mean PSNR against mean rate."""
    return line(curve.bpp, curve.psnr)


def _mean_of_pictures(tested: Curve, anchor: Curve) -> float:
    shared = [name for name in tested.images if name in anchor.images]
    deltas = [delta(_picture_line(tested.images[name]), _picture_line(anchor.images[name])) for name in shared]
    percents = [found.percent for found in deltas if found]
    return float(np.mean(percents)) if percents else math.nan


def _picture_line(columns: Columns) -> Line:
    return line(columns["bpp"], columns["psnr-rgb"])


def line(rates: Sequence[float], qualities: Sequence[float]) -> Line:
    """The points by rising rate, without those that cost more bits for no better quality."""
    kept: list[tuple[float, float]] = []
    for rate, quality in sorted(zip(rates, qualities, strict=True)):
        if math.isfinite(quality) and (not kept or (rate > kept[-1][0] and quality > kept[-1][1])):
            kept.append((rate, quality))
    array = np.array(kept, np.float64).reshape(-1, 2)
    return array[:, 0], array[:, 1]


def delta(tested: Line, anchor: Line, band: tuple[float, float] = _EVERYWHERE) -> Delta | None:
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
