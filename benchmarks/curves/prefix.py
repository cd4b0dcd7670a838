"""The curve of one file cut everywhere: hcodec's levels and the byte cuts between them.

The curve of the levels alone is interpolated between them; this one is measured there, too. The cuts are shares of a level and
not fixed rates: where each point has one rate for all pictures, a mean over pictures of unlike difficulty looks better than
where it has one quality setting, as in most published curves (on Kodak by 6 % of the bits). JPEG 2000 is run, and was
published, at fixed rates; so "picture by picture" is the fairer column there.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.curves.curve import COLUMNS, Columns, Curve, averaged

LEVELS, CUTS = "hcodec", "hcodec-cuts"


def whole_file(curves: dict[str, Curve]) -> Curve | None:
    """Levels and cuts as one curve; None when one of the two is missing, or they are of two versions."""
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


def _merged(settings: Sequence[float], sources: Sequence[Curve], photo: str) -> Columns:
    rows = {
        setting: [source.images[photo][column][index] for column in COLUMNS]
        for source in sources
        for index, setting in enumerate(source.settings)
    }
    return {column: [rows[setting][at] for setting in settings] for at, column in enumerate(COLUMNS)}
