"""Puts tables and plots into README.md and RESULTS.md, from the checked-in results alone.

Each page keeps them between two HTML comments; everything outside is left as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from benchmarks.reports import rate_distortion
from benchmarks.reports.contents import REPORTS
from benchmarks.reports.parts import Part, markdown
from benchmarks.reports.plots import Plot, draw, is_current
from benchmarks.reports.progressive import strip

BEGIN, END = "<!-- benchmark:begin -->", "<!-- benchmark:end -->"
_BETWEEN = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)


class MarkersError(Exception):
    """A page has no place for its benchmark block."""


def write(target: Path, readme: Path, report: Path) -> None:
    """Draws the plots again where they are out of date, and writes the blocks of both pages. Raises MarkersError."""
    texts = _pages(target, readme, report)
    for plot in _plots(target):
        draw(plot)
    for page, text in texts.items():
        page.write_text(text)


def differences(target: Path, readme: Path, report: Path) -> list[str]:
    """What does not agree with the results, one line each; empty when all is current. Raises MarkersError."""
    stale = [page for page, text in _pages(target, readme, report).items() if page.read_text() != text]
    found = [f"the benchmark block of {page.name} is not what the results say" for page in stale]
    return [*found, *(f"{plot.path.name} is not drawn from the results" for plot in _plots(target) if not is_current(plot))]


def summary(target: Path) -> list[Part]:
    """One plot, one table and one picture, for README.md."""
    return [*rate_distortion.summary(target), *strip(target)]


def _everything(target: Path) -> Iterator[Part]:
    """All reports, each under its heading, for RESULTS.md."""
    for report in REPORTS:
        if parts := report.on_page(target):
            yield f"## {report.heading}"
            yield from parts


def _plots(target: Path) -> list[Plot]:
    return [part for part in _everything(target) if isinstance(part, Plot)]


def _pages(target: Path, readme: Path, report: Path) -> dict[Path, str]:
    """Both pages as they should be."""
    return {readme: _filled(readme, summary(target)), report: _filled(report, list(_everything(target)))}


def _filled(page: Path, parts: list[Part]) -> str:
    text = page.read_text()
    if not _BETWEEN.search(text):
        raise MarkersError(f"{page}: no {BEGIN} ... {END}")
    return _BETWEEN.sub(lambda _: f"{BEGIN}\n{markdown(parts, page.parent)}\n{END}", text, count=1)
