"""`python -m benchmarks progressive FOLDER`: quality against *received bytes of one file*, and what a person sees by then.

Every codec writes one file for each picture. After each number of bytes the download is interrupted and decoded as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import click

from benchmarks import peers, plots, results, session, strip, tables
from benchmarks.images import folder as image_folder
from benchmarks.peers import Peer, Stream
from benchmarks.plots import Drawing, Frame, Series
from benchmarks.results import Curve

BUDGETS_BYTES = (500, 1000, 1500, 2000, 3000, 5000, 7000, 10000, 15000, 20000, 30000, 50000, 70000, 100000, 150000)
SUBFOLDER = "progressive"
_COLORS = {
    "hcodec-received": "#d7192d",
    "jpeg2000-layers": "#1d4ed8",
    "jpeg-scans": "#6b7280",
    "jxl-progressive": "#15803d",
}


@dataclass(frozen=True)
class BudgetSteps:
    """The budgets up to the size of a file, and the whole file at every budget beyond."""

    budgets: tuple[int, ...]

    def __call__(self, data: bytes) -> Mapping[float, int]:
        """Budget -> bytes received by then."""
        return {float(budget): min(budget, len(data)) for budget in self.budgets}


def run(folder: Path, target: Path, names: tuple[str, ...], limit: int | None, num_workers: int) -> bool:
    """Measures the pictures of `folder`, writes results under `target`; returns whether any codec was found wrong."""
    found = peers.progressive()
    chosen = session.choose(found, names)
    photos = image_folder(folder, limit)
    curves = session.run(photos, [interrupted(peer) for peer in chosen], num_workers)
    for curve in curves.values():
        results.write(curve, target / SUBFOLDER)
    if not names:
        session.remember_absent(found, target / SUBFOLDER)
    report(target)
    strip.draw(photos[strip.favorite(photos)], chosen, target / "strip")
    return session.report_faults(curves)


def interrupted(peer: Peer) -> Peer:
    """The codec, stopped after each budget instead of at its own steps."""
    if peer.stream is None:
        raise ValueError(f"{peer.name} does not make one file of many qualities")
    settings = tuple(float(budget) for budget in BUDGETS_BYTES)
    return replace(peer, settings=settings, stream=Stream(BudgetSteps(BUDGETS_BYTES), peer.stream.cut), with_ms_ssim=False)


def report(target: Path) -> None:
    """Plots into the results folder and prints the table, from its result files."""
    curves = results.load_folder(target / SUBFOLDER)
    series, frame = drawing(target.name, curves)
    if series:
        plots.draw(series, frame, target / "progressive")
    click.echo(table(curves))


def table(curves: dict[str, Curve]) -> str:
    """Mean PSNR of each codec after each number of bytes, as Markdown."""
    head = ("received", *(_bytes(budget) for budget in BUDGETS_BYTES))
    rows = [[curve.label, *_cells(curve)] for curve in curves.values()]
    return tables.markdown(head, rows)


def _bytes(budget: float) -> str:
    return f"{budget / 1000:g} kB"


def _cells(curve: Curve) -> list[str]:
    known = dict(zip(curve.settings, curve.psnr, strict=True))
    return [f"{known[budget]:.1f}" if budget in known else "–" for budget in BUDGETS_BYTES]


def drawing(dataset: str, curves: dict[str, Curve]) -> Drawing:
    """The lines and the frame of the plot."""
    series = [
        Series(curves[name].label, points, color, marked=True, strong=name == "hcodec-received")
        for name, color in _COLORS.items()
        if name in curves and (points := plots.finite(_points(curves[name])))
    ]
    frame = Frame(
        title="Quality while one file arrives",
        x_label="kB received",
        y_label="PSNR (dB, RGB)",
        x_range=(0.45, 160.0),
        y_range=(12.0, 48.0),
        y_step=4.0,
        log_x=True,
        x_ticks=(0.5, 1, 2, 5, 10, 20, 50, 100),
        note=f"{dataset}: means over the pictures, from the first number of bytes that shows something of every one.",
    )
    return series, frame


def _points(curve: Curve) -> list[tuple[float, float]]:
    """kB received and PSNR, up to where every file has arrived."""
    num_points = next((index + 1 for index, psnr in enumerate(curve.psnr) if psnr == curve.psnr[-1]), 0)
    return [(budget / 1000, psnr) for budget, psnr in zip(curve.settings, curve.psnr, strict=True)][:num_points]
