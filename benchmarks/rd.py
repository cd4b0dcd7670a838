"""`python -m benchmarks rd FOLDER`: quality against rate, hcodec at every level and at byte cuts, with its peers.

Measures, writes one result file for each codec, then makes plot and tables from the result files alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click

from benchmarks import metrics, peers, plots, prefix, results, session, tables
from benchmarks.best_jpeg import NAME as BEST_JPEG
from benchmarks.best_jpeg import best_jpeg
from benchmarks.images import folder as image_folder
from benchmarks.plots import Drawing, Frame, Series
from benchmarks.results import Curve

_COLORS = {
    "hcodec": "#d7192d",
    BEST_JPEG: "#6b7280",
    "jpeg2000": "#1d4ed8",
    "webp": "#0e8fa8",
    "avif-s4": "#7c3aed",
    "heic": "#be4bdb",
    "jxl-e7": "#15803d",
    "bpg-444": "#a16207",
    "vtm-18": "#111827",
    "qarv": "#ea7317",
    "ctc": "#5f9411",
}
_PLOTTED = tuple(_COLORS)
_ANCHORS = (
    *(BEST_JPEG, "jpeg2000", "jpeg2000-layers", "webp", "avif-s8", "avif-s6", "avif-s4", "heic", "jxl-e7"),
    *("jpeg-pillow", "jpeg2000-openjpeg", "bpg-444", "vtm-18", "ctc", "dpict", "mbt2018-mean", "qres-vae", "qarv"),
)
TESTED = "hcodec"


def run(folder: Path, target: Path, names: tuple[str, ...], limit: int | None, num_workers: int, psnr_only: bool = False) -> bool:
    """Measures the pictures of `folder`, writes results under `target`; returns whether any codec was found wrong."""
    found = peers.rate_distortion()
    chosen = session.choose(found, names)
    if psnr_only:
        chosen = [replace(peer, with_ms_ssim=False) for peer in chosen]
    curves = session.run(image_folder(folder, limit), chosen, num_workers)
    for curve in curves.values():
        results.write(curve, target)
    if not names:
        session.remember_absent(found, target)
    report(target)
    return session.report_faults(curves)


def all_curves(target: Path) -> dict[str, Curve]:
    """The curves of a results folder, the best JPEG, and what others published on these pictures."""
    measured = results.load_folder(target)
    best = best_jpeg(measured)
    num_images = min((len(curve.images) for curve in measured.values()), default=0)
    return results.published(target.name, num_images) | measured | ({best.name: best} if best else {})


def report(target: Path) -> None:
    """Plots into the results folder and prints the tables, all from its result files."""
    curves = all_curves(target)
    for name, (series, frame) in drawings(target.name, curves).items():
        if series:
            plots.draw(series, frame, target / name)
    click.echo(tables.rates_for_quality([curve for curve in curves.values() if curve.bpp]))
    if TESTED in curves:
        click.echo("\n" + tables.bd_rates(curves[TESTED], anchors(curves)))
        click.echo("\n" + tables.levels(curves[TESTED], anchors(curves)[:2]))
    if whole := prefix.report(target, curves):
        click.echo("\n" + whole)


def anchors(curves: dict[str, Curve]) -> list[Curve]:
    """The curves that hcodec is compared with, those that are there."""
    return [curves[name] for name in _ANCHORS if name in curves]


def drawings(dataset: str, curves: dict[str, Curve]) -> dict[str, Drawing]:
    """What is drawn, by file name: lines and frame."""
    note = f"{dataset}: means over the pictures; rate = bytes of the file. Dashed: published figures, not run here."
    frame = Frame("Quality at a given rate", "bits per pixel", "PSNR (dB, RGB)", (0.0, 1.6), (22.0, 42.0), note=note)
    ms_ssim_frame = Frame("MS-SSIM at a given rate", "bits per pixel", "MS-SSIM (dB, RGB)", (0.0, 1.6), (6.0, 24.0), note=note)
    return {
        "rd": (_series(curves, _psnr_points), frame),
        "rd-ms-ssim": (_series(curves, _ms_ssim_points), ms_ssim_frame),
    }


def _psnr_points(curve: Curve) -> list[tuple[float, float]]:
    return list(zip(curve.bpp, curve.psnr, strict=True))


def _ms_ssim_points(curve: Curve) -> list[tuple[float, float]]:
    return [(bpp, metrics.decibel(value)) for bpp, value in zip(curve.bpp, curve.ms_ssim, strict=False)]


def _series(curves: dict[str, Curve], points_of: Callable[[Curve], list[tuple[float, float]]]) -> list[Series]:
    drawn = []
    for name in _PLOTTED:
        points = plots.finite(points_of(curves[name])) if name in curves else ()
        if len(points) > 1:
            ours = name == TESTED
            label = "hcodec" if ours else curves[name].label
            drawn.append(Series(label, points, _COLORS[name], curves[name].is_published(), ours, ours))
    return drawn
