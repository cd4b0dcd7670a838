"""Time and memory, all codecs in one run, interleaved.

Three questions. Warm: encode, first image, decode in a process that has done it before. Cold: the same from the start of a
process, with its peak memory. Growth: both from 0.1 to 50 megapixels. All codecs get the same number of threads.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks import peers, results
from benchmarks.images import Photo, Pixels, mosaic, read
from benchmarks.measurements.clock import timed
from benchmarks.measurements.codecs import choose
from benchmarks.measurements.machine import machine
from benchmarks.measurements.process import LIMIT_S, Child, ChildError
from benchmarks.measurements.progress import progress
from benchmarks.measurements.task import Task
from benchmarks.peers import NothingYetError, Peer

_WARM_ROUNDS = 5
_COLD_ROUNDS = 3
_BUDGET_S = 25.0  # after which a slow codec is not measured again in the warm rounds
Times = dict[str, dict[str, list[float]]]


def run(task: Task, sizes: Sequence[float]) -> bool:
    """Measures and writes `speed.json`; `sizes`: of the growth measurement, in megapixels. Nothing here can be found wrong."""
    found = peers.speed()
    chosen = choose(found, task.names)
    document = {
        "machine": machine(),
        "photos": [photo.name for photo in task.photos],
        "labels": {peer.name: f"{peer.label} at {peer.typical:g}" if peer.typical else peer.label for peer in chosen},
        "absent": {entry.name: entry.reason for entry in found if not isinstance(entry, Peer)},
        "warm": warm(chosen, [read(photo.path) for photo in task.photos]),
        "cold": cold(chosen, read(task.photos[0].path)),
        "growth": growth([peer for peer in chosen if not peer.name.startswith("compressai-")], task.photos, sizes),
    }
    results.write(document, task.target / results.SPEED)
    return False


def _rotated(chosen: Sequence[Peer], start: int) -> list[Peer]:
    """The codecs in another order each round, so that none always runs after the same one."""
    start %= max(1, len(chosen))
    return [*chosen[start:], *chosen[:start]]


# --- warm


def warm(chosen: Sequence[Peer], pictures: Sequence[Pixels], rounds: int = _WARM_ROUNDS) -> Times:
    """Seconds of each encode, first image and decode, after one round that is not counted."""
    times: Times = {peer.name: {"encode_s": [], "first_s": [], "decode_s": []} for peer in chosen}
    spent = dict.fromkeys(times, 0.0)
    with progress("warm", (rounds + 1) * len(chosen)) as advance:
        for number in range(rounds + 1):
            for peer in _rotated(chosen, number):
                if spent[peer.name] < _BUDGET_S:
                    _one_round(peer, pictures if number else pictures[:1], times if number else {})
                    spent[peer.name] = sum(map(sum, times[peer.name].values()))
                advance()
    return times


def _one_round(peer: Peer, pictures: Sequence[Pixels], times: Times) -> None:
    for pixels in pictures:
        data, encode_s = timed(peer.encode, pixels, peer.typical)
        _, first_s = timed(_first_picture(peer, data))
        _, decode_s = timed(peer.decode, data)
        if peer.name in times:
            for column, seconds in {"encode_s": encode_s, "first_s": first_s, "decode_s": decode_s}.items():
                times[peer.name][column].append(round(seconds, 5))


def _first_picture(peer: Peer, data: bytes) -> Callable[[], Pixels]:
    """What shows the first picture of a file."""
    if peer.stream and peer.stream.first:
        return partial(peer.stream.first, data)
    return partial(peer.decode, _first_part(peer, data))


def _first_part(peer: Peer, data: bytes) -> bytes:
    """The shortest piece of a file that shows something: its first step, or everything."""
    if peer.stream is None:
        return data
    try:
        return peer.stream.cut(data, min(peer.stream.steps(data).values()))
    except NothingYetError:
        return data


# --- cold and growth: one process for each job


def cold(chosen: Sequence[Peer], pixels: Pixels, rounds: int = _COLD_ROUNDS) -> dict[str, list[dict[str, Any]]]:
    """What each codec costs from the start of a process, several times."""
    runs: dict[str, list[dict[str, Any]]] = {peer.name: [] for peer in chosen}
    with tempfile.TemporaryDirectory() as folder, progress("cold", rounds * len(chosen)) as advance:
        child, source = Child(Path(folder)), Path(folder, "pixels.npy")
        np.save(source, pixels)
        for number in range(rounds):
            for peer in _rotated(chosen, number):
                try:
                    runs[peer.name].append(child.both(peer, source))
                except ChildError as error:
                    click.echo(f"{peer.name}: {error}", err=True)
                advance()
    return runs


def growth(chosen: Sequence[Peer], photos: list[Photo], sizes: Sequence[float]) -> dict[str, dict[str, Any]]:
    """What each codec costs at each size in megapixels; a size that would take too long is left out with the reason."""
    costs: dict[str, dict[str, Any]] = {peer.name: {} for peer in chosen}
    with tempfile.TemporaryDirectory() as folder, progress("growth", len(sizes) * len(chosen)) as advance:
        child, source = Child(Path(folder)), Path(folder, "pixels.npy")
        for size in sizes:
            np.save(source, mosaic(photos, round(size * 1e6)))
            for peer in chosen:
                costs[peer.name][f"{size:g}"] = _at_size(child, peer, source, size, costs[peer.name])
                advance()
    return costs


def _at_size(child: Child, peer: Peer, source: Path, size: float, before: dict[str, Any]) -> dict[str, Any]:
    known = [(float(mpx), cost["encode"]["work_s"]) for mpx, cost in before.items() if "encode" in cost]
    if before and (not known or known[-1][1] * size / known[-1][0] > LIMIT_S):
        return {"skipped": "would take too long" if known else "failed at a smaller size"}
    try:
        return child.both(peer, source)
    except ChildError as error:
        return {"skipped": str(error)}
