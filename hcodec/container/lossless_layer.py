"""The parts of the lossless layer: how it is coded, from which level, checksums of its tiles, and the coded pixels.

Room: container, beside `header`. Imports `errors` and Python's own modules only. FORMAT.md, "The lossless layer".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from hcodec.errors import FormatError

STORED, DIRECT, BITS_BACK = range(3)  # format: the first byte of the layer
METHODS = ("stored", "direct", "bits back")
TILE = 256  # format: edge of a tile in pixels, about
CELL = 8  # format: tiles begin at multiples of it
_FINGERPRINT_BYTES = 4  # format
_CRC_BYTES = 4  # format


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
        crcs = b"".join(crc.to_bytes(_CRC_BYTES, "little") for crc in self.crcs)
        flags = b""
        if self.method == BITS_BACK:
            bits = sum(flag << i for i, flag in enumerate(self.flags))
            flags = bits.to_bytes(-(-len(self.flags) // 8), "little")
        return b"".join((bytes([self.method, self.start]), self.fingerprint, crcs, flags, self.coded))


def parse(data: bytes, height: int, width: int) -> LosslessLayer:
    """Returns the parts of the lossless layer of a picture. Raises FormatError if it cannot be one."""
    if not data or data[0] > BITS_BACK:
        raise FormatError("the lossless layer is coded in an unknown way")
    if data[0] == STORED:
        return LosslessLayer(STORED, data[1:])
    num_tiles = count_tiles(height, width)
    first = 2 + _FINGERPRINT_BYTES
    second = first + _CRC_BYTES * num_tiles
    third = second + (-(-num_tiles // 8) if data[0] == BITS_BACK else 0)
    if len(data) < third or not data[1]:
        raise FormatError("the lossless layer is too short for its tiles")
    bits = int.from_bytes(data[second:third], "little")
    if bits >> num_tiles:
        raise FormatError("the lossless layer has flags for tiles that are not there")
    return LosslessLayer(
        method=data[0],
        coded=data[third:],
        start=data[1],
        fingerprint=data[2:first],
        flags=[bool(bits >> i & 1) for i in range(num_tiles)],
        crcs=[int.from_bytes(data[i : i + _CRC_BYTES], "little") for i in range(first, second, _CRC_BYTES)],
    )
