"""Time on a busy machine: encoding and decoding while other processes compute, on several numbers of threads, beside peers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from benchmarks import peers
from benchmarks.images import Pixels, middle, read
from benchmarks.measurements import inside
from benchmarks.measurements.clock import timed
from benchmarks.measurements.operation.extent import Extent
from benchmarks.measurements.progress import progress
from benchmarks.measurements.task import Task
from benchmarks.peers import Peer

Job = Callable[[], object]
_BUSY = (0, 1, 2)  # processes that compete
_THREADS = {"1 thread": 1, "2 threads": 2, "default threads": os.cpu_count() or 1}
_OTHERS = ("avif-s6", "jxl-e7", "jxl-lossless-e7")
_COMPETITOR = "while True: pass"


def measure(task: Task, extent: Extent) -> dict[str, Any]:
    """Seconds by codec and job: for each number of competing processes those of every round."""
    jobs = _jobs(middle(read(task.photos[0].path), extent.edge))
    seconds: dict[str, dict[str, list[list[float]]]] = {}
    with progress("load", len(_BUSY) * extent.rounds * len(jobs)) as advance:
        for job in jobs.values():
            job()  # loads models and plugins
        for column, count in enumerate(_BUSY):
            with busy(count):
                for _ in range(extent.rounds):
                    for (codec, name), job in jobs.items():
                        rows = seconds.setdefault(codec, {}).setdefault(name, [[] for _ in _BUSY])
                        rows[column].append(round(timed(job)[1], 4))
                        advance()
    inside.set_threads(os.cpu_count() or 1)
    return {"edge": extent.edge, "busy": list(_BUSY), "seconds": seconds}


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Has so many processes compute in the meantime."""
    with ExitStack() as stack:
        for _ in range(count):
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", _COMPETITOR]))
            stack.callback(process.kill)
        yield


def _jobs(pixels: Pixels) -> dict[tuple[str, str], Job]:
    """What is timed, by codec and kind of work."""
    found = {entry.name: entry for entry in peers.every() if isinstance(entry, Peer)}
    jobs: dict[tuple[str, str], Job] = {}
    for label, count in _THREADS.items():
        for name, kind in (("hcodec", ""), ("hcodec-lossless", "lossless ")):
            for work, job in _both(found[name], pixels).items():
                jobs[f"hcodec, {label}", kind + work] = partial(_on_threads, count, job)
    for name in _OTHERS:
        if name in found:
            jobs |= {(found[name].label, work): job for work, job in _both(found[name], pixels).items()}
    return jobs


def _both(peer: Peer, pixels: Pixels) -> dict[str, Job]:
    data = peer.encode(pixels, peer.typical)
    return {"encode": partial(peer.encode, pixels, peer.typical), "decode": partial(peer.decode, data)}


def _on_threads(count: int, job: Job) -> None:
    inside.set_threads(count)
    job()
