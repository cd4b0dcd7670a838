"""Time and memory of each codec: warm, from the start of a process, and as pictures grow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import results
from benchmarks.reports import tables
from benchmarks.reports.parts import Part
from benchmarks.reports.plots import Frame, Plot, Series

_OURS = "hcodec-received"
_COLORS = ("#6b7280", "#1d4ed8", "#0e8fa8", "#7c3aed", "#a78bfa", "#be4bdb", "#15803d", "#a16207")


def parts(target: Path) -> list[Part]:
    """Three tables and a plot."""
    document = results.read(target / results.SPEED)
    if not document:
        return []
    machine = document["machine"]
    return [
        f"Time for one picture, warm, median and quartiles ({machine['processor']}, {machine['cores']} cores):",
        _warm_table(document),
        "The same from the start of a process to the end of its work, and its peak memory, medians:",
        _cold_table(document),
        *_plot(target, document),
        "Encoding and decoding as pictures grow (s), and peak memory (MiB), with the loading of a model but not of Python:",
        _growth_table(document),
    ]


def _warm_table(document: dict[str, Any]) -> str:
    """Medians with quartiles in milliseconds, and as multiples of hcodec's (or of the first codec's)."""
    warm = {name: columns for name, columns in document["warm"].items() if columns["encode_s"]}
    base = warm.get(_OURS) or next(iter(warm.values()))
    head = ("codec", "encode (ms)", "ratio", "first image (ms)", "ratio", "decode (ms)", "ratio")
    rows = []
    for name, columns in warm.items():
        cells = [
            cell
            for column in ("encode_s", "first_s", "decode_s")
            for cell in (_spread(columns[column]), _ratio(columns[column], base[column]))
        ]
        rows.append([document["labels"][name], *cells])
    return tables.markdown(head, rows)


def _spread(seconds: Sequence[float]) -> str:
    low, middle, high = (1000 * value for value in np.percentile(seconds, (25, 50, 75)))
    return f"{middle:.{_digits(middle)}f} ({low:.{_digits(middle)}f}–{high:.{_digits(middle)}f})"


def _digits(value: float) -> int:
    return 0 if value >= 10 else 1


def _ratio(seconds: Sequence[float], base: Sequence[float]) -> str:
    return f"{np.median(seconds) / np.median(base):.2g}×"


def _cold_table(document: dict[str, Any]) -> str:
    """Median seconds from the start of a process to the end of its work, and its peak memory."""
    head = ("codec, new process", "encode (s)", "decode (s)", "peak, encode (MiB)", "peak, decode (MiB)")
    rows = []
    for name, runs in document["cold"].items():
        if runs:
            seconds = [f"{_median(runs, job, 'wall_s'):.2f}" for job in ("encode", "decode")]
            memory = [f"{_median(runs, job, 'peak_mib'):.0f}" for job in ("encode", "decode")]
            rows.append([document["labels"][name], *seconds, *memory])
    return tables.markdown(head, rows)


def _median(runs: list[dict[str, Any]], job: str, column: str) -> float:
    return float(np.median([run[job][column] for run in runs]))


def _growth_table(document: dict[str, Any]) -> str:
    """Seconds of encoding / decoding and peak memory at each size, process start excluded."""
    sizes = list(next(iter(document["growth"].values()), {}))
    head = ("encode / decode (s), peak (MiB)", *(f"{size} Mpx" for size in sizes))
    rows = [
        [document["labels"][name], *(_growth_cell(costs[size]) for size in sizes)] for name, costs in document["growth"].items()
    ]
    return tables.markdown(head, rows)


def _growth_cell(cost: dict[str, Any]) -> str:
    if "skipped" in cost:
        return cost["skipped"]
    peak = max(cost[job]["peak_mib"] for job in ("encode", "decode"))
    return f"{cost['encode']['work_s']:.2g} / {cost['decode']['work_s']:.2g}, {peak:.0f}"


def _plot(target: Path, document: dict[str, Any]) -> list[Part]:
    """Decoding time against picture size."""
    lines = {name: _points(costs) for name, costs in document["growth"].items()}
    lines = {name: points for name, points in lines.items() if len(points) > 1}
    colors = dict(zip((name for name in lines if name != _OURS), _COLORS, strict=False)) | {_OURS: "#d7192d"}
    series = tuple(
        Series(document["labels"][name], points, colors.get(name, "#444444"), marked=True, strong=name == _OURS)
        for name, points in lines.items()
    )
    frame = Frame(
        title="Decoding time as pictures grow",
        x_label="megapixels",
        y_label="seconds",
        x_range=(0.08, 60.0),
        y_range=(0.001, 200.0),
        log_x=True,
        log_y=True,
        x_ticks=(0.1, 0.4, 2, 12, 50),
        note=f"{document['machine']['processor']}, {document['machine']['cores']} cores; process start excluded.",
    )
    return [Plot(target / "growth.svg", "Decoding time against picture size", series, frame)] if series else []


def _points(costs: dict[str, Any]) -> tuple[tuple[float, float], ...]:
    """Megapixels and seconds of decoding, where it was measured."""
    return tuple((float(size), cost["decode"]["work_s"]) for size, cost in costs.items() if "decode" in cost)
