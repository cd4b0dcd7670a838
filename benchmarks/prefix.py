"""The prefix curve of one file: every level and the byte cuts between them, against published figures and what was run here.

Made from result files alone. hcodec's other curve, `hcodec`, joins its levels by interpolation; this one is measured in
between, too, so nothing about the bytes inside of a level is taken on trust. The cuts are shares of a level and not fixed
rates: where each point has one rate for all pictures, a mean over pictures of unlike difficulty looks better than where it has
one quality setting, as in most published curves (on Kodak by 6 % of the bits). JPEG 2000 is run, and was published, at fixed
rates; so "picture by picture" is the fairer column there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

from benchmarks import bdrate, tables
from benchmarks.bdrate import BANDS_DB, Delta
from benchmarks.growth import growth
from benchmarks.results import COLUMNS, Curve, Table, averaged

FILE = "prefix.json"
LEVELS, CUTS = "hcodec", "hcodec-cuts"
_ANCHORS = (
    *("jpeg-pillow", "jpeg2000-openjpeg", "bpg-444", "vtm-18", "ctc"),
    *("jpeg-best", "jpeg2000", "webp", "avif-s8", "avif-s6"),
)
BANDS = ("below 32 dB", "32 to 36 dB", "above 36 dB")
"""Names of `bdrate.BANDS_DB`."""
HEAD = ("BD-rate", *BANDS, "overlap", "picture by picture")


def curve(curves: dict[str, Curve]) -> Curve | None:
    """Levels and byte cuts as one curve, by rising number of levels; None when one of the two was not measured."""
    if LEVELS not in curves or CUTS not in curves:
        return None
    levels, cuts = curves[LEVELS], curves[CUTS]
    if levels.version != cuts.version:
        return None
    settings = sorted({*levels.settings, *cuts.settings})
    shared = sorted(set(levels.images) & set(cuts.images))
    images = {photo: _merged(settings, (levels, cuts), photo) for photo in shared}
    label = f"hcodec (one file: {len(levels.settings)} levels, {len(cuts.settings)} byte cuts)"
    return averaged(Curve("hcodec-prefix", label, levels.version, tuple(settings), images))


def _merged(settings: Sequence[float], sources: Sequence[Curve], photo: str) -> Table:
    rows = {
        setting: [source.images[photo][column][index] for column in COLUMNS]
        for source in sources
        for index, setting in enumerate(source.settings)
    }
    return {column: [rows[setting][at] for setting in settings] for at, column in enumerate(COLUMNS)}


def anchors(curves: dict[str, Curve]) -> list[Curve]:
    """The curves that the prefix curve is compared with, those that are there; published ones first."""
    return [curves[name] for name in _ANCHORS if name in curves]


def against(tested: Curve, anchor: Curve) -> dict[str, Delta | None]:
    """BD-rates of `tested` by band, "overall" first; None where both curves share less than half a decibel."""
    lines = bdrate.psnr_line(tested), bdrate.psnr_line(anchor)
    bands = {name: bdrate.delta(*lines, band) for name, band in zip(BANDS, BANDS_DB, strict=True)}
    return {"overall": bdrate.delta(*lines), **bands}


def report(target: Path, curves: dict[str, Curve]) -> str:
    """Writes `target/prefix.json` and returns the BD-rates as Markdown; empty when levels or cuts were not measured."""
    whole = curve(curves)
    if whole is None:
        return ""
    (target / FILE).write_text(json.dumps(document(whole, curves), indent=1) + "\n")
    return table(whole, curves)


def document(whole: Curve, curves: dict[str, Curve]) -> dict[str, object]:
    """What `prefix.json` holds: the points, what each level adds, and the BD-rates of both ways to draw the curve."""
    tested = {"levels and cuts": whole, "levels": curves[LEVELS]}
    return {
        "version": whole.version,
        "pictures": len(whole.images),
        "points": [
            {"levels": setting, "bpp": round(bpp, 6), "psnr": round(psnr, 4)}
            for setting, bpp, psnr in zip(whole.settings, whole.bpp, whole.psnr, strict=True)
        ],
        "levels": [{name: _finite(value, 6) for name, value in vars(row).items()} for row in growth(curves[LEVELS])],
        "bd-rate": {name: {anchor.name: _percents(line, anchor) for anchor in anchors(curves)} for name, line in tested.items()},
    }


def _percents(tested: Curve, anchor: Curve) -> dict[str, float | list[float] | None]:
    deltas = against(tested, anchor)
    whole = deltas["overall"]
    percents = {name: _finite(delta.percent, 2) if delta else None for name, delta in deltas.items()}
    return {
        **percents,
        "overlap": [round(whole.low_db, 2), round(whole.high_db, 2)] if whole else None,
        "picture by picture": _finite(bdrate.mean_of_pictures(tested, anchor), 2),
    }


def _finite(value: float, digits: int) -> float | None:
    return round(value, digits) if math.isfinite(value) else None


def table(whole: Curve, curves: dict[str, Curve]) -> str:
    """BD-rates of the prefix curve by band, and overall of the levels alone, as Markdown."""
    head = ("against", *HEAD, "levels alone", "anchor")
    rows = []
    for anchor in anchors(curves):
        alone = tables.percent(against(curves[LEVELS], anchor)["overall"])
        origin = "published" if anchor.is_published() else "run here"
        rows.append([anchor.label, *cells(whole, anchor), alone, origin])
    return tables.markdown(head, rows)


def cells(tested: Curve, anchor: Curve) -> list[str]:
    """What `HEAD` names, as text: the mean of the pictures' own BD-rates needs pictures, which published curves do not have."""
    deltas = against(tested, anchor)
    overall = deltas["overall"]
    overlap = f"{overall.low_db:.1f}–{overall.high_db:.1f} dB" if overall else "none"
    each = tables.signed(bdrate.mean_of_pictures(tested, anchor))
    return [*(tables.percent(delta) for delta in deltas.values()), overlap, each]
