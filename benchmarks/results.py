"""Result files: the form of CompressAI's, with what makes them checkable beside it.

`results` holds means over the pictures, point by point: `bpp`, `psnr-rgb`, `ms-ssim-rgb`, `encoding_time`, `decoding_time`, so
that CompressAI's plot tool reads them. `images` holds the same per picture, `settings` the points, `faults` what was wrong.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measurement import Measurement
from benchmarks.peers import Peer

PUBLISHED = Path(__file__).parent / "published"
RESULTS = Path(__file__).parent / "results"
_NUM_IMAGES = {"kodak": 24}  # of the sets under published/
COLUMNS = ("bpp", "psnr-rgb", "ms-ssim-rgb", "encoding_time", "decoding_time")
_DIGITS = {"bpp": 6, "psnr-rgb": 4, "ms-ssim-rgb": 6, "encoding_time": 4, "decoding_time": 4}
Table = dict[str, list[float]]
"""Column name to one value for each point."""


@dataclass(frozen=True)
class Curve:
    """One codec on one set of pictures. `images`: per picture, all with the same points; `source`: of published figures."""

    name: str
    label: str
    version: str
    settings: tuple[float, ...]
    images: dict[str, Table] = field(default_factory=dict)
    faults: tuple[str, ...] = ()
    source: str = ""
    means: Table = field(default_factory=dict)

    @property
    def bpp(self) -> list[float]:
        """Mean bits per pixel of each point."""
        return self.means["bpp"]

    @property
    def psnr(self) -> list[float]:
        """Mean PSNR in dB of each point."""
        return self.means["psnr-rgb"]

    @property
    def ms_ssim(self) -> list[float]:
        """Mean MS-SSIM 0..1 of each point; empty when unknown."""
        return self.means.get("ms-ssim-rgb", [])

    def is_published(self) -> bool:
        """Whether the figures are others', not measured here."""
        return bool(self.source)


def collect(peer: Peer, measurements: Sequence[Measurement]) -> Curve:
    """The curve of a peer: the points without fault that all pictures have in common."""
    sound = [measurement for measurement in measurements if not measurement.error]
    shared = set.intersection(*({p.setting for p in m.points if not p.faults} for m in sound)) if sound else set()
    settings = tuple(sorted(shared))
    images = {measurement.photo: _table(measurement, settings) for measurement in sound}
    faults = tuple(line for measurement in measurements for line in measurement.faults)
    return averaged(Curve(peer.name, peer.label, peer.version, settings, images, faults))


def _table(measurement: Measurement, settings: tuple[float, ...]) -> Table:
    points = {point.setting: point for point in measurement.points}
    rows = [points[setting] for setting in settings]
    return {
        "bpp": [8 * row.num_bytes / measurement.num_px for row in rows],
        "psnr-rgb": [row.psnr for row in rows],
        "ms-ssim-rgb": [row.ms_ssim for row in rows],
        "encoding_time": [row.encode_s for row in rows],
        "decoding_time": [row.decode_s for row in rows],
    }


def averaged(curve: Curve) -> Curve:
    """The curve with the means over its pictures, metric per picture first."""
    tables = curve.images.values()
    means = {column: _mean([table[column] for table in tables]) for column in COLUMNS if tables}
    return Curve(curve.name, curve.label, curve.version, curve.settings, curve.images, curve.faults, curve.source, means)


def _mean(rows: list[list[float]]) -> list[float]:
    return [float(value) for value in np.mean(np.array(rows, float), axis=0)]


def write(curve: Curve, folder: Path) -> Path:
    """Writes `folder/NAME.json` and returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{curve.name}.json"
    document = {
        "name": curve.name,
        "description": f"{curve.label}; {curve.version}; means over {len(curve.images)} pictures of {folder.name}",
        "label": curve.label,
        "version": curve.version,
        "settings": list(curve.settings),
        "results": _rounded(curve.means),
        "faults": list(curve.faults),
        "images": {name: _rounded(table) for name, table in curve.images.items()},
    }
    path.write_text(_dump(document) + "\n")
    return path


def _rounded(table: Table) -> dict[str, list[float | None]]:
    return {column: [_number(value, _DIGITS[column]) for value in values] for column, values in table.items()}


def _number(value: float, digits: int) -> float | None:
    return round(value, digits) if math.isfinite(value) else None


def _dump(document: Any, indent: str = "") -> str:
    """JSON with one line for each list of numbers, which keeps changes readable."""
    if not isinstance(document, dict) or not document:
        return json.dumps(document)
    inner = indent + " "
    rows = [f"{inner}{json.dumps(key)}: {_dump(value, inner)}" for key, value in document.items()]
    return "{\n" + ",\n".join(rows) + f"\n{indent}}}"


def load(path: Path) -> Curve | None:
    """The curve of a result file that `write` made, or None when the file is something else."""
    document = json.loads(path.read_text())
    if not isinstance(document, dict) or "images" not in document:
        return None
    return Curve(
        name=document["name"],
        label=document["label"],
        version=document["version"],
        settings=tuple(document["settings"]),
        images={name: _floats(table) for name, table in document["images"].items()},
        faults=tuple(document["faults"]),
        means=_floats(document["results"]),
    )


def _floats(table: dict[str, list[float | None]]) -> Table:
    return {column: [math.nan if v is None else v for v in values] for column, values in table.items()}


def load_folder(folder: Path) -> dict[str, Curve]:
    """The curves of a results folder by name, without those that have no points."""
    curves = [load(path) for path in sorted(folder.glob("*.json"))]
    return {curve.name: curve for curve in curves if curve and curve.settings}


def published(dataset: str, num_images: int) -> dict[str, Curve]:
    """Others' figures for a set of pictures, by name; none for a part of it, which would be another set."""
    if _NUM_IMAGES.get(dataset) != num_images:
        return {}
    return {curve.name: curve for curve in map(_load_published, sorted((PUBLISHED / dataset).glob("*.json")))}


def _load_published(path: Path) -> Curve:
    document = json.loads(path.read_text())
    columns = {"bpp": "bpp", "psnr": "psnr-rgb", "ms_ssim": "ms-ssim-rgb"}
    means = {column: document[key] for key, column in columns.items() if key in document}
    settings = tuple(float(index) for index in range(len(document["bpp"])))
    return Curve(path.stem, document["name"], "", settings, source=document["source"], means=means)
