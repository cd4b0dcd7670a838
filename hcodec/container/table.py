"""The layer table of a header: length and checksum of every piece of every layer.

Room: container, below `header`. A layer has one piece for each window; of a layer that is cut, the first ones are there.
FORMAT.md, "Synopsis". Imports `fields`, `errors` and Python's own modules only.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

from hcodec.container.fields import MAX_LENGTH_BYTES, Cursor, Range, pack_uint32s, pack_varint
from hcodec.errors import FormatError

MAX_LAYERS = 32  # format
CUT_LOSSLESS = "a lossless file cannot be cut inside a layer"
_LENGTH = Range("length of a piece", 0, MAX_LENGTH_BYTES)  # format
_SOME = Range(_LENGTH.name, 1, MAX_LENGTH_BYTES)  # format: of the lossless layer, and of the piece that is cut


class Piece(NamedTuple):
    """One row of the table: the length in bytes of a window's piece of a layer, and the CRC-32 of these bytes."""

    num_bytes: int
    crc32: int

    def pack(self) -> bytes:
        """Returns the bytes of the row."""
        return pack_varint(self.num_bytes) + pack_uint32s([self.crc32])


@dataclass(frozen=True)
class Layer:
    """The rows of one layer: a piece for each window, in the order of the windows."""

    pieces: tuple[Piece, ...]

    @classmethod
    def of(cls, pieces: Iterable[bytes]) -> Layer:
        """Returns the rows for the bytes of pieces."""
        return cls(tuple(Piece(len(piece), zlib.crc32(piece)) for piece in pieces))

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """Where each piece begins in the layer, and at last where the layer ends, in bytes."""
        return tuple(accumulate((piece.num_bytes for piece in self.pieces), initial=0))

    @property
    def num_bytes(self) -> int:
        """Bytes of all its pieces."""
        return self.starts[-1]


@dataclass(frozen=True)
class Shape:
    """What decides how many rows a table may have, and what they may say: windows of the picture, and kind of the file."""

    num_windows: int
    cut: bool
    lossless: bool

    @property
    def num_layers(self) -> Range:
        """How many layers there may be: the first one is always a whole level."""
        return Range("number of layers", 1 + self.cut + self.lossless, MAX_LAYERS)

    @property
    def num_last(self) -> Range:
        """How many pieces the last layer may have."""
        return Range("number of pieces of the last layer", 1 if self.cut else self.num_windows, self.num_windows)

    def length(self, in_last: bool, is_last: bool) -> Range:
        """How long a piece may be: one in the last layer, or the last one of all."""
        return _SOME if (in_last and self.lossless) or (is_last and self.cut) else _LENGTH

    def check(self, layers: Sequence[Layer]) -> None:
        """Raises FormatError if these are not the layers of such a table."""
        if self.cut and self.lossless:
            raise FormatError(CUT_LOSSLESS)
        self.num_layers.check(len(layers))
        for layer in layers[:-1]:
            Range("number of pieces of a layer", self.num_windows, self.num_windows).check(len(layer.pieces))
        self.num_last.check(len(layers[-1].pieces))
        for index, layer in enumerate(layers):
            lengths = [piece.num_bytes for piece in layer.pieces]
            for length in (min(lengths), max(lengths)):
                self.length(index == len(layers) - 1, False).check(length)
        self.length(True, True).check(layers[-1].pieces[-1].num_bytes)


def pack_table(layers: Sequence[Layer], cut: bool) -> bytes:
    """Returns the bytes of a table, from the number of layers on."""
    rows = b"".join(piece.pack() for layer in layers for piece in layer.pieces)
    return bytes((len(layers),)) + (pack_varint(len(layers[-1].pieces)) if cut else b"") + rows


class TableParser:
    """Parses a table that arrives bit by bit: no row is read twice, however often one tries.

    `position`: up to where in the data it is done; it goes on from there.
    """

    def __init__(self, shape: Shape, position: int) -> None:
        self.position = position
        self._shape = shape
        self._counts: tuple[int, int] | None = None  # of layers, of pieces of the last one
        self._rows: list[Piece] = []

    def parse(self, cursor: Cursor) -> tuple[Layer, ...]:
        """Returns the layers. Raises as `Cursor` does; TruncatedError means that more bytes are needed."""
        if self._counts is None:
            num_layers = cursor.byte(self._shape.num_layers)  # in range now, not after waiting for 255 of them
            self._counts = num_layers, cursor.varint(self._shape.num_last) if self._shape.cut else self._shape.num_windows
            self.position = cursor.position
        num_layers, num_last = self._counts
        before_last = (num_layers - 1) * self._shape.num_windows
        num_rows = before_last + num_last
        for row in range(len(self._rows), num_rows):
            within = self._shape.length(row >= before_last, row == num_rows - 1)
            self._rows.append(Piece(cursor.varint(within), cursor.uint32()))
            self.position = cursor.position
        starts = range(0, num_rows, self._shape.num_windows)
        return tuple(Layer(tuple(self._rows[start : start + self._shape.num_windows])) for start in starts)
