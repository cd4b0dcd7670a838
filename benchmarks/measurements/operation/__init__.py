"""How hcodec behaves in operation: on a busy machine, in commands, in forks and threads, as pictures grow, and for long.

Each part is a function of the task and of `Extent` that returns what `operation.json` holds of it; parts that are not run keep
what was measured before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from benchmarks import results
from benchmarks.measurements.machine import machine
from benchmarks.measurements.operation import callers, commands, first_picture, growth, load, soak
from benchmarks.measurements.operation.extent import Extent
from benchmarks.measurements.task import Task

PARTS: dict[str, Callable[[Task, Extent], dict[str, Any]]] = {
    "load": load.measure,
    "first-picture": first_picture.measure,
    "commands": commands.measure,
    "growth": growth.measure,
    "callers": callers.measure,
    "soak": soak.measure,
}


def run(task: Task, parts: Sequence[str], extent: Extent) -> bool:
    """Measures parts and writes `operation.json`; returns whether a result was wrong."""
    path = task.target / results.OPERATION
    for part in parts:
        click.echo(part, err=True)
        document = results.read(path) or {}
        document["machine"] = machine()
        document[part] = PARTS[part](task, extent)
        results.write(document, path)
    return any((results.read(path) or {}).get(part, {}).get("wrong") for part in parts)
