"""How hcodec behaves in operation: a table for each part that was measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import results
from benchmarks.reports import tables
from benchmarks.reports.parts import Part

Document = dict[str, Any]


def parts(target: Path) -> list[Part]:
    """A text and a table for each part."""
    document = results.read(target / results.OPERATION)
    if not document:
        return []
    machine = document["machine"]
    found: list[Part] = [f"Measured on {machine['processor']}, {machine['cores']} cores; medians."]
    for name, shown in _TABLES.items():
        if name in document:
            found += shown(document[name])
    return found


def _load(part: Document) -> list[Part]:
    heads = [
        "idle (s)",
        *(f"{count} busy (s)" for count in part["busy"][1:]),
        *(f"{count} busy, ratio" for count in part["busy"][1:]),
    ]
    rows = [
        [f"{codec}, {work}", *_against_idle([median(rounds) for rounds in seconds])]
        for codec, jobs in part["seconds"].items()
        for work, seconds in jobs.items()
    ]
    edge = part["edge"]
    text = f"A picture of {edge}x{edge} pixels while other processes compute, warm, and the ratio to an idle machine:"
    return [text, tables.markdown(("codec, work", *heads), rows)]


def _against_idle(seconds: Sequence[float]) -> list[str]:
    return [*(f"{spent:.3f}" for spent in seconds), *(f"{spent / seconds[0]:.2f}×" for spent in seconds[1:])]


def _first_picture(part: Document) -> list[Part]:
    first, every, whole = (median(part["seconds"][name]) for name in ("first", "all", "decode"))
    rows = [
        ["level 1", f"{first:.3f}", f"{first / whole:.2f}×"],
        [f"all {part['levels']} levels, one after the other", f"{every:.3f}", f"{every / whole:.2f}×"],
        ["one decode", f"{whole:.3f}", "1×"],
    ]
    return [f"Pictures of a file that arrives ({part['picture']}), warm:", tables.markdown(("shown", "seconds", "ratio"), rows)]


def _commands(part: Document) -> list[Part]:
    rows = [[name, f"{median(seconds):.2f}"] for name, seconds in part["seconds"].items()]
    return [f"From the start of a process to its end ({part['picture']}):", tables.markdown(("command", "seconds"), rows)]


def _growth(part: Document) -> list[Part]:
    head = ("file, megapixels", "encode (s)", "s per Mpx", "peak (MiB)", "decode (s)", "s per Mpx", "peak (MiB)")
    rows = [
        [f"{name}, {size}", *_cost(cost, float(size))] for name, costs in part["costs"].items() for size, cost in costs.items()
    ]
    text = (
        f"As pictures grow ({part['picture']} enlarged, with noise), each in a process of its own, with the loading of the model:"
    )
    return [text, tables.markdown(head, rows)]


def _cost(cost: Document, megapixels: float) -> list[str]:
    if "skipped" in cost:
        return [cost["skipped"], *[""] * 5]
    return [cell for job in ("encode", "decode") for cell in _job(cost[job], megapixels)]


def _job(cost: dict[str, float], megapixels: float) -> list[str]:
    return [f"{cost['work_s']:.2f}", f"{cost['work_s'] / megapixels:.2f}", f"{cost['peak_mib']:.0f}"]


def _callers(part: Document) -> list[Part]:
    rates = part["pictures a second"]
    base = next(iter(rates.values()))
    rows = [[name, f"{rate:.2f}", f"{rate / base:.2f}×" if base else ""] for name, rate in rates.items()]
    text = (
        f"Pictures of up to {part['edge']}x{part['edge']} pixels, each encoded and decoded, by several callers at once for "
        f"{part['seconds']:g} s; {part['wrong'] or 'no'} results differ:"
    )
    return [text, tables.markdown(("callers", "pictures a second", "ratio"), rows)]


def _soak(part: Document) -> list[Part]:
    memory = part["resident_mib"]
    early = memory[1 if len(memory) > 2 else 0]
    text = f"{part['count']} encodes and decodes of mixed sizes in one process; {part['wrong'] or 'no'} results were wrong:"
    row = [f"{value:.0f}" for value in (early, memory[len(memory) // 2], max(memory), memory[-1])]
    return [text, tables.markdown(("resident memory", "early (MiB)", "half way", "most", "at the end"), [["", *row]])]


_TABLES: dict[str, Callable[[Document], list[Part]]] = {
    "load": _load,
    "first-picture": _first_picture,
    "commands": _commands,
    "growth": _growth,
    "callers": _callers,
    "soak": _soak,
}
