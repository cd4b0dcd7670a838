"""What a report is made of: texts, tables, plots and pictures, one after another.

The same parts are shown in a terminal after measuring and put into a page: see `show` and `markdown`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import click

from benchmarks.reports.plots import Plot, draw


@dataclass(frozen=True)
class Picture:
    """An image file that is shown as it is, and what it shows in words."""

    path: Path
    alt: str


Part = str | Plot | Picture
"""Text and tables are Markdown."""


def show(parts: Iterable[Part]) -> None:
    """Prints texts and tables, and draws the plots."""
    for part in parts:
        if isinstance(part, Plot):
            draw(part)
        elif isinstance(part, str):
            click.echo(f"{part}\n")


def markdown(parts: Iterable[Part], root: Path) -> str:
    """The parts as one Markdown text, with links relative to the folder `root`."""
    return "\n\n".join(part if isinstance(part, str) else f"![{part.alt}]({_link(part.path, root)})" for part in parts)


def _link(path: Path, root: Path) -> str:
    return path.resolve().relative_to(root.resolve()).as_posix()
