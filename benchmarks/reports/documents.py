"""Documents and screens against exact image files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.reports import tables
from benchmarks.reports.parts import Part

_HEAD = ("picture", "best other", "bytes", "levels", "hcodec", "how", "against the best", "seconds", "best other's")


def parts(target: Path) -> list[Part]:
    """One row for each picture, and what they say together."""
    found: dict[str, Any] = results.read(target / results.DOCUMENTS)
    if not found:
        return []
    rows = [_row(name, row) for name, row in found.items()]
    return [_say(list(found.values())), tables.markdown(_HEAD, rows), _say_looks(list(found.values())), *_deep(target)]


def _deep(target: Path) -> list[Part]:
    """Files of 16 bits a sample."""
    found: dict[str, Any] = results.read(target / results.DEEP) or {}
    rows = [_deep_row(name, row) for name, row in found.items()]
    text = "Samples of 16 bits, 768x512, with `--lossless` (PNG and JPEG XL by Pillow; of color, the PNG of `hcodec decode`):"
    return [text, tables.markdown(("picture", "samples", "PNG", "JPEG XL lossless", "hcodec", "seconds"), rows)] if rows else []


def _deep_row(name: str, row: dict[str, Any]) -> list[str]:
    others = [f"{row['others'][other]['bytes']:,}" if other in row["others"] else "–" for other in ("PNG", "JPEG XL lossless")]
    return [name, f"{row['bytes']:,}", *others, f"{row['hcodec']['bytes']:,}", f"{row['hcodec']['seconds']:.2f}"]


def _row(name: str, row: dict[str, Any]) -> list[str]:
    other, own = _best(row), row["hcodec"]
    best = row["others"][other]
    against = tables.percent(100 * (own["bytes"] / best["bytes"] - 1), 1) if row["stored"] else "not exact"
    return [
        name, other, f"{best['bytes']:,}", f"{row['levels']['bytes']:,}", f"{own['bytes']:,}", row["stored"] or "levels",
        against, f"{own['seconds']:.1f}", f"{best['seconds']:.1f}",
    ]  # fmt: skip


def _best(row: dict[str, Any]) -> str:
    return min(row["others"], key=lambda name: row["others"][name]["bytes"])


def _say(rows: Sequence[dict[str, Any]]) -> str:
    shares = [row["hcodec"]["bytes"] / row["others"][_best(row)]["bytes"] for row in rows if row["stored"]]
    mean, worst = math.exp(sum(map(math.log, shares)) / len(shares)), max(shares)
    return (
        f"{len(rows)} pages, screens and charts, drawn by `benchmarks/drawn`. `hcodec encode` stores {len(shares)} of them "
        f"exactly: {tables.percent(100 * (mean - 1), 0)} bytes (geometric mean; {tables.percent(100 * (worst - 1), 1)} at "
        "worst) against the best of PNG (optimized), WebP lossless (method 6, quality 100), JPEG XL lossless (effort 7) and, "
        "of one bit, CCITT G4. The others are coded in levels, with a loss, which are shorter. Seconds are those of processors:"
    )


def _say_looks(rows: Sequence[dict[str, Any]]) -> str:
    shares = [100 * row["look_seconds"] / row["hcodec"]["seconds"] for row in rows]
    mean = sum(shares) / len(shares)
    return f"Looking at a picture takes {mean:.1f} % of the time of encoding it, {max(shares):.1f} % at most."
