"""Time to the first picture of a file that arrives, and of showing it after each level, against one decode; warm."""

from __future__ import annotations

from typing import Any

from benchmarks.images import read
from benchmarks.measurements.clock import timed
from benchmarks.measurements.operation.extent import Extent
from benchmarks.measurements.progress import each
from benchmarks.measurements.task import Task


def measure(task: Task, extent: Extent) -> dict[str, Any]:
    """Seconds of every round: `first`, `all` levels shown one after the other, `decode` at once."""
    import hcodec

    data = hcodec.encode(read(task.photos[0].path), lossless=False)
    ends = [level.prefix_bytes for level in hcodec.info(data).levels]
    seconds: dict[str, list[float]] = {"first": [], "all": [], "decode": []}
    for number in each("first picture", range(extent.rounds + 1)):
        times = {
            "first": timed(_show, data, ends[:1])[1],
            "all": timed(_show, data, ends)[1],
            "decode": timed(hcodec.decode, data)[1],
        }
        for name, spent in times.items() if number else ():  # the first round makes everything warm
            seconds[name].append(round(spent, 4))
    return {"picture": task.photos[0].name, "levels": len(ends), "seconds": seconds}


def _show(data: bytes, ends: list[int]) -> None:
    """Shows what has arrived at each of the ends."""
    import hcodec

    decoder, begin = hcodec.StreamDecoder(), 0
    for end in ends:
        decoder.feed(data[begin:end])
        decoder.image()
        begin = end
