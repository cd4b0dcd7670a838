"""The parts of the lossless layer: how it is coded, from which level, checksums of its tiles, and the coded pixels.

Room: container, beside `header`. Imports `fields`, `errors` and Python's own modules only. FORMAT.md, "The lossless layer".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from hcodec.container.fields import FINGERPRINT_BYTES, Cursor, Range, pack_bits, pack_uint32s

STORED, DIRECT, BITS_BACK = range(3)  # format: the first byte of the layer
METHODS = ("stored", "direct", "bits back")
TILE = 256  # format: edge of a tile in pixels, about
CELL = 8  # format: tiles begin at multiples of it
_METHOD = Range("method", STORED, BITS_BACK)  # format
_START = Range("level that it builds on", 1, 31)  # format


@dataclass(frozen=True)
class Tile:
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
    def cells(self) -> tuple[slice, slice, slice]:
        """Its index in a state (1, H/8, W/8, width)."""
        bottom, right = self.top + self.height, self.left + self.width
        return slice(None), slice(self.top // CELL, -(-bottom // CELL)), slice(self.left // CELL, -(-right // CELL))


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

    method: STORED (`coded` is a WebP or PNG file), DIRECT or BITS_BACK (`coded` is a stack). start: the level whose state
    it builds on, 0 when stored; fingerprint: of the lossless layer's weights; flags, crcs: for each tile whether it has fine
    latents, and the CRC-32 of its pixels, RGB row by row.
    """

    method: int
    coded: bytes
    start: int = 0
    fingerprint: bytes = b""
    flags: Sequence[bool] = ()
    crcs: Sequence[int] = ()

    def pack(self) -> bytes:
        """Returns the bytes of the layer."""
        if self.method == STORED:
            return bytes([STORED]) + self.coded
        flags = pack_bits(self.flags) if self.method == BITS_BACK else b""
        return b"".join((bytes([self.method, self.start]), self.fingerprint, pack_uint32s(self.crcs), flags, self.coded))


def parse(data: bytes, height: int, width: int) -> LosslessLayer:
    """Returns the parts of the lossless layer of a picture. Raises FormatError if it cannot be one."""
    cursor = Cursor(data, "the lossless layer")
    method = cursor.byte(_METHOD)
    if method == STORED:
        return LosslessLayer(STORED, cursor.rest())
    num_tiles = count_tiles(height, width)
    start, fingerprint = cursor.byte(_START), cursor.take(FINGERPRINT_BYTES)
    crcs = cursor.uint32s(num_tiles)
    flags = cursor.bits(num_tiles) if method == BITS_BACK else [False] * num_tiles
    return LosslessLayer(method, cursor.rest(), start, fingerprint, flags, crcs)
