"""What all tables share: Markdown, and numbers as text."""

from __future__ import annotations

import math
from collections.abc import Sequence

from benchmarks.curves.bdrate import BANDS_DB, Comparison, Delta

_NOTHING = "–"
BANDS = tuple(name.replace(" to ", "–") for name in BANDS_DB)
COMPARISON = ("BD-rate", *BANDS, "overlap", "picture by picture")
"""Heads of the columns that `comparison` fills."""


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others are numbers."""
    rule = ["---", *(["---:"] * (len(head) - 1))]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *rows))


def comparison(found: Comparison) -> list[str]:
    """The BD-rates of one curve against another: over all, in bands, the overlap, and the mean of the pictures' own."""
    overall = found.overall
    overlap = f"{overall.low_db:.1f}–{overall.high_db:.1f} dB" if overall else "none"
    return [delta(overall), *map(delta, found.bands), overlap, percent(found.by_picture)]


def delta(found: Delta | None, digits: int = 1) -> str:
    """A BD-rate with its sign, or a dash."""
    return percent(found.percent if found else math.nan, digits)


def percent(value: float | None, digits: int = 1) -> str:
    """A number of per cent with its sign, or a dash for None and NaN."""
    unknown = value is None or math.isnan(value)
    return _NOTHING if unknown else f"{value:+.{digits}f} %".replace("-", "−")


def number(value: float, digits: int) -> str:
    """A number, or a dash for what is not finite."""
    return f"{value:.{digits}f}" if math.isfinite(value) else _NOTHING
