"""What each level of a file adds to the levels before it, as means over pictures."""

from __future__ import annotations

import math
from dataclasses import dataclass

from benchmarks.curves.curve import Curve

MIN_RATIO, MAX_RATIO = 1.4, 2.5
"""What each level should add, in bits of the level before: with less it is hardly there, with more it is too coarse a step."""


@dataclass(frozen=True)
class Added:
    """What a level brings beside the levels before, in bits per pixel and dB; `ratio`: its bits over the last level's."""

    level: float
    bpp: float
    added_bpp: float
    ratio: float
    psnr: float
    added_db: float


def growth(levels: Curve) -> list[Added]:
    """What each level adds; the first has no ratio and no dB to compare with (NaN)."""
    rows, bpp_before, added_before, psnr_before = [], 0.0, math.nan, math.nan
    for level, bpp, psnr in zip(levels.settings, levels.bpp, levels.psnr, strict=True):
        added = bpp - bpp_before
        rows.append(Added(level, bpp, added, added / added_before, psnr, psnr - psnr_before))
        bpp_before, added_before, psnr_before = bpp, added, psnr
    return rows


def uneven(levels: Curve) -> list[float]:
    """The levels that add less than 1.4 or more than 2.5 times the bits of the one before."""
    return [row.level for row in growth(levels)[1:] if not MIN_RATIO <= row.ratio <= MAX_RATIO]
