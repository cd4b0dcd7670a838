"""A quick look at a picture: is it a document, a screen or a drawing, which is better stored than coded in levels?

Room: pixels, before encoding. Takes a few milliseconds a megapixel. Imports numpy and Pillow only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_STEP = 3  # of the rows that are looked at for flat areas
_FLAT = 0.5  # share of pixels that are as one of their neighbors, from which on a picture is no photograph
_FEW = 2  # colors with which it never is one
_LEAST_PX = 128 * 128  # below it too little is seen, and all that is there is preview


@dataclass(frozen=True)
class Look:
    """What a picture looks like.

    samples: uint8 (H, W) if all of it is gray, else (H, W, 3); palette: its colors, rising, (N) or (N, 3), if there are few;
    flat: the share of pixels, 0 to 1, that are as one of their neighbors.
    """

    samples: NDArray[np.uint8]
    palette: NDArray[np.uint8] | None
    flat: float

    @property
    def is_drawn(self) -> bool:
        """Whether it is no photograph."""
        few = self.palette is not None and len(self.palette) <= _FEW
        return self.samples.shape[0] * self.samples.shape[1] >= _LEAST_PX and (self.flat >= _FLAT or few)


def look(pixels: NDArray[np.uint8], max_colors: int) -> Look:
    """Returns what a picture uint8 (H, W, 3) looks like; palette: only if it has at most `max_colors` colors."""
    red = pixels[..., 0]
    is_gray = bool((red == pixels[..., 1]).all() and (red == pixels[..., 2]).all())
    samples = np.ascontiguousarray(red) if is_gray else pixels
    return Look(samples, _palette(samples, max_colors), _flat(samples))


def _palette(samples: NDArray[np.uint8], max_colors: int) -> NDArray[np.uint8] | None:
    if samples.ndim == 2:
        return np.flatnonzero(np.bincount(samples.ravel(), minlength=256)).astype(np.uint8)
    found = Image.fromarray(samples).getcolors(max_colors)
    return None if found is None else np.array(sorted(color for _, color in found), dtype=np.uint8)


def _flat(samples: NDArray[np.uint8]) -> float:
    """Returns the share of pixels that are as the one to their left or the one above, in some of the rows."""
    rows = samples.reshape(*samples.shape[:2], -1)
    if 1 in rows.shape[:2]:  # a line has neighbors on one side alone
        line = rows.reshape(-1, rows.shape[2])
        return float((line[1:] == line[:-1]).all(axis=1).mean()) if len(line) > 1 else 0.0
    here, above = rows[1::_STEP, 1:], rows[:-1:_STEP, 1:][: len(rows[1::_STEP])]
    if not here.size:
        return 0.0
    same = (here == rows[1::_STEP, :-1]).all(axis=2) | (here == above).all(axis=2)
    return float(same.mean())
