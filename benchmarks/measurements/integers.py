"""What each step from the trained float network to the file costs, as BD-rate: so that each loss has its place.

The curves of the float network, of the integers made from it, of the coder's tables, of layers and of whole files, each against
the one before.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

from benchmarks import results
from benchmarks.curves.bdrate import BANDS_DB, Delta, compare
from benchmarks.curves.curve import Curve, from_levels
from benchmarks.images import read
from benchmarks.measurements.inside import STEPS, Points, steps
from benchmarks.measurements.progress import each
from benchmarks.measurements.task import Task

MAX_PERCENT = 1.0
"""What the integers may cost against the floats, in per cent of BD-rate."""


def run(task: Task, checkpoint: Path, model: str) -> bool:
    """Measures a model and its training checkpoint, writes `integers.json`; returns whether the integers cost too much."""
    found: dict[str, dict[str, Points]] = {step: {} for step in STEPS}
    for photo in each("steps", task.photos):
        for step, points in steps(checkpoint, model, read(photo.path)).items():
            found[step][photo.name] = [(bits / photo.num_px, psnr) for bits, psnr in points]
    curves = {step: from_levels(step, text, found[step]) for step, text in STEPS.items()}
    results.write(document(curves), task.target / results.INTEGERS)
    integers = compare(curves["integers"], curves["floats"]).overall
    return integers is None or integers.percent > MAX_PERCENT


def document(curves: Mapping[str, Curve]) -> dict[str, object]:
    """What `integers.json` holds: the mean points of each step, and its BD-rates against the step before and the floats."""
    points = {
        step: {"bpp": [round(bpp, 6) for bpp in curve.bpp], "psnr": [round(psnr, 4) for psnr in curve.psnr]}
        for step, curve in curves.items()
    }
    rates = {step: _rates(curves[step], curves[before], curves["floats"]) for before, step in pairwise(curves)}
    return {"pictures": len(curves["floats"].images), "steps": STEPS, "points": points, "bd-rate": rates}


def _rates(curve: Curve, before: Curve, floats: Curve) -> dict[str, float | None]:
    found = compare(curve, before)
    bands = {name: _percent(delta) for name, delta in zip(BANDS_DB, found.bands, strict=True)}
    return {"overall": _percent(found.overall)} | bands | {"against floats": _percent(compare(curve, floats).overall)}


def _percent(delta: Delta | None) -> float | None:
    return round(delta.percent, 3) if delta else None
