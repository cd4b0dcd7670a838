"""What `--effort` saves at equal quality, and the time it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.curves.bdrate import compare
from benchmarks.curves.curve import Curve, from_levels
from benchmarks.reports import tables
from benchmarks.reports.parts import Part


def parts(target: Path) -> list[Part]:
    """BD-rates against the first effort, and seconds per megapixel."""
    found = results.read(target / results.EFFORT)
    if not found:
        return []
    curves = {effort: _curve(effort, files) for effort, files in found["efforts"].items()}
    megapixels = sum(found["megapixels"].values())
    seconds = [sum(file["seconds"] for file in files.values()) / megapixels for files in found["efforts"].values()]
    anchor = next(iter(curves.values()))
    rows = [[*_cells(curve, anchor), f"{spent:.1f}"] for curve, spent in zip(curves.values(), seconds, strict=True)]
    head = ("effort", "BD-rate", *tables.BANDS, "picture by picture", "seconds per megapixel")
    text = f"What `--effort` saves at equal PSNR, {len(found['megapixels'])} pictures, two cores:"
    return [text, tables.markdown(head, rows)]


def _curve(effort: str, files: dict[str, Any]) -> Curve:
    points = {photo: list(zip(file["bpp"], file["psnr"], strict=True)) for photo, file in files.items()}
    return from_levels(effort, effort, points)


def _cells(curve: Curve, anchor: Curve) -> list[str]:
    found = compare(curve, anchor)
    deltas = [tables.delta(delta, 2) for delta in (found.overall, *found.bands)]
    return [curve.label, *deltas, tables.percent(found.by_picture, 2)]
