"""What the lossless layer costs from each level that it may be built on."""

from __future__ import annotations

from dataclasses import asdict

from benchmarks import results
from benchmarks.images import read
from benchmarks.measurements.inside import LosslessLayerRate, lossless_layer
from benchmarks.measurements.progress import each
from benchmarks.measurements.task import Task


def run(task: Task) -> bool:
    """Measures and writes `lossless-layer.json`, in bits per sub-pixel; nothing here can be found wrong."""
    found = {}
    for photo in each("lossless layer", task.photos):
        found[photo.name] = [_per_sub_pixel(rate, 3 * photo.num_px) for rate in lossless_layer(read(photo.path))]
    results.write(found, task.target / results.LOSSLESS_LAYER)
    return False


def _per_sub_pixel(rate: LosslessLayerRate, num_values: int) -> dict[str, float]:
    return {name: value if name == "level" else round(value / num_values, 5) for name, value in asdict(rate).items()}
