"""Result files: how every measurement is kept, as JSON, and read again.

A curve has the form of CompressAI's result files, which its plot tool reads: `results` holds the means over the pictures, point
by point. Beside them stand `images`, the same by picture, `settings`, the points, and `faults`, what was wrong.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from benchmarks.curves.curve import Columns, Curve

PUBLISHED = Path(__file__).parent / "published"
RESULTS = Path(__file__).parent / "results"
# names that those who measure and those who report agree on: files and folders within a results folder
ABSENT, CHAINS, CHECK, EFFORT = "absent.json", "bits-back.json", "check.json", "effort.json"
DEEP, DOCUMENTS = "deep.json", "documents.json"
INTEGERS, LOSSLESS_LAYER, NUM_PX = "integers.json", "lossless-layer.json", "pixels.json"
OPERATION, SPEED = "operation.json", "speed.json"
LOSSLESS, PROGRESSIVE = "lossless", "progressive"
BOUND = "negative ELBO, continuous"
"""The row of `CHAINS` that the others are compared with."""
_NUM_IMAGES = {"kodak": 24}  # of the sets under published/
_DIGITS = {"bpp": 6, "psnr-rgb": 4, "ms-ssim-rgb": 6, "encoding_time": 4, "decoding_time": 4}


def write(document: Any, path: Path) -> None:
    """Writes a JSON document and its folder; lists of plain values stand on one line, which keeps changes readable."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_text(document) + "\n")


def _text(value: Any, indent: str = "") -> str:
    inner = indent + " "
    if isinstance(value, dict) and value:
        rows = [f"{inner}{json.dumps(key)}: {_text(entry, inner)}" for key, entry in value.items()]
        return "{\n" + ",\n".join(rows) + f"\n{indent}}}"
    if isinstance(value, list) and any(isinstance(entry, dict) for entry in value):
        return "[\n" + ",\n".join(inner + _text(entry, inner) for entry in value) + f"\n{indent}]"
    return json.dumps(value)


def read(path: Path) -> Any:
    """The document that `write` wrote, or None when there is no such file."""
    return json.loads(path.read_text()) if path.exists() else None


def write_curve(curve: Curve, folder: Path) -> Path:
    """Writes `folder/NAME.json` and returns its path."""
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
    write(document, path)
    return path


def _rounded(columns: Columns) -> dict[str, list[float | None]]:
    return {column: [rounded(value, _DIGITS[column]) for value in values] for column, values in columns.items()}


def rounded(value: float, digits: int) -> float | None:
    """The number for a result file, where None stands for what is not finite."""
    return round(value, digits) if math.isfinite(value) else None


def load_curve(path: Path) -> Curve | None:
    """The curve of a result file, or None when the file is something else."""
    document = read(path)
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


def _floats(columns: dict[str, list[float | None]]) -> Columns:
    return {column: [math.nan if value is None else value for value in values] for column, values in columns.items()}


def load_curves(folder: Path) -> dict[str, Curve]:
    """The curves of a results folder by name, without those that have no points."""
    curves = [load_curve(path) for path in sorted(folder.glob("*.json"))]
    return {curve.name: curve for curve in curves if curve and curve.settings}


def published(dataset: str, num_images: int) -> dict[str, Curve]:
    """Others' figures for a set of pictures, by name; none for a part of it, which would be another set."""
    if _NUM_IMAGES.get(dataset) != num_images:
        return {}
    return {curve.name: curve for curve in map(_load_published, sorted((PUBLISHED / dataset).glob("*.json")))}


def _load_published(path: Path) -> Curve:
    document = read(path)
    columns = {"bpp": "bpp", "psnr": "psnr-rgb", "ms_ssim": "ms-ssim-rgb"}
    means = {column: document[key] for key, column in columns.items() if key in document}
    settings = tuple(float(index) for index in range(len(document["bpp"])))
    return Curve(path.stem, document["name"], "", settings, source=document["source"], means=means)
