"""One run of a set of codecs over a folder, with a progress bar; what the commands share.

Codecs that are absent are named, and remembered in `absent.json` beside the results.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from benchmarks import results
from benchmarks.images import Photo
from benchmarks.measure import Job, start_workers
from benchmarks.peers import Absent, Found, Peer
from benchmarks.results import Curve


def choose(found: Found, names: Sequence[str]) -> list[Peer]:
    """The codecs to run, those of `names` when any are given; absent ones are reported. Raises UsageError on an unknown name."""
    unknown = set(names) - {entry.name for entry in found}
    if unknown:
        known = ", ".join(entry.name for entry in found)
        raise click.UsageError(f"unknown: {', '.join(sorted(unknown))}; known: {known}")
    chosen = [entry for entry in found if not names or entry.name in names]
    for entry in chosen:
        if isinstance(entry, Absent):
            click.echo(f"absent: {entry.name}: {entry.reason}", err=True)
    return [entry for entry in chosen if isinstance(entry, Peer)]


def remember_absent(found: Found, folder: Path) -> None:
    """Writes the absent codecs and the reasons to `folder/absent.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    reasons = {entry.name: entry.reason for entry in found if isinstance(entry, Absent)}
    (folder / "absent.json").write_text(json.dumps(reasons, indent=1) + "\n")


@contextmanager
def progress(label: str, length: int) -> Iterator[Callable[[], None]]:
    """A progress bar on stderr; gives a function, for any thread, that moves it one step on."""
    lock = threading.Lock()
    bar: Any = click.progressbar(length=length, label=label, show_pos=True, file=sys.stderr)
    with bar:

        def advance() -> None:
            """Moves the bar by one step; from any thread."""
            with lock:
                bar.update(1)

        yield advance


def run(photos: Sequence[Photo], peers: Sequence[Peer], num_workers: int) -> dict[str, Curve]:
    """The curves of the peers by name, measured or from the cache, picture by picture so that all codecs advance together."""
    jobs: list[Job] = [(photo, peer) for photo in photos for peer in peers]
    with progress("measuring", len(jobs)) as advance, start_workers(num_workers) as workers:
        measurements = workers.measure(jobs, advance)
    by_peer = {peer.name: measurements[index :: len(peers)] for index, peer in enumerate(peers)}
    return {peer.name: results.collect(peer, by_peer[peer.name]) for peer in peers}


def report_faults(curves: dict[str, Curve]) -> bool:
    """Prints what was found wrong, one line each; returns whether there was anything."""
    lines = [f"WRONG: {curve.name}: {line}" for curve in curves.values() for line in curve.faults]
    for line in lines:
        click.echo(click.style(line, fg="red"), err=True)
    return bool(lines)


def default_workers() -> int:
    """Two where there are two cores."""
    return min(2, os.cpu_count() or 1)
