"""Chains of small pictures against their bound and against files of others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.reports import tables
from benchmarks.reports.parts import Part


def parts(target: Path) -> list[Part]:
    """The rates of all sets, with what they are above the continuous bound."""
    found: dict[str, dict[str, Any]] | None = results.read(target / results.CHAINS)
    if not found:
        return []
    columns: list[dict[str, float]] = [entry["bits per sub-pixel"] for entry in found.values()]
    head = ("bits per sub-pixel", *(f"{title} ({entry['pictures']})" for title, entry in found.items()))
    names = dict.fromkeys(name for rates in columns for name in rates)
    table = tables.markdown(head, [[name, *(_cell(rates, name) for rates in columns)] for name in names])
    return ["Small pictures in one chain, bits back over all levels, against the bound and against files of others:", table]


def _cell(rates: dict[str, float], name: str) -> str:
    if name not in rates or name == results.BOUND:
        return tables.number(rates.get(name, float("nan")), 3)
    return f"{rates[name]:.3f} ({tables.percent(100 * (rates[name] / rates[results.BOUND] - 1))})"
