"""Quality against received bytes of one file, and what a person sees by then."""

from __future__ import annotations

from pathlib import Path

from benchmarks import results
from benchmarks.curves.curve import Curve
from benchmarks.reports import tables
from benchmarks.reports.parts import Part, Picture
from benchmarks.reports.plots import Frame, Plot, Series, finite

_COLORS = {
    "hcodec-received": "#d7192d",
    "jpeg2000-layers": "#1d4ed8",
    "jpeg-scans": "#6b7280",
    "jxl-progressive": "#15803d",
}


def parts(target: Path) -> list[Part]:
    """The plot, the strip of the sample picture, and a table of the same points."""
    curves = results.load_curves(target / results.PROGRESSIVE)
    return [*_plot(target, curves), *strip(target), *_table(curves)]


def strip(target: Path) -> list[Part]:
    """The strip of the picture that `hcodec demo` draws: photographs of others are measured here but not published."""
    path = target.parent / "sample" / "strip.png"
    return [Picture(path, "A picture as its file arrives")] if path.exists() else []


def _table(curves: dict[str, Curve]) -> list[Part]:
    budgets = sorted({budget for curve in curves.values() for budget in curve.settings})
    rows = [[curve.label, *_cells(curve, budgets)] for curve in curves.values()]
    head = ("received", *(f"{budget / 1000:g} kB" for budget in budgets))
    return (
        [
            "PSNR (dB) of what has arrived, means over the pictures where each of them shows something:",
            tables.markdown(head, rows),
        ]
        if rows
        else []
    )


def _cells(curve: Curve, budgets: list[float]) -> list[str]:
    known = dict(zip(curve.settings, curve.psnr, strict=True))
    return [tables.number(known.get(budget, float("nan")), 1) for budget in budgets]


def _plot(target: Path, curves: dict[str, Curve]) -> list[Part]:
    lines = {name: _points(curves[name]) for name in _COLORS if name in curves}
    series = tuple(
        Series(curves[name].label, points, _COLORS[name], marked=True, strong=name == "hcodec-received")
        for name, points in lines.items()
        if points
    )
    frame = Frame(
        title="Quality while one file arrives",
        x_label="kB received",
        y_label="PSNR (dB, RGB)",
        x_range=(0.45, 160.0),
        y_range=(12.0, 48.0),
        y_step=4.0,
        log_x=True,
        x_ticks=(0.5, 1, 2, 5, 10, 20, 50, 100),
        note=f"{target.name}: means over the pictures, from the first number of bytes that shows something of every one.",
    )
    return [Plot(target / "progressive.svg", "PSNR against bytes received", series, frame)] if series else []


def _points(curve: Curve) -> tuple[tuple[float, float], ...]:
    """kB received and PSNR, up to where every file has arrived."""
    num_points = next((index + 1 for index, psnr in enumerate(curve.psnr) if psnr == curve.psnr[-1]), 0)
    return finite([(budget / 1000, psnr) for budget, psnr in zip(curve.settings, curve.psnr, strict=True)][:num_points])
