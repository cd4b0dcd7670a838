"""`python -m benchmarks speed FOLDER`: time and memory, all codecs in one run, interleaved, as medians and spreads.

Three questions. Warm: encode, first image, decode in a process that has done it before. Cold: the same from the start of a
process, with its peak memory. Growth: both from 0.1 to 50 megapixels. All codecs get the same number of threads.
"""

from __future__ import annotations

import json
import os
import pickle
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks import peers, session, speed_report
from benchmarks.images import Photo, Pixels, mosaic, read
from benchmarks.images import folder as image_folder
from benchmarks.measure import timed
from benchmarks.peers import NothingYetError, Peer

FILE = "speed.json"
_NUM_PHOTOS = 3
_WARM_ROUNDS = 5
_COLD_ROUNDS = 3
_BUDGET_S = 25.0  # after which a slow codec is not measured again in the warm rounds
_SIZES_MPX = (0.1, 0.4, 2.0, 12.0, 50.0)
_LIMIT_S = 180.0
_ROOT = Path(__file__).parents[1]
Times = dict[str, dict[str, list[float]]]


def run(folder: Path, target: Path, names: tuple[str, ...], limit: int | None, sizes: Sequence[float] = _SIZES_MPX) -> bool:
    """Measures on the first pictures of `folder` (three unless `limit` is given) and writes `target/speed.json`."""
    found = peers.speed()
    chosen = session.choose(found, names)
    photos = image_folder(folder, limit or _NUM_PHOTOS)
    document = {
        "machine": _machine(),
        "photos": [photo.name for photo in photos],
        "labels": {peer.name: f"{peer.label} at {peer.typical:g}" if peer.typical else peer.label for peer in chosen},
        "absent": {entry.name: entry.reason for entry in found if not isinstance(entry, Peer)},
        "warm": warm(chosen, [read(photo.path) for photo in photos]),
        "cold": cold(chosen, read(photos[0].path)),
        "growth": growth([peer for peer in chosen if not peer.name.startswith("compressai-")], photos, sizes),
    }
    target.mkdir(parents=True, exist_ok=True)
    (target / FILE).write_text(json.dumps(document, indent=1) + "\n")
    speed_report.report(target)
    return False


def _machine() -> dict[str, str]:
    try:
        model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    except OSError:
        model = None
    return {
        "processor": model[1] if model else platform.processor(),
        "cores": str(os.cpu_count()),
        "threads": os.environ.get("OMP_NUM_THREADS", "default"),
        "python": platform.python_version(),
    }


def _rotated(chosen: Sequence[Peer], start: int) -> list[Peer]:
    """The codecs in another order each round, so that none always runs after the same one."""
    start %= max(1, len(chosen))
    return [*chosen[start:], *chosen[:start]]


# --- warm


def warm(chosen: Sequence[Peer], pictures: Sequence[Pixels], rounds: int = _WARM_ROUNDS) -> Times:
    """Seconds of each encode, first image and decode, after one round that is not counted."""
    times: Times = {peer.name: {"encode_s": [], "first_s": [], "decode_s": []} for peer in chosen}
    spent = dict.fromkeys(times, 0.0)
    with session.progress("warm", (rounds + 1) * len(chosen)) as advance:
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
        _, first_s = timed(peer.decode, _first_part(peer, data))
        _, decode_s = timed(peer.decode, data)
        if peer.name in times:
            for column, seconds in {"encode_s": encode_s, "first_s": first_s, "decode_s": decode_s}.items():
                times[peer.name][column].append(round(seconds, 5))


def _first_part(peer: Peer, data: bytes) -> bytes:
    """The shortest piece of a file that shows something: its first step, or everything."""
    if peer.stream is None:
        return data
    try:
        return peer.stream.cut(data, min(peer.stream.steps(data).values()))
    except NothingYetError:
        return data


# --- cold and growth: one process for each job


@dataclass
class Child:
    """Starts processes that each do one job of one codec."""

    folder: Path
    adapters: dict[str, Path] = field(default_factory=dict)

    def run(self, job: str, peer: Peer, source: Path, target: Path) -> dict[str, float]:
        """Seconds from the start of the process to its end and of the work alone, and MiB. Raises ChildError."""
        if peer.name not in self.adapters:
            self.adapters[peer.name] = self.folder / f"{peer.name}.pickle"
            self.adapters[peer.name].write_bytes(pickle.dumps(peer))
        command = [sys.executable, "-m", "benchmarks.child", job, str(self.adapters[peer.name]), str(source), str(target)]
        start = time.perf_counter()
        try:
            done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, timeout=_LIMIT_S, check=True)
        except subprocess.TimeoutExpired as error:
            raise ChildError(f"took more than {_LIMIT_S:.0f} s") from error
        except subprocess.CalledProcessError as error:
            raise ChildError((error.stderr.strip().splitlines() or ["killed"])[-1][:200]) from error
        wall_s = time.perf_counter() - start
        return {"wall_s": round(wall_s, 4), **{k: round(v, 4) for k, v in json.loads(done.stdout).items()}}

    def both(self, peer: Peer, pixels: Path) -> dict[str, Any]:
        """What encoding and decoding one picture costs."""
        file, result = self.folder / f"{peer.name}.file", self.folder / "decoded.npy"
        encoded = self.run("encode", peer, pixels, file)
        return {"encode": encoded, "decode": self.run("decode", peer, file, result), "bytes": file.stat().st_size}


class ChildError(Exception):
    """A job failed, or took too long."""


def cold(chosen: Sequence[Peer], pixels: Pixels, rounds: int = _COLD_ROUNDS) -> dict[str, list[dict[str, Any]]]:
    """What each codec costs from the start of a process, several times."""
    runs: dict[str, list[dict[str, Any]]] = {peer.name: [] for peer in chosen}
    with tempfile.TemporaryDirectory() as folder, session.progress("cold", rounds * len(chosen)) as advance:
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
    with tempfile.TemporaryDirectory() as folder, session.progress("growth", len(sizes) * len(chosen)) as advance:
        child, source = Child(Path(folder)), Path(folder, "pixels.npy")
        for size in sizes:
            np.save(source, mosaic(photos, round(size * 1e6)))
            for peer in chosen:
                costs[peer.name][f"{size:g}"] = _at_size(child, peer, source, size, costs[peer.name])
                advance()
    return costs


def _at_size(child: Child, peer: Peer, source: Path, size: float, before: dict[str, Any]) -> dict[str, Any]:
    known = [(float(mpx), cost["encode"]["work_s"]) for mpx, cost in before.items() if "encode" in cost]
    if before and (not known or known[-1][1] * size / known[-1][0] > _LIMIT_S):
        return {"skipped": "would take too long" if known else "failed at a smaller size"}
    try:
        return child.both(peer, source)
    except ChildError as error:
        return {"skipped": str(error)}
