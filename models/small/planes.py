"""Pixels as planes of integers, the form in which the chain models of small pictures code them.

Room: small. numpy only. Three planes always: of a color picture green, red and blue; of a gray one first its class
(black, gray or white), then the value where it is gray, then the value where it is white. So flat black costs next to
nothing, and no distribution need have a peak at either end. All numbers are part of the format (FORMAT.md, "Small
pictures").
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from hcodec.errors import FormatError

Pixels = NDArray[np.uint8]
Planes = NDArray[np.int32]
NUM_PLANES = 3


class Colors:
    """Planes of pixels (..., 3): green, red, blue; all of them coded everywhere.

    low, high: least and largest value of each plane; center, spread: value = center + spread * (about -2 to 2).
    """

    low: ClassVar[Planes] = np.array([0, 0, 0], dtype=np.int32)
    high: ClassVar[Planes] = np.array([255, 255, 255], dtype=np.int32)
    center: ClassVar[tuple[float, ...]] = (128.0, 128.0, 128.0)
    spread: ClassVar[tuple[float, ...]] = (64.0, 64.0, 64.0)

    def split(self, pixels: Pixels) -> Planes:
        """Returns planes int32 (..., 3) of pixels (..., 3)."""
        return pixels[..., [1, 0, 2]].astype(np.int32)

    def merge(self, planes: Planes) -> Pixels:
        """Returns pixels (..., 3) from what `split` made; FormatError on a value that no pixel has."""
        if planes.size and not 0 <= planes.min() <= planes.max() <= 255:
            raise FormatError("a pixel is beyond 0..255")
        return planes[..., [1, 0, 2]].astype(np.uint8)

    def coded(self, planes: Planes, plane: int) -> NDArray[np.bool_]:
        """Returns where a plane is coded, bool (...), from the planes before it."""
        return np.ones(planes.shape[:-1], dtype=np.bool_)


class Grays:
    """Planes of pixels (...): class 0 to 2, then the value from 1 to 251 in class 1, then that from 252 to 255 in class 2."""

    low: ClassVar[Planes] = np.array([0, 1, 252], dtype=np.int32)
    high: ClassVar[Planes] = np.array([2, 251, 255], dtype=np.int32)
    center: ClassVar[tuple[float, ...]] = (1.0, 128.0, 253.5)
    spread: ClassVar[tuple[float, ...]] = (1.0, 64.0, 1.0)

    def split(self, pixels: Pixels) -> Planes:
        """Returns planes int32 (..., 3) of pixels (...); where a plane is not coded it holds its nearest value."""
        value = pixels.astype(np.int32)
        kind = (value >= self.low[1]).astype(np.int32) + (value >= self.low[2])
        return np.stack([kind, value.clip(self.low[1], self.high[1]), value.clip(self.low[2], self.high[2])], -1)

    def merge(self, planes: Planes) -> Pixels:
        """Returns pixels (...) from what `split` made; FormatError on a value that no pixel has."""
        for plane in range(NUM_PLANES):
            values = planes[..., plane][self.coded(planes, plane)]
            if values.size and not self.low[plane] <= values.min() <= values.max() <= self.high[plane]:
                raise FormatError("a pixel is beyond 0..255")
        chosen = [planes[..., 1], planes[..., 2]]
        return np.select([planes[..., 0] == 1, planes[..., 0] == 2], chosen).astype(np.uint8)

    def coded(self, planes: Planes, plane: int) -> NDArray[np.bool_]:
        """Returns where a plane is coded, bool (...), from the planes before it."""
        return np.ones(planes.shape[:-1], dtype=np.bool_) if plane == 0 else planes[..., 0] == plane
