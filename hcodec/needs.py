"""How much memory coding a picture needs, as measured, compared with what is free.

Room: codec, below `session`. `python -m benchmarks operation --parts growth` measures it.
"""

from __future__ import annotations

from dataclasses import dataclass

from hcodec import memory
from hcodec.container.window import count_windows
from hcodec.models.runtime import threads

_CELL = 8  # pixels an edge of what takes memory, be it for one pixel
_MIB = 2**20


@dataclass(frozen=True)
class _Need:
    """Peak memory in bytes: of the program with its model, of each window in work, and of each pixel of the picture."""

    program: int
    window: int
    pixel: int

    def total(self, height: int, width: int) -> int:
        """Returns what a picture of that size needs."""
        at_once = min(threads.count(), count_windows(height, width))
        return self.program + self.window * at_once + self.pixel * height * width


_NEEDS = {
    "encode": _Need(390 * _MIB, 60 * _MIB, 27),
    "decode": _Need(250 * _MIB, 130 * _MIB, 14),
    "encode_lossless": _Need(390 * _MIB, 60 * _MIB, 62),
    "decode_lossless": _Need(290 * _MIB, 60 * _MIB, 34),
}
_LEAST = 12  # bytes a pixel that every job needs


def check(height: int, width: int) -> None:
    """Raises PictureError if the machine surely lacks the memory for a picture, before any of it is taken."""
    rows, columns = (-(-edge // _CELL) * _CELL for edge in (height, width))
    memory.check(rows * columns, _LEAST)


def note(height: int, width: int, job: str) -> str | None:
    """Returns a line about the memory that a job needs, where that is more than half of what is free.

    job: "encode", "decode", "encode_lossless" or "decode_lossless".
    """
    return memory.note(height * width, _NEEDS[job].total(height, width))
