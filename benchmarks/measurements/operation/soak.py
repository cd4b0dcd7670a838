"""Memory of one process that encodes and decodes for long: pictures of many sizes, with a loss and without, whole and in part."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.images import Pixels, read
from benchmarks.measurements.memory import resident_mib
from benchmarks.measurements.operation.extent import Extent
from benchmarks.measurements.task import Task

_SAMPLES = 20  # of memory
_EDGES = 8, 400


def measure(task: Task, extent: Extent) -> dict[str, Any]:
    """Resident memory (MiB) at the beginning, along the way and at the end, and how many results were `wrong`."""
    context = multiprocessing.get_context("spawn")  # a new process has no memory but its own
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_soak, task.photos[0].path, extent.count).result()


def _soak(path: Path, count: int) -> dict[str, Any]:
    random, picture = np.random.default_rng(0), read(path)
    memory, wrong = [], 0
    for number in range(count):
        if number % max(1, count // _SAMPLES) == 0:
            memory.append(resident_mib())
        wrong += not _once(_part(picture, random), number)
    return {"count": count, "resident_mib": [round(one, 1) for one in (*memory, resident_mib())], "wrong": wrong}


def _part(picture: Pixels, random: np.random.Generator) -> Pixels:
    """A part of the picture of any size, anywhere."""
    height, width = (int(min(random.integers(*_EDGES), edge)) for edge in picture.shape[:2])
    top, left = (int(random.integers(0, edge - size + 1)) for edge, size in zip(picture.shape, (height, width), strict=False))
    return np.ascontiguousarray(picture[top : top + height, left : left + width])


def _once(pixels: Pixels, number: int) -> bool:
    """Encodes and decodes in one of the ways that there are; whether the result is as it should be."""
    import hcodec

    lossless = number % 4 == 3
    data = hcodec.encode(pixels, lossless=lossless)
    height, width = pixels.shape[:2]
    shown = np.asarray(hcodec.decode(data))
    if number % 4 == 1:
        part = np.asarray(hcodec.decode(data, region=(0, 0, width // 2 + 1, height // 2 + 1)))
        return np.array_equal(part, shown[: height // 2 + 1, : width // 2 + 1])
    if number % 4 == 2:
        decoder = hcodec.StreamDecoder()
        decoder.feed(data)
        return np.array_equal(np.asarray(decoder.image()), shown)
    return np.array_equal(shown, pixels) if lossless else shown.shape == pixels.shape
