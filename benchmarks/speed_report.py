"""Tables and plot of the speed results, from `speed.json` alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks import plots, tables
from benchmarks.plots import Drawing, Frame, Series

_OURS = "hcodec-received"
_COLORS = ("#6b7280", "#1d4ed8", "#0e8fa8", "#7c3aed", "#a78bfa", "#be4bdb", "#15803d", "#a16207")


def report(target: Path) -> None:
    """Prints the tables and writes the plot."""
    document = json.loads((target / "speed.json").read_text())
    for text in (warm_table(document), cold_table(document), growth_table(document)):
        click.echo(text + "\n")
    series, frame = drawing(document)
    if series:
        plots.draw(series, frame, target / "growth")


def warm_table(document: dict[str, Any]) -> str:
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


def cold_table(document: dict[str, Any]) -> str:
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


def growth_table(document: dict[str, Any]) -> str:
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


def drawing(document: dict[str, Any]) -> Drawing:
    """Decoding time against picture size."""
    colors = iter(_COLORS)
    series = []
    for name, costs in document["growth"].items():
        points = [(float(size), cost["decode"]["work_s"]) for size, cost in costs.items() if "decode" in cost]
        ours = name == _OURS
        if len(points) > 1:
            color = "#d7192d" if ours else next(colors, "#444444")
            label = document["labels"][name]
            series.append(Series(label, tuple(points), color, marked=True, strong=ours))
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
    return series, frame
