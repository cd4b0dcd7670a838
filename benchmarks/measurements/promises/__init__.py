"""Whether hcodec does what it promises, through its command line and files.

Each function measures one promise and says what was wanted, what was found, and whether that is enough. The promises:
quality rises with every level and all ways of cutting a file agree; fewer bits than the best JPEG; the range of rates; file
bytes as estimated; the same picture under every setting of the machine; time, memory, and where they go.
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path

from benchmarks import results
from benchmarks.measurements.promises import machine, quality
from benchmarks.measurements.promises.files import Files
from benchmarks.measurements.task import Task

_NUM_RATE_PHOTOS = 6


def run(task: Task) -> bool:
    """Checks every promise and writes `check.json`; returns whether one is broken."""
    with tempfile.TemporaryDirectory() as work:
        files = Files(Path(work), task.photos, task.num_workers)
        files.make()
        curve = files.curve()
        verdicts = [
            *quality.agreement(files, curve),
            *quality.against_jpeg(curve, task.photos, task.num_workers),
            *quality.rate_range(curve),
            quality.even_levels(curve),
            quality.rate_honesty(task.photos[:_NUM_RATE_PHOTOS]),
            machine.same_everywhere(files, task.photos[0]),
            *machine.speed(task.photos[0]),
        ]
    results.write([asdict(verdict) for verdict in verdicts], task.target / results.CHECK)
    return not all(verdict.kept for verdict in verdicts)
