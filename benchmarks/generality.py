"""Other pictures than those that are plotted: the prefix curve on validation crops, and on screenshots, charts and text.

Made from the result files of `python -m benchmarks rd FOLDER`, where a folder of that name was measured.
"""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks import prefix, tables
from benchmarks.rd import all_curves
from benchmarks.results import Curve

SETS = {"valid": "photographs", "graphics": "screenshots and charts"}
"""Results folders, and what is in them."""
TEXT = (
    "The same on other pictures, 256x256 each, so that headers weigh more (hcodec's 60 bytes are 0.007 bpp, JPEG's ten times "
    "that). None of the photographs was used in training; the screenshots and charts, some with text, were among the training "
    "pictures of the lossless layer, and the levels were trained on other crops of two of them and met all of them, once each or "
    "so, in the first minutes of their third run:"
)
_ANCHORS = ("jpeg-best", "jpeg2000", "webp", "avif-s8")
_MODEL = re.compile(r"model \S+ (\w+)")


def table(root: Path, reference: Curve | None) -> str:
    """BD-rates on each set under `root` as Markdown, empty when there is none; says so where the model is not `reference`'s."""
    rows = [row for name in SETS for row in _rows(root / name, reference)]
    head = ("pictures", "against", *prefix.HEAD)
    return tables.markdown(head, rows) if rows else ""


def _rows(folder: Path, reference: Curve | None) -> list[list[str]]:
    curves = all_curves(folder)
    whole = prefix.curve(curves)
    if whole is None:
        return []
    label = f"{SETS[folder.name]} ({len(whole.images)}{_other_model(whole, reference)})"
    anchors = [curves[name] for name in _ANCHORS if name in curves]
    return [[label, anchor.label, *prefix.cells(whole, anchor)] for anchor in anchors]


def _other_model(whole: Curve, reference: Curve | None) -> str:
    ours, other = (_MODEL.search(curve.version) if curve else None for curve in (whole, reference))
    return f"; model {ours[1]}" if ours and other and ours[1] != other[1] else ""
