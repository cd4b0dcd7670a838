"""What `--effort` saves at equal quality, and the time it takes, through hcodec's public names."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import product
from typing import TypedDict

import numpy as np

from benchmarks import results
from benchmarks.images import Photo, read
from benchmarks.measurements.clock import timed
from benchmarks.measurements.progress import each
from benchmarks.measurements.task import Task
from benchmarks.metrics import psnr


class File(TypedDict):
    """One file: seconds to encode, warm, and its levels' rates (bits per pixel, container included) and PSNR (dB)."""

    seconds: float
    bpp: list[float]
    psnr: list[float]


def run(task: Task, efforts: Sequence[int]) -> bool:
    """Measures and writes `effort.json`; nothing here can be found wrong."""
    found: dict[str, dict[str, File]] = {str(effort): {} for effort in efforts}
    for photo, effort in each("effort", list(product(task.photos, efforts))):
        found[str(effort)][photo.name] = _measure(photo, effort)
    megapixels = {photo.name: photo.num_px / 1e6 for photo in task.photos}
    results.write({"megapixels": megapixels, "efforts": found}, task.target / results.EFFORT)
    return False


def _measure(photo: Photo, effort: int) -> File:
    import hcodec

    pixels = read(photo.path)
    hcodec.encode(pixels[:64, :64])  # loads the model
    data, seconds = timed(lambda: hcodec.encode(pixels, effort=effort, lossless=False))
    levels = hcodec.info(data).levels
    decoded = [np.asarray(hcodec.decode(io.BytesIO(data), levels=level.level).convert("RGB")) for level in levels]
    return File(
        seconds=round(seconds, 2),
        bpp=[round(photo.bpp(level.prefix_bytes), 5) for level in levels],
        psnr=[round(psnr(pixels, image), 4) for image in decoded],
    )
