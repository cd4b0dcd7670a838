"""`python -m benchmarks integers CHECKPOINT FOLDER`: what each step from the trained float network to the file costs.

The curve of the float network, of the integers made from it, of the coder's tables, of layers and of whole files, each
against the step before, as BD-rate: so that a loss can be told from its neighbors.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import click

from benchmarks import bdrate, prefix, session, tables
from benchmarks.images import Photo, read
from benchmarks.images import folder as image_folder
from benchmarks.inside_steps import STEPS, Points, steps
from benchmarks.results import COLUMNS, Curve, averaged

FILE = "integers.json"
MAX_PERCENT = 1.0
"""What the integers may cost against the floats, in per cent of BD-rate."""


def run(checkpoint: Path, folder: Path, target: Path, limit: int | None, model: str) -> bool:
    """Measures the pictures of `folder`, writes `target/integers.json`; returns whether the integers cost too much."""
    photos = image_folder(folder, limit)
    found: dict[str, Mapping[str, Points]] = {}
    with session.progress("steps", len(photos)) as advance:
        for photo in photos:
            found[photo.name] = steps(checkpoint, model, read(photo.path))
            advance()
    curves = {step: _curve(step, photos, found) for step in STEPS}
    target.mkdir(parents=True, exist_ok=True)
    (target / FILE).write_text(json.dumps(document(curves), indent=1) + "\n")
    click.echo(table(curves))
    return not cost(curves) <= MAX_PERCENT


def _curve(step: str, photos: list[Photo], found: Mapping[str, Mapping[str, Points]]) -> Curve:
    images = {}
    for photo in photos:
        bits, qualities = zip(*found[photo.name][step], strict=True)
        unknown = [math.nan] * len(bits)
        rates = [value / photo.num_px for value in bits]
        images[photo.name] = dict.fromkeys(COLUMNS, unknown) | {"bpp": rates, "psnr-rgb": list(qualities)}
    settings = tuple(float(level) for level in range(1, len(bits) + 1))
    return averaged(Curve(step, STEPS[step], "", settings, images))


def cost(curves: Mapping[str, Curve]) -> float:
    """BD-rate in per cent of the integers against the floats; NaN where they share no half decibel."""
    delta = prefix.against(curves["integers"], curves["floats"])["overall"]
    return delta.percent if delta else math.nan


def document(curves: Mapping[str, Curve]) -> dict[str, object]:
    """What `integers.json` holds: the mean points of each step, and its BD-rates against the step before and the floats."""
    rows = {}
    for before, step in pairwise(curves):
        deltas = prefix.against(curves[step], curves[before])
        total = prefix.against(curves[step], curves["floats"])["overall"]
        rows[step] = {name: _percent(delta) for name, delta in deltas.items()} | {"against floats": _percent(total)}
    points = {
        step: {"bpp": [round(bpp, 6) for bpp in curve.bpp], "psnr": [round(psnr, 4) for psnr in curve.psnr]}
        for step, curve in curves.items()
    }
    return {"pictures": len(curves["floats"].images), "steps": STEPS, "points": points, "bd-rate": rows}


def _percent(delta: bdrate.Delta | None) -> float | None:
    return round(delta.percent, 3) if delta else None


def table(curves: Mapping[str, Curve]) -> str:
    """BD-rate of each step against the one before, by band, and of all steps so far, as Markdown."""
    head = ("step", "BD-rate", *prefix.BANDS, "all steps so far", "picture by picture")
    rows = []
    for before, step in pairwise(curves):
        deltas = prefix.against(curves[step], curves[before])
        total = prefix.against(curves[step], curves["floats"])["overall"]
        each = bdrate.mean_of_pictures(curves[step], curves[before])
        cells = [tables.percent(delta, 2) for delta in (*deltas.values(), total)]
        rows.append([f"{before} → {step}", *cells, tables.signed(each, 2)])
    return tables.markdown(head, rows)
