"""One codec on one set of pictures: rate, quality and time at each of its settings, by picture and as means."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

COLUMNS = ("bpp", "psnr-rgb", "ms-ssim-rgb", "encoding_time", "decoding_time")
Columns = dict[str, list[float]]
"""Name of a column to one value for each setting."""


@dataclass(frozen=True)
class Curve:
    """A codec's points. `images`: by picture, all with the same settings; `source`: where published figures come from."""

    name: str
    label: str
    version: str
    settings: tuple[float, ...]
    images: dict[str, Columns] = field(default_factory=dict)
    faults: tuple[str, ...] = ()
    source: str = ""
    means: Columns = field(default_factory=dict)

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

    @property
    def origin(self) -> str:
        """Whether the figures were measured here or by others."""
        return "published" if self.source else "run here"


def averaged(curve: Curve) -> Curve:
    """The curve with the means over its pictures."""
    images = curve.images.values()
    return replace(curve, means={column: _mean([table[column] for table in images]) for column in COLUMNS if images})


def _mean(rows: list[list[float]]) -> list[float]:
    return [float(value) for value in np.mean(np.array(rows, float), axis=0)]


def from_levels(name: str, label: str, points: Mapping[str, Sequence[tuple[float, float]]]) -> Curve:
    """The curve through each picture's (bpp, PSNR in dB), one for each level from 1; its other columns are NaN."""
    images = {}
    for photo, pairs in points.items():
        bpp, psnr = (list(column) for column in zip(*pairs, strict=True))
        images[photo] = dict.fromkeys(COLUMNS, [math.nan] * len(bpp)) | {"bpp": bpp, "psnr-rgb": psnr}
    return averaged(Curve(name, label, "", tuple(float(level) for level in range(1, len(bpp) + 1)), images))
