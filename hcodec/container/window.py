"""Windows: the rectangles of a picture that are coded each on its own, so that memory is bounded by them.

Room: container, below `header`. FORMAT.md, "Windows". Imports Python's own modules only.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

EDGE = 1024  # format: longest edge of a window in pixels
_STEP = 64  # format: windows begin at multiples of it


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of the picture, in pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def inside(self) -> tuple[slice, slice]:
        """Its index in an array of pixels."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

    @property
    def place(self) -> str:
        """Where it is, in words: the column and row of its first pixel."""
        return f"the window at {self.left},{self.top}"


@lru_cache(maxsize=8)
def windows(height: int, width: int) -> tuple[Window, ...]:
    """Returns the windows of a picture in coding order, row by row."""
    rows, columns = _parts(height), _parts(width)
    return tuple(Window(top, left, tall, wide) for top, tall in rows for left, wide in columns)


def count_windows(height: int, width: int) -> int:
    """Returns how many windows a picture has."""
    return _count(height) * _count(width)


def _count(edge: int) -> int:
    return -(-edge // EDGE)


def _parts(edge: int) -> list[tuple[int, int]]:
    """Returns start and length of each window along an edge: all of one length, but for what is left to the last."""
    length = -(-edge // (_count(edge) * _STEP)) * _STEP  # at most EDGE, so something is left to the last one
    return [(start, min(length, edge - start)) for start in range(0, edge, length)]
