"""Time and peak memory of a process as pictures grow. The pictures are one photograph, enlarged, with noise."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import peers
from benchmarks.images import enlarged, read
from benchmarks.measurements.operation.extent import Extent
from benchmarks.measurements.process import Child, ChildError
from benchmarks.measurements.progress import progress
from benchmarks.measurements.task import Task
from benchmarks.peers import Peer

_LIMIT_S = 900.0
_LOSSLESS_MPX = 12.0  # larger pictures are coded with a loss only
_NAMES = ("hcodec", "hcodec-lossless")


def measure(task: Task, extent: Extent) -> dict[str, Any]:
    """What each kind of file costs at each size, as `Child.both` says it."""
    codecs = [entry for entry in peers.every() if isinstance(entry, Peer) and entry.name in _NAMES]
    costs: dict[str, dict[str, Any]] = {codec.name: {} for codec in codecs}
    photo = read(task.photos[0].path)
    with tempfile.TemporaryDirectory() as folder, progress("growth", len(codecs) * len(extent.sizes)) as advance:
        child, source = Child(Path(folder), limit_s=_LIMIT_S), Path(folder, "pixels.npy")
        for size in extent.sizes:
            np.save(source, enlarged(photo, round(size * 1e6)))
            for codec in codecs:
                if size <= _LOSSLESS_MPX or not codec.lossless:
                    costs[codec.name][f"{size:g}"] = _cost(child, codec, source)
                advance()
    return {"picture": task.photos[0].name, "costs": costs}


def _cost(child: Child, codec: Peer, source: Path) -> dict[str, Any]:
    try:
        return child.both(codec, source)
    except ChildError as error:
        return {"skipped": str(error)}
