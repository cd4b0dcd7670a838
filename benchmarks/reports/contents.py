"""All reports, in the order of RESULTS.md. A command shows its own in the terminal after measuring."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import results
from benchmarks.reports import (
    chains,
    documents,
    effort,
    integers,
    lossless,
    operation,
    other_pictures,
    progressive,
    promises,
    rate_distortion,
    speed,
)
from benchmarks.reports.parts import Part, show


@dataclass(frozen=True)
class Report:
    """What stands under one heading. `parts(target)`: made from a results folder, empty when nothing was measured.

    `command`: what measures it; `folder`: beside the page's own results folder, of the results that the page shows.
    """

    command: str
    heading: str
    parts: Callable[[Path], list[Part]]
    folder: str = ""

    def on_page(self, target: Path) -> list[Part]:
        """The parts for a page about the results folder `target`."""
        return self.parts(target.parent / self.folder if self.folder else target)


def _absent(target: Path) -> list[Part]:
    reasons: dict[str, str] = results.read(target / results.ABSENT) or {}
    return [f"{'; '.join(f'{name} ({reason})' for name, reason in reasons.items())}."] if reasons else []


REPORTS = (
    Report("rd", "Quality at a given rate", rate_distortion.everything),
    Report("rd", "The levels", rate_distortion.levels),
    Report("rd", "Other pictures", other_pictures.parts),
    Report("effort", "Searching longer", effort.parts),
    Report("progressive", "While a file arrives", progressive.parts),
    Report("lossless", "Lossless files", lossless.files),
    Report("lossless-layer", "The lossless layer", lossless.layer),
    Report("documents", "Documents and screens", documents.parts, folder="documents"),
    Report("bits-back", "Chains of small pictures", chains.parts, folder="small"),
    Report("speed", "Time", speed.parts),
    Report("operation", "In operation", operation.parts),
    Report("integers", "From the trained network to the file", integers.parts, folder="valid"),
    Report("check", "What was promised", promises.parts),
    Report("rd", "Not run", _absent),
)


def show_command(command: str, target: Path) -> None:
    """Prints and draws what a command has measured into the results folder `target`."""
    for report in REPORTS:
        if report.command == command:
            show(report.parts(target))
