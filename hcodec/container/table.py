"""The layer table of a header: length and checksum of every piece of every layer.

Room: container, below `header`. The first layers have one piece for the whole picture, the others one for each window; of
a layer that is cut, the first ones are there. FORMAT.md, "Synopsis". Imports `fields`, `errors` and Python's own modules only.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import NamedTuple

from hcodec.container.fields import MAX_LENGTH_BYTES, Cursor, Range, pack_uint32s, pack_varint
from hcodec.errors import FormatError

MAX_LAYERS = 32  # format
CUT_LOSSLESS = "a lossless file cannot be cut inside a layer"
_LENGTH = Range("length of a piece", 0, MAX_LENGTH_BYTES)  # format
_SOME = Range(_LENGTH.name, 1, MAX_LENGTH_BYTES)  # format: of the lossless layer, and of the piece that is cut


class Piece(NamedTuple):
    """One row of the table: the length in bytes of a piece of a layer, and the CRC-32 of these bytes."""

    num_bytes: int
    crc32: int

    def pack(self) -> bytes:
        """Returns the bytes of the row."""
        return pack_varint(self.num_bytes) + pack_uint32s([self.crc32])


@dataclass(frozen=True)
class Layer:
    """The rows of one layer: one piece for the whole picture, or one for each window, in their order."""

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
    """What decides how many rows a table may have, and what they may say.

    num_windows: of the picture; num_coarse: how many of the first layers have one piece for the whole picture.
    """

    num_windows: int
    num_coarse: int
    cut: bool
    lossless: bool

    @property
    def num_layers(self) -> Range:
        """How many layers there may be: the first one is always a whole level."""
        return Range("number of layers", 1 + self.cut + self.lossless, MAX_LAYERS)

    def num_pieces(self, num_layers: int) -> list[int]:
        """Returns how many pieces each of so many layers has when it is complete."""
        num_coarse = min(self.num_coarse, num_layers - self.lossless)
        return [1] * num_coarse + [self.num_windows] * (num_layers - num_coarse)

    def num_last(self, complete: int) -> Range:
        """How many pieces the last layer may have, given how many it has when it is complete."""
        return Range("number of pieces of the last layer", 1 if self.cut else complete, complete)

    def length(self, in_last: bool, is_last: bool) -> Range:
        """How long a piece may be: one in the last layer, or the last one of all."""
        return _SOME if (in_last and self.lossless) or (is_last and self.cut) else _LENGTH

    def check(self, layers: Sequence[Layer]) -> None:
        """Raises FormatError if these are not the layers of such a table."""
        if self.cut and self.lossless:
            raise FormatError(CUT_LOSSLESS)
        self.num_layers.check(len(layers))
        *counts, last = self.num_pieces(len(layers))
        for count, layer in zip(counts, layers[:-1], strict=True):
            Range("number of pieces of a layer", count, count).check(len(layer.pieces))
        self.num_last(last).check(len(layers[-1].pieces))
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
        self._ends: list[int] | None = None  # of the layers, in rows
        self._rows: list[Piece] = []

    def parse(self, cursor: Cursor) -> tuple[Layer, ...]:
        """Returns the layers. Raises as `Cursor` does; TruncatedError means that more bytes are needed."""
        if self._ends is None:
            self._ends = self._parse_ends(cursor)
            self.position = cursor.position
        before_last, num_rows = [0, *self._ends][-2:]
        for row in range(len(self._rows), num_rows):
            within = self._shape.length(row >= before_last, row == num_rows - 1)
            self._rows.append(Piece(cursor.varint(within), cursor.uint32()))
            self.position = cursor.position
        return tuple(Layer(tuple(self._rows[start:end])) for start, end in pairwise([0, *self._ends]))

    def _parse_ends(self, cursor: Cursor) -> list[int]:
        num_layers = cursor.byte(self._shape.num_layers)  # in range now, not after waiting for 255 of them
        *counts, last = self._shape.num_pieces(num_layers)
        if self._shape.cut:
            last = cursor.varint(self._shape.num_last(last))
        return list(accumulate([*counts, last]))
