"""The parts of the lossless layer: how it is coded, from which level, and for each tile a checksum and the coded pixels.

Room: container, beside `header`. Imports `fields`, `window`, `errors` and Python's own modules only. FORMAT.md, "The
lossless layer".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from hcodec.container.fields import FINGERPRINT_BYTES, MAX_LENGTH_BYTES, Cursor, Range, pack_uint32s, pack_varint
from hcodec.container.window import Window

STORED, CODED = range(2)  # format: the first byte of the layer
METHODS = ("stored", "coded")
TILE = 256  # format: edge of a tile in pixels, about
CELL = 8  # format: tiles begin at multiples of it, and are independent of each other
_METHOD = Range("method", STORED, CODED)  # format
_START = Range("level that it builds on", 1, 31)  # format
_LENGTH = Range("length of a tile", 0, MAX_LENGTH_BYTES)  # format


class Tile(Window):
    """A rectangle of the picture that is coded on a stack of its own."""

    @property
    def cells(self) -> tuple[slice, slice, slice]:
        """Its index in a state (1, H/8, W/8, width)."""
        bottom, right = self.top + self.height, self.left + self.width
        return slice(None), slice(self.top // CELL, -(-bottom // CELL)), slice(self.left // CELL, -(-right // CELL))

    def touches(self, region: tuple[slice, slice]) -> bool:
        """Returns whether it has pixels in a region, which is given as its index."""
        return all(part.start < cut.stop and cut.start < part.stop for part, cut in zip(self.inside, region, strict=True))


def tiles(height: int, width: int) -> list[Tile]:
    """Returns the tiles of a picture in coding order, row by row, all nearly as large."""
    rows, columns = _cuts(height), _cuts(width)
    return [Tile(top, left, bottom - top, right - left) for top, bottom in pairwise(rows) for left, right in pairwise(columns)]


def count_tiles(height: int, width: int) -> int:
    """Returns how many tiles a picture has."""
    return (len(_cuts(height)) - 1) * (len(_cuts(width)) - 1)


def _cuts(edge: int) -> list[int]:
    cells = -(-edge // CELL)
    count = max(1, (2 * edge + TILE) // (2 * TILE))
    return [CELL * (cells * i // count) for i in range(count)] + [edge]


@dataclass(frozen=True)
class LosslessLayer:
    """The lossless layer, taken apart.

    method: STORED (`stored` is a WebP or PNG file) or CODED. start: the level whose state it builds on; fingerprint: of the
    lossless layer's weights; crcs, stacks: for each tile the CRC-32 of its pixels, RGB row by row, and the pixels, coded.
    """

    method: int
    stored: bytes = b""
    start: int = 0
    fingerprint: bytes = b""
    crcs: Sequence[int] = ()
    stacks: Sequence[bytes] = ()

    def pack(self) -> bytes:
        """Returns the bytes of the layer."""
        if self.method == STORED:
            return bytes([STORED]) + self.stored
        entries = [pack_varint(len(stack)) + pack_uint32s([crc]) for stack, crc in zip(self.stacks, self.crcs, strict=True)]
        return b"".join((bytes([CODED, self.start]), self.fingerprint, *entries, *self.stacks))


def parse(data: bytes, height: int, width: int) -> LosslessLayer:
    """Returns the parts of the lossless layer of a picture. Raises FormatError if it cannot be one."""
    cursor = Cursor(data, "the lossless layer")
    method = cursor.byte(_METHOD)
    if method == STORED:
        return LosslessLayer(STORED, cursor.rest())
    start, fingerprint = cursor.byte(_START), cursor.take(FINGERPRINT_BYTES)
    entries = [(cursor.varint(_LENGTH), cursor.uint32()) for _ in range(count_tiles(height, width))]
    stacks = [cursor.take(length) for length, _ in entries]
    cursor.end()
    return LosslessLayer(CODED, b"", start, fingerprint, [crc for _, crc in entries], stacks)
