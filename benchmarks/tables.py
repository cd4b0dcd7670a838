"""Result tables as Markdown, made from curves."""

from __future__ import annotations

import math
from collections.abc import Sequence

from benchmarks import bdrate, metrics
from benchmarks.bdrate import BANDS_DB, Delta
from benchmarks.growth import growth
from benchmarks.results import Curve

_NOTHING = "–"
_HEADS = ("below 32 dB", "32–36 dB", "above 36 dB")


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others are numbers."""
    rule = ["---", *(["---:"] * (len(head) - 1))]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *rows))


def bd_rates(tested: Curve, anchors: Sequence[Curve]) -> str:
    """Bits of `tested` against each anchor at equal PSNR: over all, in bands, the overlap, and the mean over pictures."""
    head = ("against", "BD-rate", *_HEADS, "overlap", "picture by picture", "anchor")
    return markdown(head, [_bd_row(tested, anchor) for anchor in anchors])


def _bd_row(tested: Curve, anchor: Curve) -> list[str]:
    lines = bdrate.psnr_line(tested), bdrate.psnr_line(anchor)
    whole = bdrate.delta(*lines)
    overlap = f"{whole.low_db:.1f}–{whole.high_db:.1f} dB" if whole else "none"
    bands = [percent(bdrate.delta(*lines, band)) for band in BANDS_DB]
    each = signed(bdrate.mean_of_pictures(tested, anchor))
    return [anchor.label, percent(whole), *bands, overlap, each, "published" if anchor.is_published() else "run here"]


def percent(delta: Delta | None, digits: int = 1) -> str:
    """A BD-rate with its sign, or a dash."""
    return signed(delta.percent if delta else math.nan, digits)


def signed(percent: float, digits: int = 1) -> str:
    """A number of per cent with its sign, or a dash for NaN."""
    return _NOTHING if math.isnan(percent) else f"{percent:+.{digits}f} %".replace("-", "−")


def levels(curve: Curve, anchors: Sequence[Curve]) -> str:
    """Each level's rate and quality, what it adds, and the rate at which the anchors reach its PSNR."""
    ours = ("level", "bpp", "adds (bpp)", "times the level before", "PSNR (dB)", "MS-SSIM (dB)")
    lines = [bdrate.psnr_line(anchor) for anchor in anchors]
    rows = []
    for row, ms_ssim in zip(growth(curve), curve.ms_ssim, strict=True):
        needed = [_number(bdrate.rate_at(line, row.psnr), 3) for line in lines]
        rates = (_number(row.bpp, 3), _number(row.added_bpp, 3), _number(row.ratio, 2))
        rows.append([f"{row.level:.0f}", *rates, _number(row.psnr, 2), _number(metrics.decibel(ms_ssim), 2), *needed])
    return markdown([*ours, *(f"{anchor.label}: bpp" for anchor in anchors)], rows)


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else _NOTHING


def rates_for_quality(curves: Sequence[Curve], qualities_db: Sequence[float] = (28, 30, 32, 34, 36, 38, 40)) -> str:
    """Bits per pixel that each codec needs for a mean PSNR."""
    head = ("bpp for", *(f"{quality:g} dB" for quality in qualities_db))
    lines = [(curve.label, bdrate.psnr_line(curve)) for curve in curves]
    return markdown(head, [[label, *(_number(bdrate.rate_at(at, q), 3) for q in qualities_db)] for label, at in lines])


def lossless(curves: Sequence[Curve], num_px: dict[str, int]) -> str:
    """Bits per sub-pixel and speed of each lossless codec; `num_px`: pixels of each picture."""
    head = ("codec", "bits per sub-pixel", "encode (MB/s)", "decode (MB/s)")
    rows = []
    for curve in sorted(curves, key=lambda curve: curve.bpp[0]):
        speeds = [throughput(curve, column, num_px) for column in ("encoding_time", "decoding_time")]
        rows.append([curve.label, _number(curve.bpp[0] / 3, 3), *(_number(speed, 1) for speed in speeds)])
    return markdown(head, rows)


def throughput(curve: Curve, column: str, num_px: dict[str, int]) -> float:
    """Millions of bytes of 8-bit RGB pixels a second, over all pictures."""
    seconds = sum(table[column][0] for table in curve.images.values())
    return 3 * sum(num_px[photo] for photo in curve.images) / 1e6 / seconds if seconds else math.nan
