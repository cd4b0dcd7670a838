"""Files that keep every bit: bits per sub-pixel and speed; and what the lossless layer costs from each level."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks import results
from benchmarks.curves.curve import Curve
from benchmarks.reports import tables
from benchmarks.reports.parts import Part

_COLUMNS = {"level_bits": "its levels", "layer_bits": "the layer"}


def files(target: Path) -> list[Part]:
    """Rate and speed of each lossless codec, the shortest files first."""
    curves = results.load_curves(target / results.LOSSLESS).values()
    if not curves:
        return []
    num_px = results.read(target / results.LOSSLESS / results.NUM_PX)
    rows = [_codec_row(curve, num_px) for curve in sorted(curves, key=lambda curve: curve.bpp[0])]
    head = ("codec", "bits per sub-pixel", "encode (MB/s)", "decode (MB/s)")
    return ["Every pixel as it was, in bits per sub-pixel of the file:", tables.markdown(head, rows)]


def _codec_row(curve: Curve, num_px: dict[str, int]) -> list[str]:
    speeds = [throughput(curve, column, num_px) for column in ("encoding_time", "decoding_time")]
    return [curve.label, tables.number(curve.bpp[0] / 3, 3), *(tables.number(speed, 1) for speed in speeds)]


def throughput(curve: Curve, column: str, num_px: dict[str, int]) -> float:
    """Millions of bytes of 8-bit RGB pixels a second, over all pictures; `num_px`: pixels of each."""
    seconds = sum(table[column][0] for table in curve.images.values())
    return 3 * sum(num_px[photo] for photo in curve.images) / 1e6 / seconds if seconds else float("nan")


def layer(target: Path) -> list[Part]:
    """The lossless layer alone, as means over all pictures, by the level that is built on."""
    found: dict[str, list[dict[str, float]]] | None = results.read(target / results.LOSSLESS_LAYER)
    if not found:
        return []
    rows = [_level_row(rates) for rates in zip(*found.values(), strict=True)]
    text = "The lossless layer alone, by the level that it builds on, in bits per sub-pixel:"
    return [text, tables.markdown(("built on level", *_COLUMNS.values(), "total"), rows)]


def _level_row(rates: Sequence[dict[str, float]]) -> list[str]:
    means = [sum(rate[name] for rate in rates) / len(rates) for name in _COLUMNS]
    return [f"{rates[0]['level']:g}", *(f"{mean:.3f}" for mean in (*means, sum(means)))]
