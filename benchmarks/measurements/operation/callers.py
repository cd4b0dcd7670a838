"""Pictures a second from several callers at once: one, forked processes, threads; every result is compared."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import numpy as np

from benchmarks.images import Pixels, middle, read
from benchmarks.measurements.clock import timed
from benchmarks.measurements.operation.extent import Extent
from benchmarks.measurements.progress import each
from benchmarks.measurements.task import Task

_EDGES = (1.0, 0.7, 0.3)  # of the pictures that are coded in turn, as shares of the largest
Expected = tuple[Pixels, bytes, Pixels]
"""A picture, its file, and what that decodes to."""


def measure(task: Task, extent: Extent) -> dict[str, Any]:
    """Encodes and decodes of pictures a second, by kind of caller, and how many results were `wrong`."""
    picture = read(task.photos[0].path)
    expected = [_expected(middle(picture, max(8, round(extent.edge * share)))) for share in _EDGES]  # before any fork
    fork = multiprocessing.get_context("fork")
    kinds: dict[str, tuple[Executor, int]] = {
        "one caller": (ThreadPoolExecutor(1), 1),
        "2 forked processes": (ProcessPoolExecutor(2, mp_context=fork), 2),
        "8 threads": (ThreadPoolExecutor(8), 8),
    }
    rates, wrong = {}, 0
    for name in each("callers", list(kinds)):
        (done, differ), spent = timed(_together, *kinds[name], expected, extent.seconds)
        rates[name] = round(done / spent, 3)
        wrong += differ
    return {"edge": extent.edge, "seconds": extent.seconds, "pictures a second": rates, "wrong": wrong}


def _expected(pixels: Pixels) -> Expected:
    import hcodec

    data = hcodec.encode(pixels, lossless=False)
    return pixels, data, np.asarray(hcodec.decode(data))


def _together(executor: Executor, count: int, expected: Sequence[Expected], seconds: float) -> tuple[int, int]:
    """How many pictures so many callers encode and decode, and how many results differ. TimeoutError if they hang."""
    with executor:
        calls = [executor.submit(_code, expected, seconds, start) for start in range(count)]
        found = [call.result(timeout=10 * seconds + 60) for call in calls]
    return sum(done for done, _ in found), sum(differ for _, differ in found)


def _code(expected: Sequence[Expected], seconds: float, start: int) -> tuple[int, int]:
    """Encodes and decodes until the time is over: how often, and how many results differ."""
    done = differ = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        wanted = expected[(start + done) % len(expected)]
        found = _expected(wanted[0])
        differ += found[1] != wanted[1] or not np.array_equal(found[2], wanted[2])
        done += 1
    return done, differ
