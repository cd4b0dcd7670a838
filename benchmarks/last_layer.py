"""`python -m benchmarks last-layer FOLDER`: what the lossless layer costs from each level, and what bits back is worth there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks import session, tables
from benchmarks.images import folder as image_folder
from benchmarks.images import read
from benchmarks.inside import LastLayerRate, last_layer

FILE = "last-layer.json"
_COLUMNS = {
    "level_bits": "its levels",
    "direct_bits": "direct",
    "net_bits": "bits back (net)",
    "gross_bits": "same latents, no refund",
    "elbo_bits": "negative ELBO",
}


def run(folder: Path, target: Path, limit: int | None) -> bool:
    """Measures the pictures of `folder` and writes `target/last-layer.json`; nothing here can be found wrong."""
    found: dict[str, list[dict[str, float]]] = {}
    photos = image_folder(folder, limit)
    with session.progress("last layer", len(photos)) as advance:
        for photo in photos:
            pixels = read(photo.path)
            found[photo.name] = [_per_sub_pixel(rate, pixels.size) for rate in last_layer(pixels)]
            advance()
    target.mkdir(parents=True, exist_ok=True)
    (target / FILE).write_text(json.dumps(found, indent=1) + "\n")
    print(table(target))
    return False


def _per_sub_pixel(rate: LastLayerRate, num_values: int) -> dict[str, float]:
    values = asdict(rate)
    return {name: value if name == "level" else round(value / num_values, 5) for name, value in values.items()}


def table(target: Path) -> str:
    """The means over all pictures, by the level that is built on, as Markdown; empty when there are no results."""
    if not (target / FILE).exists():
        return ""
    pictures: list[list[dict[str, float]]] = list(json.loads((target / FILE).read_text()).values())
    rows = [_row([picture[i] for picture in pictures]) for i in range(len(pictures[0]))]
    return tables.markdown(["built on level", *_COLUMNS.values(), "total, the shorter way"], rows)


def _row(rates: Sequence[dict[str, float]]) -> list[str]:
    means = {name: sum(rate[name] for rate in rates) / len(rates) for name in _COLUMNS}
    total = sum(rate["level_bits"] + min(rate["direct_bits"], rate["net_bits"]) for rate in rates) / len(rates)
    return [f"{rates[0]['level']:g}", *(f"{mean:.3f}" for mean in means.values()), f"{total:.3f}"]
