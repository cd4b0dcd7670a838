"""The beginning of a JPEG XL codestream: how deep its samples are and whether it moves, which no plugin of Pillow tells.

Room: pixels, below `facts`. Fields and names are those of ISO/IEC 18181-1: bits from the least significant one of each byte,
and numbers of one of four widths that two bits choose. Imports Python's own modules only.
"""

from __future__ import annotations

from typing import NamedTuple

START = b"\xff\x0a"
_Choice = tuple[tuple[int, int], tuple[int, int], tuple[int, int], tuple[int, int]]  # what is added, and to how many bits
_SIDE: _Choice = ((1, 9), (1, 13), (1, 18), (1, 30))
_PREVIEW_SIDE: _Choice = ((1, 6), (65, 8), (321, 10), (1345, 12))
_PREVIEW_SIDE_BY_8: _Choice = ((16, 0), (32, 0), (1, 5), (33, 9))
_BITS: _Choice = ((8, 0), (10, 0), (12, 0), (1, 6))
_FLOAT_BITS: _Choice = ((32, 0), (16, 0), (24, 0), (1, 6))


class Header(NamedTuple):
    """Bits a sample, and whether there are several frames."""

    bits: int
    moves: bool


class _Bits:
    """The bits of a codestream; beyond its end they are 0."""

    def __init__(self, data: bytes) -> None:
        self._bits = int.from_bytes(data, "little")

    def take(self, count: int) -> int:
        """Returns the next bits as a number."""
        value = self._bits & ((1 << count) - 1)
        self._bits >>= count
        return value

    def choose(self, choice: _Choice) -> int:
        """Returns a number whose first two bits say how it is written."""
        base, count = choice[self.take(2)]
        return base + self.take(count)


def parse(codestream: bytes) -> Header:
    """Returns what the first bytes of a codestream (64 are enough) say."""
    bits = _Bits(codestream[len(START) : 64])
    _skip_size(bits)
    if bits.take(1):  # all as usual
        return Header(8, moves=False)
    moves = _skip_extra(bits) if bits.take(1) else False
    return Header(bits.choose(_FLOAT_BITS if bits.take(1) else _BITS), moves)


def _skip_size(bits: _Bits) -> None:
    small = bits.take(1)
    _skip_side(bits, small)
    if not bits.take(3):  # else the width follows from the height
        _skip_side(bits, small)


def _skip_side(bits: _Bits, small: int) -> None:
    if small:
        bits.take(5)
    else:
        bits.choose(_SIDE)


def _skip_extra(bits: _Bits) -> bool:
    """Skips orientation, intrinsic size and preview; returns whether there is an animation, whose header it skips, too."""
    bits.take(3)
    if bits.take(1):
        _skip_size(bits)
    if bits.take(1):
        side = _PREVIEW_SIDE_BY_8 if bits.take(1) else _PREVIEW_SIDE
        bits.choose(side)
        if not bits.take(3):
            bits.choose(side)
    if not bits.take(1):
        return False
    bits.choose(((100, 0), (1000, 0), (1, 10), (1, 30)))  # ticks a second
    bits.choose(((1, 0), (1001, 0), (1, 8), (1, 10)))
    bits.choose(((0, 0), (0, 3), (0, 16), (0, 32)))  # loops
    bits.take(1)
    return True
