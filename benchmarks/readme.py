"""`python -m benchmarks readme`: puts tables and plots into README.md and RESULTS.md, from the checked-in results alone.

Each keeps them between two HTML comments; everything outside is left as it is. What stands there is made by `blocks`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from benchmarks import blocks, plots, progressive, rd, results, speed_report

BEGIN, END = "<!-- benchmark:begin -->", "<!-- benchmark:end -->"
_BETWEEN = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)


class MarkersError(Exception):
    """A page has no place for its benchmark block."""


def run(target: Path, readme: Path, report: Path) -> None:
    """Draws the plots again where they are out of date, and writes the blocks of both pages. Raises MarkersError."""
    for path, (series, frame) in drawings(target).items():
        plots.draw(series, frame, path)
    for page, text in pages(target, readme, report).items():
        page.write_text(text)


def differences(target: Path, readme: Path, report: Path) -> list[str]:
    """What does not agree with the results, one line each; empty when all is current. Raises MarkersError."""
    wanted = pages(target, readme, report)
    stale = [page for page, text in wanted.items() if page.read_text() != text]
    found = [f"the benchmark block of {page.name} is not what the results say" for page in stale]
    for path, (series, frame) in drawings(target).items():
        drawn = plots.digest(series, frame)
        old = [s for s in (".png", ".svg") if not plots.is_current(path.with_suffix(s), drawn)]
        found += [f"{path.name}{suffix} is not drawn from the results" for suffix in old]
    return found


def pages(target: Path, readme: Path, report: Path) -> dict[Path, str]:
    """Both pages as they should be: a summary in `readme`, everything in `report`. Raises MarkersError."""
    made = {readme: blocks.summary(target, readme.parent), report: blocks.everything(target, report.parent)}
    return {page: _with_block(page, new) for page, new in made.items()}


def _with_block(page: Path, new: str) -> str:
    text = page.read_text()
    if not _BETWEEN.search(text):
        raise MarkersError(f"{page}: no {BEGIN} ... {END}")
    return _BETWEEN.sub(lambda _: f"{BEGIN}\n{new}\n{END}", text, count=1)


def drawings(target: Path) -> dict[Path, plots.Drawing]:
    """All plots of a results folder: path without suffix -> what is drawn."""
    found = {target / name: drawing for name, drawing in rd.drawings(target.name, rd.all_curves(target)).items()}
    found[target / "progressive"] = progressive.drawing(target.name, results.load_folder(target / progressive.SUBFOLDER))
    if (target / "speed.json").exists():
        found[target / "growth"] = speed_report.drawing(json.loads((target / "speed.json").read_text()))
    return {path: (series, frame) for path, (series, frame) in found.items() if series}
