"""What each step from the trained float network to the file costs."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from benchmarks import results
from benchmarks.reports import tables
from benchmarks.reports.parts import Part


def parts(target: Path) -> list[Part]:
    """BD-rate of each step against the one before, by band, and of all steps so far."""
    found = results.read(target / results.INTEGERS)
    if not found:
        return []
    rows = [
        [f"{before} → {step}", *(tables.percent(rate, 2) for rate in found["bd-rate"][step].values())]
        for before, step in pairwise(found["steps"])
    ]
    text = f"BD-rate of each step from the trained network to the file, {found['pictures']} pictures ({target.name}):"
    return [text, tables.markdown(("step", "BD-rate", *tables.BANDS, "all steps so far"), rows)]
