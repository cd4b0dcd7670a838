"""Plots as SVG that read well in a README: few lines, named at their ends, no legend to look up.

The digest of what was drawn is written into the file, so that a test sees when a plot is older than its results.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

_DIGEST_MARK = "results "
_LABEL_GAP = 0.042  # of the height of the axes
_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10.5,
    "svg.hashsalt": "hcodec",
    "svg.fonttype": "path",
    "axes.spines.top": False,
    "axes.spines.right": False,
}


@dataclass(frozen=True)
class Series:
    """One line of a plot. `points`: (x, y); `dashed`: not measured here; `marked`: a dot at each point; `strong`: ours."""

    label: str
    points: tuple[tuple[float, float], ...]
    color: str
    dashed: bool = False
    marked: bool = False
    strong: bool = False


@dataclass(frozen=True)
class Frame:
    """What surrounds the lines. `log_x`: a logarithmic axis, with ticks at `x_ticks`; `y_step`: between ticks."""

    title: str
    x_label: str
    y_label: str
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    y_step: float = 2.0
    log_x: bool = False
    log_y: bool = False
    x_ticks: tuple[float, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Plot:
    """A plot: where it is written (.svg), what it shows in words, its lines and what surrounds them."""

    path: Path
    alt: str
    series: tuple[Series, ...]
    frame: Frame


def draw(plot: Plot) -> None:
    """Writes the plot with the digest of its content inside, unless the file at its path has that content already."""
    if is_current(plot):
        return
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(9.2, 5.6), layout="constrained")
        axes = figure.add_subplot()
        _lay_out(axes, plot.frame)
        for entry in plot.series:
            _draw_line(axes, entry)
        _name_lines(axes, plot.series, plot.frame)
        if plot.frame.note:
            figure.supxlabel(plot.frame.note, fontsize=8.5, color="#555555", x=0.01, ha="left")
        metadata = {"Description": _DIGEST_MARK + _digest(plot), "Date": None}
        figure.savefig(plot.path, metadata=metadata, facecolor="white")


def is_current(plot: Plot) -> bool:
    """Whether the file at the plot's path was drawn from the same content."""
    return plot.path.exists() and (_DIGEST_MARK + _digest(plot)).encode() in plot.path.read_bytes()


def _digest(plot: Plot) -> str:
    return hashlib.sha256(repr((list(plot.series), plot.frame)).encode()).hexdigest()


def _lay_out(axes: Axes, frame: Frame) -> None:
    if frame.log_x:
        axes.set_xscale("log")
        axes.set_xticks(frame.x_ticks, [f"{tick:g}" for tick in frame.x_ticks], minor=False)
        axes.minorticks_off()
    axes.set_xlim(frame.x_range)
    axes.set_ylim(frame.y_range)
    if frame.log_y:
        axes.set_yscale("log")
    else:
        axes.yaxis.set_major_locator(MultipleLocator(frame.y_step))
    axes.set_title(frame.title, loc="left", fontsize=12.5, fontweight="bold", pad=12)
    axes.set_xlabel(frame.x_label)
    axes.set_ylabel(frame.y_label)
    axes.grid(color="#e3e3e3", linewidth=0.8)
    axes.set_axisbelow(True)


def _draw_line(axes: Axes, series: Series) -> None:
    x, y = zip(*series.points, strict=True)
    axes.plot(
        x,
        y,
        color=series.color,
        linewidth=2.8 if series.strong else 1.5,
        linestyle=(0, (4, 2.2)) if series.dashed else "-",
        marker="o" if series.marked else None,
        markersize=5.5 if series.strong else 3.5,
        zorder=5 if series.strong else 3,
    )


def _name_lines(axes: Axes, series: Sequence[Series], frame: Frame) -> None:
    """Each line's name right of the axes at the height of its end, pushed apart where they would overlap."""
    ends = [_end(entry, frame) for entry in series]
    order = sorted(range(len(series)), key=lambda index: ends[index][1])
    heights = _push_apart([_height(ends[index][1], frame) for index in order])
    for index, height in zip(order, heights, strict=True):
        color, is_short = series[index].color, ends[index][0] < frame.x_range[1]
        pointer = {"arrowstyle": "-", "color": color, "linewidth": 0.6, "alpha": 0.35 if is_short else 1, "relpos": (0, 0.5)}
        axes.annotate(
            series[index].label,
            xy=ends[index],
            xytext=(1.03, height),
            textcoords="axes fraction",
            color=color,
            va="center",
            fontweight="bold" if series[index].strong else "normal",
            arrowprops=pointer | {"shrinkA": 1},
            annotation_clip=False,
        )


def _height(y: float, frame: Frame) -> float:
    """Where a value lies between the bottom (0) and the top (1) of the axes."""
    low, high = frame.y_range
    if frame.log_y:
        return math.log(y / low) / math.log(high / low)
    return (y - low) / (high - low)


def _end(series: Series, frame: Frame) -> tuple[float, float]:
    """The last point of a line inside the frame, on its right edge where the line crosses it."""
    right = frame.x_range[1]
    x, y = zip(*series.points, strict=True)
    x_end = min(right, x[-1])
    return x_end, min(frame.y_range[1], max(frame.y_range[0], float(np.interp(x_end, x, y))))


def _push_apart(heights: list[float]) -> list[float]:
    """The rising heights moved as little as possible (least squares), so that neighbors keep a gap."""
    groups: list[tuple[float, int]] = []  # mean of (height - its rank's share of gaps), size
    for rank, height in enumerate(heights):
        mean, size = height - rank * _LABEL_GAP, 1
        while groups and groups[-1][0] >= mean:
            other, others = groups.pop()
            mean, size = (mean * size + other * others) / (size + others), size + others
        groups.append((mean, size))
    level = [mean for mean, size in groups for _ in range(size)]
    return [mean + rank * _LABEL_GAP for rank, mean in enumerate(level)]


def finite(points: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """The points that can be drawn, rounded to what can be seen."""
    return tuple((round(x, 4), round(y, 3)) for x, y in points if math.isfinite(x) and math.isfinite(y))
