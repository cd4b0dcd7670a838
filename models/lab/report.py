"""The report of the lab: one HTML page with its pictures, over all trained models of a folder.

Room: measurement; matplotlib comes with the extra `bench`. Each section is a function that returns figures; a section without
figures is left out.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from hcodec.models.lab import inspect
from hcodec.models.lab.data import Pixels
from hcodec.models.lab.measure import batches
from hcodec.models.lab.model_file import Trained
from hcodec.models.lab.pictures import sheet, to_image
from hcodec.models.lab.protocol import Family
from hcodec.models.lab.studies import STUDIES
from hcodec.models.lab.train import read_log

TEMPERATURES = (0.5, 0.7, 0.8, 0.9, 1.0, 1.1)
_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
_COLUMNS = 8  # pictures of a strip
_MOST_LEVELS = 6  # shown one by one; of more, some evenly between the first and the last
_ZOOM = 3
_POINTS = 100  # of a curve over several runs
Curve = NDArray[np.float64]
_STYLE = """
body { font-family: sans-serif; max-width: 75em; margin: 2em auto }
div { display: flex; flex-wrap: wrap; gap: 1.5em }
figure { margin: 0 }
"""

_INTRODUCTION = {
    "training": "KL of each level during training, in bits a picture. A level at zero has collapsed: it says nothing.",
    "samples": f"Pictures drawn from the priors; rows from above: temperatures {', '.join(map(str, TEMPERATURES))}.",
    "exchanged": "What a level holds: two rows of pictures, then a row for each level shown, in which it alone is taken from the"
    " second row, all others from the first.",
    "redrawn": "What a level holds: the pictures, then a row for each level shown, in which it alone is drawn from its prior.",
    "mixed": "From one picture to another: first all levels at once, then one level alone.",
    "prefix": "The pictures, then what the first levels alone make of them, the rest at the prior's mean; all levels last.",
    "anomaly": "The bound as a score of how foreign a picture is, and the area under its curve; beside it that of each level's KL"
    " alone. 0.5 is guessing; below 0.5 foreign pictures score lower than those the model knows.",
    "studies": "Runs that differ in one thing: mean over seeds, and the range of all.",
}


@dataclass(frozen=True)
class Picture:
    """One picture of the page: its section, title and file."""

    section: str
    title: str
    file: str


def write(trained: Mapping[str, Trained], folder: Path, test: Pixels, out: Path, count: int) -> Path:
    """Writes the page and its pictures; returns the page.

    trained: by name; their logs lie in the folder. test: uint8 (N, C, H, W). count: pictures for the anomaly scores.
    """
    out.mkdir(parents=True, exist_ok=True)
    pictures: list[Picture] = []
    for name, model in trained.items():
        shown: list[tuple[str, str, Figure | Pixels]] = []
        shown += [*_drawn(name, folder, model.network, test[:count]), *_strips(model.network, test)]
        for section, title, made in shown:
            file = f"{name}-{section}.png"
            _save(made, out / file)
            pictures.append(Picture(section, f"{name}: {title}" if title else name, file))
    for study, figure in _studies(folder / "studies"):
        _save(figure, out / f"study-{study}.png")
        pictures.append(Picture("studies", study, f"study-{study}.png"))
    page = out / "index.html"
    page.write_text(_page(pictures), encoding="utf-8")
    return page


def _page(pictures: list[Picture]) -> str:
    parts = []
    for section, introduction in _INTRODUCTION.items():
        shown = [picture for picture in pictures if picture.section == section]
        if shown:
            figures = "".join(
                f'<figure><img src="{html.escape(p.file)}" alt=""><figcaption>{html.escape(p.title)}</figcaption></figure>\n'
                for p in shown
            )
            parts.append(f"<h2>{section.capitalize()}</h2>\n<p>{html.escape(introduction)}</p>\n<div>{figures}</div>")
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Model lab</title><style>{_STYLE}</style>'
    return "\n".join([head, "<h1>The model lab</h1>", *parts, "</html>\n"])


def _save(made: Figure | Pixels, path: Path) -> None:
    if isinstance(made, Figure):
        made.savefig(path, dpi=100, bbox_inches="tight")
        plt.close(made)
    else:
        image = to_image(made)
        image.resize((image.width * _ZOOM, image.height * _ZOOM), 0).save(path)


def _drawn(name: str, folder: Path, network: Family, test: Pixels) -> Iterator[tuple[str, str, Figure]]:
    """Yields (section, title, figure) of one model's curves."""
    log = folder / f"{name}.csv"
    if log.exists():
        figure, axes = plt.subplots(figsize=(5, 3.2))
        plot_levels(axes, read_log(log))
        yield "training", "", figure
    yield "anomaly", "", anomaly(network, test)


def _strips(network: Family, test: Pixels) -> Iterator[tuple[str, str, Pixels]]:
    """Yields (section, title, sheet) of one model's pictures."""
    first, second = islice(batches(test, min(_COLUMNS, len(test) // 2)), 2)
    names = _some(inspect.levels(network, first[:1].shape))
    yield "samples", "", strip([inspect.samples(network, first.shape, t) for t in TEMPERATURES])
    title = f"levels {', '.join(names)}"
    yield "exchanged", title, strip([first, second, *(inspect.exchanged(network, first, second, name) for name in names)])
    yield "redrawn", title, strip([first, *(inspect.redrawn(network, first, name) for name in names)])
    rows = [interpolation(network, first[:1], second[:1], name) for name in (None, *names)]
    yield "mixed", f"all, then {', '.join(names)}", strip(rows)
    counts = [inspect.levels(network, first[:1].shape).index(name) + 1 for name in names]
    title = f"first {', '.join(map(str, counts))} levels"
    yield "prefix", title, strip([first, *(inspect.prefix(network, first, count) for count in counts)])


def _some(names: list[str]) -> list[str]:
    """Returns at most _MOST_LEVELS names, the first and the last among them."""
    chosen = np.unique(np.linspace(0, len(names) - 1, min(len(names), _MOST_LEVELS)).round().astype(int))
    return [names[i] for i in chosen]


def interpolation(network: Family, x: Tensor, y: Tensor, name: str | None) -> Tensor:
    """Returns the pictures between x and y (1, C, H, W), (N, C, H, W), by one level or all."""
    return torch.cat([inspect.mixed(network, x, y, share, name) for share in _SHARES])


def strip(rows: list[Tensor]) -> Pixels:
    """Returns rows of pictures float32 (N, C, H, W) below one another, uint8 (C, height, width)."""
    pictures = torch.cat(rows).round().clamp(0, 255).numpy().astype(np.uint8)
    return sheet(pictures, len(rows[0]))


def plot_levels(axes: Axes, rows: list[dict[str, float]]) -> None:
    """Draws the KL of each level over the time of training."""
    names = [key for key in rows[0] if key.startswith("kl_")]
    colors = plt.get_cmap("viridis")(np.linspace(0, 0.95, len(names)))
    for name, color in zip(names, colors, strict=True):
        axes.plot([row["seconds"] for row in rows], [row[name] for row in rows], color=color, label=name[3:], linewidth=1)
    axes.set_yscale("symlog", linthresh=1)
    axes.set_xlabel("seconds of training")
    axes.set_ylabel("bits a picture")
    axes.legend(fontsize=6, ncol=math.ceil(len(names) / 12), loc="upper left", bbox_to_anchor=(1, 1))


def anomaly(network: Family, test: Pixels) -> Figure:
    """Returns the ROC of the bound for each kind of foreign pictures, and the AUROC of each level's KL."""
    usual = inspect.scores(network, test)
    foreign = {kind: inspect.scores(network, pictures) for kind, pictures in inspect.foreign_sets(test).items()}
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2))
    names = list(usual)
    for number, (kind, scores) in enumerate(foreign.items()):
        area = inspect.auroc(usual["all"], scores["all"])
        left.plot(*inspect.roc(usual["all"], scores["all"]), label=f"{kind} {area:.2f}")
        areas = [inspect.auroc(usual[name], scores[name]) for name in names]
        right.plot(range(len(names)), areas, "o-", markersize=3, linewidth=1, color=f"C{number}")
    left.plot([0, 1], [0, 1], ":", color="gray")
    left.set_xlabel("false positives")
    left.set_ylabel("true positives")
    left.legend(fontsize=7)
    right.axhline(0.5, linestyle=":", color="gray")
    shown = range(0, len(names), math.ceil(len(names) / 14))
    right.set_xticks(list(shown), [names[i] for i in shown], rotation=90, fontsize=7)
    right.set_ylim(0, 1.02)
    right.set_ylabel("AUROC of a level's KL")
    return figure


def _studies(folder: Path) -> Iterator[tuple[str, Figure]]:
    """Yields the figure of each study that was run."""
    for study, kinds in STUDIES.items():
        runs = {label: [read_log(path) for path in sorted(folder.glob(f"{study}.{label}.*.csv"))] for label, *_ in kinds}
        if all(runs.values()):
            yield study, study_figure(runs)


def together(logs: list[list[dict[str, float]]], key: str) -> tuple[Curve, Curve]:
    """Returns seconds (N,) that all logs cover, and what each log says under a key at these, (logs, N)."""
    times = [[row["seconds"] for row in log] for log in logs]
    seconds = np.linspace(max(time[0] for time in times), min(time[-1] for time in times), _POINTS)
    values = [np.interp(seconds, time, [row[key] for row in log]) for time, log in zip(times, logs, strict=True)]
    return seconds, np.array(values)


def study_figure(runs: Mapping[str, list[list[dict[str, float]]]]) -> Figure:
    """Returns loss, gradient norm, skipped steps and KL of the levels for each kind of run: means and ranges over seeds."""
    figure, panels = plt.subplots(1, 3 + len(runs), figsize=(3.4 * (3 + len(runs)), 3))
    for (label, logs), axes in zip(runs.items(), panels[3:], strict=True):
        plot_levels(axes, logs[0])
        axes.set_title(f"KL, {label}", fontsize=9)
        for panel, key in zip(panels, ("bpd", "norm", "skipped"), strict=False):
            seconds, values = together(logs, key)
            panel.plot(seconds, values.mean(0), label=label, linewidth=1)
            panel.fill_between(seconds, values.min(0), values.max(0), alpha=0.2)
    for panel, title in zip(panels, ("bits/dim", "gradient norm", "skipped steps"), strict=False):
        panel.set_title(title, fontsize=9)
        panel.set_xlabel("seconds of training")
    panels[1].set_yscale("log")
    panels[2].set_ylim(0, max(1, panels[2].get_ylim()[1]))
    panels[0].legend(fontsize=7)
    figure.tight_layout()
    return figure
