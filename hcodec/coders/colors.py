"""Pictures of few colors to a stack of bits and back: documents, screens, drawings.

Room: coders. Each pixel is predicted from those around it that are known, by counts of what stood in such a place before;
counts begin at 0, and nothing but bits is in the file. A *wave* is all pixels whose column plus three times their row is
one number: none of them needs another, so they are coded at once. FORMAT.md, "Few colors".
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from hcodec.coding.stack import Stack
from hcodec.errors import FormatError

Indices = NDArray[np.uint16]
Integers = NDArray[np.int64]
_Hashes = NDArray[np.uint64]
# which bits the values of some pixels have, in a wave; the pixels; how probable a 1 is, in 2^-24 -> the bits
_BitOf = Callable[[Integers], Integers]
_Ask = Callable[[_BitOf, Integers, Integers], Integers]

MAX_WAVES = 1 << 17  # format, as those below: each takes its time, however few pixels it has
_DELAY = 3  # waves from a pixel to the one below it
_NEAR = (  # row and column, relative to a pixel, of those that predict it; the first ones count most
    (0, -1), (-1, 0),
    (-1, -1), (-1, 1),
    (0, -2), (-2, 0), (-1, 2), (-1, -2), (0, -3), (-2, 1), (-2, -1),
    (0, -4), (-2, 2), (-2, -2), (-3, 0), (-1, -3), (0, -5), (-3, 1), (-3, -1), (-2, 3), (-2, -3), (-1, -4),
)  # fmt: skip
_SPANS = (2, 4, 11, 22)  # how many of these make a context
_TABLE_BITS = (16, 18, 22, 22)  # of the number of counts of each
_FACTOR = 0x9E3779B97F4A7C15  # 2^64 over the golden ratio
_ONE = 1 << 24  # a probability of 1
_HALF, _LOWER = np.uint64(32), np.uint64((1 << 32) - 1)
_LOWER_ONE, _UPPER_ONE = np.uint64(1), np.uint64(1 << 32)
_ROWS = 16  # of waves that are kept, a power of 2; the farthest neighbor is 10 waves back
_ABOVE = 3  # rows that neighbors reach
_PUSHED = 100  # waves, or digits of them, that are pushed at once


class _Counts:
    """How often a 0 and a 1 stood in each context so far: in one number the first in its lower half, the second above it."""

    def __init__(self) -> None:
        sizes = [1 << bits for bits in _TABLE_BITS]
        self._table = np.zeros(sum(sizes), dtype=np.uint64)
        self._starts = np.array([0, *accumulate(sizes[:-1])], dtype=np.uint64)[:, None]
        self._shifts = np.array([64 - bits for bits in _TABLE_BITS], dtype=np.uint64)[:, None]

    def predict(self, contexts: _Hashes, node: Integers | int) -> tuple[Integers, Integers]:
        """Returns how probable a 1 is, in 2^-24, and the places (4, N) of the counts that say so.

        contexts: (4, N), the smallest first: it gives the first guess, and each further one corrects the guess before.
        """
        mixed = contexts + np.asarray(node).astype(np.uint64) * np.uint64(pow(_FACTOR, len(_NEAR) + 1, 1 << 64))
        mixed ^= mixed >> _HALF
        mixed *= np.uint64(_FACTOR)
        mixed >>= self._shifts
        mixed += self._starts
        places = mixed.view(np.int64)
        counts = self._table.take(places)
        n1 = (counts >> _HALF).view(np.int64)
        total = (counts & _LOWER).view(np.int64) + n1
        n1 *= _ONE
        ones = (8 * n1[0] + _ONE) // (8 * total[0] + 2)
        total += 1
        for level in range(1, len(_SPANS)):
            ones += n1[level]
            ones //= total[level]
        return np.clip(ones, 1, _ONE - 1, out=ones), places

    def learn(self, places: Integers, bits: Integers) -> None:
        """Counts bits where they stood."""
        added = np.empty(places.shape, dtype=np.uint64)
        added[:] = np.where(bits, _UPPER_ONE, _LOWER_ONE)
        np.add.at(self._table, places.ravel(), added.ravel())  # adding is fast in one dimension


class _Waves:
    """The way through a picture, wave by wave; `known`: how many waves are done; `indices`: the colors, (H * W)."""

    def __init__(self, height: int, width: int, num_colors: int) -> None:
        self._height, self._width = height, width
        self._depth = (num_colors - 1).bit_length() if num_colors > 2 else 0
        self._counts = _Counts()
        self._kept = np.zeros((_ROWS, height + _ABOVE), dtype=np.uint64)  # the last waves, by row of the picture
        self._factors = np.array([pow(_FACTOR, k + 1, 1 << 64) for k in range(len(_NEAR))], dtype=np.uint64)[:, None]
        self._waves_back = np.array([column + _DELAY * row for row, column in _NEAR])
        self._rows_back = np.array([row + _ABOVE for row, _ in _NEAR])
        self._rows = np.arange(height)
        self.indices = np.zeros(height * width, dtype=np.uint16)
        self.known = 0

    def walk(self, ask: _Ask) -> None:
        """Asks for the bits of all pixels, until there are none left or `ask` raises."""
        for wave in range(count_waves(self._height, self._width)):
            rows = slice(max(0, -(-(wave - self._width + 1) // _DELAY)), min(self._height - 1, wave // _DELAY) + 1)
            where = wave + np.arange(rows.start, rows.stop) * (self._width - _DELAY)
            # in narrow pictures, most waves have no pixels
            values = self._wave(ask, where, self._contexts(wave, rows)) if len(where) else where
            self.indices[where] = values
            kept = self._kept[wave % _ROWS]
            kept[:] = 0
            kept[rows.start + _ABOVE : rows.start + _ABOVE + len(values)] = values
            self.known = wave + 1

    def _contexts(self, wave: int, rows: slice) -> _Hashes:
        """Returns the contexts of the pixels of a wave, (4, N); behind them, as a last row, the pixels to the left."""
        starts = (wave + self._waves_back) % _ROWS * self._kept.shape[1] + self._rows_back
        near = self._kept.take(starts[:, None] + self._rows[rows])
        found = np.empty((len(_SPANS) + 1, near.shape[1]), dtype=np.uint64)
        found[-1] = near[0]
        near *= self._factors
        begin, below = 0, np.uint64(0)
        for row, end in zip(found, _SPANS, strict=False):
            np.add.reduce(near[begin:end], axis=0, out=row)
            row += below
            begin, below = end, row
        return found

    def _wave(self, ask: _Ask, where: Integers, found: _Hashes) -> Integers:
        """Returns the values of the pixels of a wave: that of the pixel to the left, or another one, bit by bit."""
        contexts, values = found[:-1], found[-1].astype(np.int64)
        same = self._bits(ask, partial(_equal, values), where, contexts, 0)
        others = np.flatnonzero(same == 0)
        if len(others):
            values[others] = self._others(ask, where[others], contexts[:, others], values[others])
        return values

    def _others(self, ask: _Ask, where: Integers, contexts: _Hashes, left: Integers) -> Integers:
        """Returns the values of pixels that differ from those to their left."""
        if not self._depth:
            return 1 - left
        node = np.ones(len(where), dtype=np.int64)
        for shift in range(self._depth - 1, -1, -1):
            node = 2 * node + self._bits(ask, partial(_digit, shift), where, contexts, node)
        return node - (1 << self._depth)

    def _bits(self, ask: _Ask, bit: _BitOf, where: Integers, contexts: _Hashes, node: Integers | int) -> Integers:
        """Returns bits, and counts them."""
        ones, places = self._counts.predict(contexts, node)
        bits = ask(bit, where, ones)
        self._counts.learn(places, bits)
        return bits


def _equal(left: Integers, values: Integers) -> Integers:
    """Returns 1 where two values are one."""
    return (values == left).astype(np.int64)


def _digit(shift: int, values: Integers) -> Integers:
    """Returns one binary digit of each value."""
    return values >> shift & 1


def count_waves(height: int, width: int) -> int:
    """Returns how many waves a picture has."""
    return width + _DELAY * (height - 1)


def encode(indices: Indices, num_colors: int) -> bytes:
    """Returns the stack of a picture of at most MAX_WAVES: (H, W) numbers of colors, of which there are 2 .. 4096."""
    true = indices.ravel()
    asked: list[tuple[NDArray[np.int8], NDArray[np.int32]]] = []

    def ask(bit: _BitOf, where: Integers, ones: Integers) -> Integers:
        """Notes what is to be pushed."""
        bits = bit(true[where].astype(np.int64))
        asked.append((bits.astype(np.int8), ones.astype(np.int32)))
        return bits

    _Waves(indices.shape[0], indices.shape[1], num_colors).walk(ask)
    stack = Stack()
    for end in range(len(asked), 0, -_PUSHED):
        bits, ones = zip(*asked[max(0, end - _PUSHED) : end], strict=True)
        stack.push_bits(np.concatenate(bits), np.concatenate(ones))
    return stack.to_bytes()


class _Exhausted(Exception):
    """A stack that is cut has ended."""


def decode(data: bytes, height: int, width: int, num_colors: int, cut: bool) -> tuple[Indices, NDArray[np.bool_]]:
    """Returns the numbers of colors (H, W), and which of them are known: all, unless the stack is cut.

    Raises FormatError if the stack does not end where the picture does, or the picture has more than MAX_WAVES.
    """
    if count_waves(height, width) > MAX_WAVES:
        raise FormatError(f"a picture of {width}x{height} pixels is too large for this way of coding")
    waves, stack = _Waves(height, width, num_colors), Stack(data, cut)

    def ask(bit: object, where: Integers, ones: Integers) -> Integers:
        """Pops."""
        bits = stack.pop_bits(ones)
        if stack.exhausted:
            raise _Exhausted
        return bits

    with suppress(_Exhausted):
        waves.walk(ask)
    stack.close()
    row, column = np.arange(height)[:, None], np.arange(width)
    return waves.indices.reshape(height, width), column + _DELAY * row < waves.known
