"""Other pictures than those that are plotted: validation crops.

Made from the result files of `python -m benchmarks rd FOLDER`, where a folder of that name was measured.
"""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.curves.bdrate import compare
from benchmarks.curves.curve import Curve
from benchmarks.curves.prefix import LEVELS, whole_file
from benchmarks.reports import tables
from benchmarks.reports.parts import Part
from benchmarks.reports.rate_distortion import all_curves

SETS = {"valid": "photographs"}
"""Results folders, and what is in them."""
_TEXT = (
    "The same on other pictures, 256x256 each, so that headers weigh more (hcodec's 60 bytes are 0.007 bpp, JPEG's ten times "
    "that). None of them was used in training. Screenshots and charts are missing here: all that were at hand have been trained "
    "on."
)
_ANCHORS = ("jpeg-best", "jpeg2000", "webp", "avif-s8")
_MODEL = re.compile(r"model \S+ (\w+)")


def parts(target: Path) -> list[Part]:
    """BD-rates on each set beside the results folder `target`; says so where the model is not the one measured there."""
    reference = all_curves(target).get(LEVELS)
    rows = [row for name in SETS if name != target.name for row in _rows(target.parent / name, reference)]
    return [_TEXT, tables.markdown(("pictures", "against", *tables.COMPARISON), rows)] if rows else []


def _rows(folder: Path, reference: Curve | None) -> list[list[str]]:
    curves = all_curves(folder)
    whole = whole_file(curves)
    if whole is None:
        return []
    label = f"{SETS[folder.name]} ({len(whole.images)}{_other_model(whole, reference)})"
    anchors = [curves[name] for name in _ANCHORS if name in curves]
    return [[label, anchor.label, *tables.comparison(compare(whole, anchor))] for anchor in anchors]


def _other_model(whole: Curve, reference: Curve | None) -> str:
    ours, other = (_MODEL.search(curve.version) if curve else None for curve in (whole, reference))
    return f"; model {ours[1]}" if ours and other and ours[1] != other[1] else ""
