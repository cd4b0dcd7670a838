"""Windows side by side: pixels of a picture, or of a region of it, from the states of its windows.

Room: codec (decode step 8). Each part of a window is synthesized with a margin of the states around it, its neighbors'
included, so that no seam shows. It goes row by row of windows, and forgets a state when no row needs it any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hcodec.container.window import Window
from hcodec.errors import HcodecError
from hcodec.models.photo.config import FINEST
from hcodec.models.photo.prefix import Cells
from hcodec.models.runtime.steps import Array
from hcodec.models.runtime.threads import Show, between, each, ignore

MARGIN = 64  # pixels of its neighbors that analysis and synthesis of a window see; a multiple of the coarsest stride
_STATES = 0.7  # of the time of rendering, about, is for states
Pixels = NDArray[np.uint8]
Paint = Callable[[Array, float, Cells], Pixels]  # of a finest state, how many levels it holds, and cells in it: their pixels
States = Callable[[int], tuple[Array, float]]  # of a window: its finest state (1, H/8, W/8, width), and how many levels it holds


@dataclass(frozen=True)
class Rectangle:
    """A part of a picture, in pixels: rows top to bottom, columns left to right, the ends excluded."""

    top: int
    left: int
    bottom: int
    right: int

    @classmethod
    def of(cls, window: Window) -> Rectangle:
        """Returns the place of a window."""
        return cls(window.top, window.left, window.top + window.height, window.left + window.width)

    @classmethod
    def chosen(cls, region: tuple[int, int, int, int] | None, height: int, width: int) -> Rectangle:
        """Returns a region (x, y, width, height) of a picture of that size, None being all; HcodecError if it lies beyond."""
        whole = cls(0, 0, height, width)
        if region is None:
            return whole
        given = tuple(region) if isinstance(region, Iterable) else ()
        if len(given) != 4 or not all(isinstance(value, int | np.integer) for value in given):
            raise HcodecError(f"the region {region!r} is none; x, y, width and height in whole pixels are")
        x, y, wide, high = map(int, given)
        wanted = cls(y, x, y + high, x + wide)
        if wanted.is_empty or wanted.shared(whole) != wanted:
            raise HcodecError(f"the region {x},{y},{wide},{high} is not within the picture of {width}x{height} pixels")
        return wanted

    @property
    def inside(self) -> tuple[slice, slice]:
        """Its index in an array of pixels."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def is_empty(self) -> bool:
        """Whether it holds no pixel."""
        return self.top >= self.bottom or self.left >= self.right

    def grown(self, margin: int, height: int, width: int) -> Rectangle:
        """Returns the rectangle with a margin on all sides, within a picture of that size."""
        top, left = max(self.top - margin, 0), max(self.left - margin, 0)
        return Rectangle(top, left, min(self.bottom + margin, height), min(self.right + margin, width))

    def shared(self, other: Rectangle) -> Rectangle:
        """Returns what lies in both; it may be empty."""
        return Rectangle(
            max(self.top, other.top), max(self.left, other.left), min(self.bottom, other.bottom), min(self.right, other.right)
        )

    def within(self, other: Rectangle) -> Rectangle:
        """Returns the same place as seen from the upper left corner of another one."""
        return Rectangle(self.top - other.top, self.left - other.left, self.bottom - other.top, self.right - other.left)

    def cells(self, stride: int) -> tuple[slice, slice, slice]:
        """Its index in a map (1, H/stride, W/stride, C); its corner lies on a cell's."""
        return (
            slice(None),
            slice(self.top // stride, -(-self.bottom // stride)),
            slice(self.left // stride, -(-self.right // stride)),
        )

    def part(self, window: Window, stride: int) -> tuple[slice, slice, slice]:
        """Returns the index of a window in a map of this rectangle at a stride."""
        return Rectangle.of(window).within(self).cells(stride)


class Mosaic:
    """The windows of a picture of height x width pixels."""

    def __init__(self, windows: Sequence[Window], height: int, width: int) -> None:
        self.places = [Rectangle.of(window) for window in windows]
        self.size = height, width

    def touched(self, region: Rectangle) -> list[int]:
        """Returns the windows that share pixels with a region, in order."""
        return [index for index, place in enumerate(self.places) if not place.shared(region).is_empty]

    def around(self, region: Rectangle) -> list[int]:
        """Returns the windows whose states the pixels of a region need, in order: its own and those that border on it."""
        return self.touched(region.grown(MARGIN, *self.size))

    def rows(self, region: Rectangle) -> list[list[int]]:
        """Returns the same, row by row."""
        found: dict[int, list[int]] = {}
        for index in self.touched(region):
            found.setdefault(self.places[index].top, []).append(index)
        return list(found.values())

    def render(self, paint: Paint, states: States, region: Rectangle | None = None, show: Show = ignore) -> Pixels:
        """Returns the pixels of a region, uint8 (H, W, 3); shows the share of rows of windows that are done."""
        region = region or Rectangle(0, 0, *self.size)
        pixels = np.empty((region.bottom - region.top, region.right - region.left, 3), dtype=np.uint8)
        held: dict[int, tuple[Array, float]] = {}
        rows = self.rows(region)
        for number, row in enumerate(rows):
            parts = [self.places[index].shared(region) for index in row]
            needed = self._around(parts)
            held = {index: state for index, state in held.items() if index in needed}
            missing = [index for index in needed if index not in held]
            begin, shown = number / len(rows), (number + _STATES) / len(rows)
            held |= zip(missing, each(states, missing, between(show, begin, shown)), strict=True)
            for index, part in zip(row, parts, strict=True):
                pixels[part.within(region).inside] = self._shown(paint, held, index, part)
            show((number + 1) / len(rows))
        return pixels

    def _around(self, parts: Sequence[Rectangle]) -> list[int]:
        """Returns the windows whose states the synthesis of parts needs."""
        return sorted({index for part in parts for index in self.around(part)})

    def _shown(self, paint: Paint, held: dict[int, tuple[Array, float]], index: int, part: Rectangle) -> Pixels:
        """Returns the pixels of a part of one window."""
        outer = _on_cells(part, *self.size).grown(MARGIN, *self.size)
        state = self._gathered(held, outer)
        cells = _on_cells(part, *self.size)
        shown = paint(state, held[index][1], cells.within(outer).cells(FINEST))
        return shown[part.within(cells).inside]

    def _gathered(self, held: dict[int, tuple[Array, float]], outer: Rectangle) -> Array:
        """Returns the state (1, H/8, W/8, width) of a rectangle, put together from those of windows."""
        touched = self.touched(outer)
        if len(touched) == 1 and self.places[touched[0]] == outer:
            return held[touched[0]][0]
        rows, columns = -(-(outer.bottom - outer.top) // FINEST), -(-(outer.right - outer.left) // FINEST)
        state = np.empty((1, rows, columns, held[touched[0]][0].shape[3]), dtype=np.float32)
        for index in touched:
            shared = self.places[index].shared(outer)
            state[shared.within(outer).cells(FINEST)] = held[index][0][shared.within(self.places[index]).cells(FINEST)]
        return state


def _on_cells(part: Rectangle, height: int, width: int) -> Rectangle:
    """Returns the rectangle with its edges moved outward to those of cells, within a picture of that size."""
    top, left = part.top // FINEST * FINEST, part.left // FINEST * FINEST
    return Rectangle(top, left, min(-(-part.bottom // FINEST) * FINEST, height), min(-(-part.right // FINEST) * FINEST, width))


def to_pixels(shown: NDArray[np.float32]) -> Pixels:
    """Returns pixels, float (H, W, 3) about 0 to 1, as uint8: clipped, rounded half to even."""
    scaled: Pixels = np.rint(np.clip(shown, 0, 1) * np.float32(255)).astype(np.uint8)
    return scaled
