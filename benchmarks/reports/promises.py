"""Which promises are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.reports import tables
from benchmarks.reports.parts import Part


def parts(target: Path) -> list[Part]:
    """A row for each promise, and under the table what stands behind each."""
    verdicts: list[dict[str, Any]] | None = results.read(target / results.CHECK)
    if not verdicts:
        return []
    cells = [[verdict["promise"], verdict["wanted"], verdict["found"]] for verdict in verdicts]
    kept = ["yes" if verdict["kept"] else "**no**" for verdict in verdicts]
    rows = [[*row, answer] for row, answer in zip(cells, kept, strict=True)]
    details = [line for verdict in verdicts if verdict["details"] for line in _details(verdict)]
    return [tables.markdown(("promise", "wanted", "found", "kept"), rows), *(["\n".join(details)] if details else [])]


def _details(verdict: dict[str, Any]) -> list[str]:
    return [f"- {verdict['promise']}", *(f"  - {line}" for line in verdict["details"])]
