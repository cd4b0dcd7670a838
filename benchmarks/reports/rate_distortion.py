"""Quality against rate: hcodec and its peers as plots, BD-rates, and what each level adds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks import metrics, results
from benchmarks.curves import bdrate
from benchmarks.curves.best_jpeg import NAME as BEST_JPEG
from benchmarks.curves.best_jpeg import best_jpeg
from benchmarks.curves.curve import Curve
from benchmarks.curves.levels import Added, growth
from benchmarks.curves.prefix import LEVELS as OURS
from benchmarks.curves.prefix import whole_file
from benchmarks.reports import tables
from benchmarks.reports.parts import Part
from benchmarks.reports.plots import Frame, Plot, Series, finite

_COLORS = {
    OURS: "#d7192d",
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
"""The curves that are plotted."""
_ANCHORS = (
    *(BEST_JPEG, "jpeg2000", "jpeg2000-layers", "webp", "avif-s8", "avif-s6", "avif-s4", "heic", "jxl-e7"),
    *("jpeg-pillow", "jpeg2000-openjpeg", "bpg-444", "vtm-18", "ctc", "dpict", "mbt2018-mean", "qres-vae", "qarv"),
)
TELLING = (BEST_JPEG, "jpeg2000", "webp", "avif-s6", "jxl-e7", "bpg-444", "vtm-18", "ctc")
"""The anchors of the summary."""
_OF_LEVELS = (BEST_JPEG, "jpeg2000", "avif-s6")
_QUALITIES_DB = (28, 30, 32, 34, 36, 38, 40)


def all_curves(target: Path) -> dict[str, Curve]:
    """The curves of a results folder, the best JPEG, and what others published on these pictures."""
    measured = results.load_curves(target)
    best = best_jpeg(measured)
    num_images = min((len(curve.images) for curve in measured.values()), default=0)
    return results.published(target.name, num_images) | measured | ({best.name: best} if best else {})


def everything(target: Path) -> list[Part]:
    """Both plots, the BD-rates against all anchors, and the rate of every codec at some qualities."""
    curves = all_curves(target)
    parts = [*_quality_plot(target, curves), *_comparison(target, curves, _ANCHORS), *_ms_ssim_plot(target, curves)]
    return [*parts, "Bits per pixel that each codec needs for a mean PSNR:", rates_for_quality(curves.values())] if curves else []


def summary(target: Path) -> list[Part]:
    """One plot, and the BD-rates against the anchors that tell most."""
    curves = all_curves(target)
    return [*_quality_plot(target, curves), *_comparison(target, curves, TELLING)]


def levels(target: Path) -> list[Part]:
    """What each level of hcodec's file adds, and the bits that others need for its PSNR."""
    curves = all_curves(target)
    if OURS not in curves:
        return []
    text = "hcodec's levels, all in one file, and the bits that others need for the same PSNR:"
    return [text, _levels_table(curves[OURS], _named(curves, _OF_LEVELS))]


def _named(curves: dict[str, Curve], names: Iterable[str]) -> list[Curve]:
    return [curves[name] for name in names if name in curves]


# --- tables


def _comparison(target: Path, curves: dict[str, Curve], anchors: Sequence[str]) -> list[Part]:
    if not curves:
        return []
    num_images = max(len(curve.images) for curve in curves.values())
    text = f"{num_images} pictures ({target.name}), 8-bit RGB; rates are bytes of files, qualities are means over pictures."
    if OURS not in curves:
        return [text]
    ours = whole_file(curves) or curves[OURS]
    what = f"Bits of {ours.label} against each codec at equal PSNR (BD-rate, PCHIP over the overlap; less is better):"
    return [text, what, bd_rates(ours, _named(curves, anchors))]


def bd_rates(tested: Curve, anchors: Sequence[Curve]) -> str:
    """Bits of `tested` against each anchor at equal PSNR, as Markdown."""
    rows = [[anchor.label, *tables.comparison(bdrate.compare(tested, anchor)), anchor.origin] for anchor in anchors]
    return tables.markdown(("against", *tables.COMPARISON, "anchor"), rows)


def rates_for_quality(curves: Iterable[Curve]) -> str:
    """Bits per pixel that each codec needs for a mean PSNR, as Markdown, the fewest in the middle of the qualities first."""
    ordered = sorted(curves, key=_rate_in_the_middle)
    rows = [[curve.label, *_rates_at(curve, _QUALITIES_DB), curve.origin] for curve in ordered]
    return tables.markdown(("bpp for", *(f"{quality} dB" for quality in _QUALITIES_DB), "figures"), rows)


def _rate_in_the_middle(curve: Curve) -> float:
    rate = bdrate.rate_at(bdrate.psnr_line(curve), _QUALITIES_DB[len(_QUALITIES_DB) // 2])
    return math.inf if math.isnan(rate) else rate


def _rates_at(curve: Curve, qualities_db: Iterable[float]) -> list[str]:
    line = bdrate.psnr_line(curve)
    return [tables.number(bdrate.rate_at(line, quality), 3) for quality in qualities_db]


def _levels_table(ours: Curve, anchors: Sequence[Curve]) -> str:
    head = ("level", "bpp", "adds (bpp)", "times the level before", "PSNR (dB)", "MS-SSIM (dB)")
    rows = [_level_row(row, ms_ssim) for row, ms_ssim in zip(growth(ours), ours.ms_ssim, strict=True)]
    for anchor in anchors:
        rows = [[*row, rate] for row, rate in zip(rows, _rates_at(anchor, ours.psnr), strict=True)]
    return tables.markdown([*head, *(f"{anchor.label}: bpp" for anchor in anchors)], rows)


def _level_row(row: Added, ms_ssim: float) -> list[str]:
    rates = [tables.number(row.bpp, 3), tables.number(row.added_bpp, 3), tables.number(row.ratio, 2)]
    return [f"{row.level:.0f}", *rates, tables.number(row.psnr, 2), tables.number(metrics.decibel(ms_ssim), 2)]


# --- plots


def _quality_plot(target: Path, curves: dict[str, Curve]) -> list[Plot]:
    points = {name: list(zip(curve.bpp, curve.psnr, strict=True)) for name, curve in curves.items()}
    frame = Frame("Quality at a given rate", "bits per pixel", "PSNR (dB, RGB)", (0.0, 1.6), (22.0, 42.0), note=_note(target))
    return _plot(target / "rd.svg", "PSNR against bits per pixel", _series(curves, points), frame)


def _ms_ssim_plot(target: Path, curves: dict[str, Curve]) -> list[Plot]:
    points = {
        name: [(bpp, metrics.decibel(value)) for bpp, value in zip(curve.bpp, curve.ms_ssim, strict=False)]
        for name, curve in curves.items()
    }
    frame = Frame("MS-SSIM at a given rate", "bits per pixel", "MS-SSIM (dB, RGB)", (0.0, 1.6), (6.0, 24.0), note=_note(target))
    return _plot(target / "rd-ms-ssim.svg", "MS-SSIM against bits per pixel", _series(curves, points), frame)


def _plot(path: Path, alt: str, series: tuple[Series, ...], frame: Frame) -> list[Plot]:
    return [Plot(path, alt, series, frame)] if series else []


def _note(target: Path) -> str:
    return f"{target.name}: means over the pictures; rate = bytes of the file. Dashed: published figures, not run here."


def _series(curves: dict[str, Curve], points: dict[str, list[tuple[float, float]]]) -> tuple[Series, ...]:
    lines = {name: finite(points[name]) for name in _COLORS if name in curves}
    return tuple(_line(curves[name], line) for name, line in lines.items() if len(line) > 1)


def _line(curve: Curve, points: tuple[tuple[float, float], ...]) -> Series:
    ours = curve.name == OURS
    label = "hcodec" if ours else curve.label
    return Series(label, points, _COLORS[curve.name], dashed=bool(curve.source), marked=ours, strong=ours)
