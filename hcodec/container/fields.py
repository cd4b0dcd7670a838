"""The fields that every format is made of: numbers, ranges, checksums, rows of bits; one reader and one writer of each.

Room: container, below its other modules. What `pack_...` writes, the method of `Cursor` with the same name reads, and it accepts
nothing else: every number has one form, and its range is checked before anyone takes memory on the file's word.
FORMAT.md, "Synopsis". Imports `errors` and Python's own modules only.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hcodec.errors import FormatError, TruncatedError

FINGERPRINT_BYTES = 4  # format: the first bytes of a model's digest
CRC_BYTES = 4  # format
MAX_VARINT_BYTES = 5  # format
MAX_LENGTH_BYTES = 1 << 31  # format: of a layer, a chunk, a section, a chain
MAX_SIDE_PX = 1 << 24  # format
MAX_PIXELS = 1 << 31  # format: width * height


@dataclass(frozen=True, slots=True)
class Range:
    """The values that a number may have: `low` to `high`, both included. `name`: what the number is, for errors."""

    name: str
    low: int
    high: int

    def fault(self, value: int) -> str:
        """Says what is wrong with a value; empty if nothing is."""
        if self.low <= value <= self.high:
            return ""
        return f"{self.name} is {value}, allowed is {self.low} to {self.high}"

    def check(self, value: int) -> None:
        """Raises FormatError if a value is out of range."""
        if fault := self.fault(value):
            raise FormatError(fault)


WIDTH = Range("width", 1, MAX_SIDE_PX)  # format, as those below
HEIGHT = Range("height", 1, MAX_SIDE_PX)
_VARINT = Range("number", 0, (1 << 7 * MAX_VARINT_BYTES) - 1)


def pack_varint(value: int) -> bytes:
    """Returns a number, 0 .. 2^35 - 1, in LEB128: 7 bits a byte, least significant first, no byte longer than needed."""
    _VARINT.check(value)
    packed = bytearray()
    while value > 0x7F:
        packed.append(value & 0x7F | 0x80)
        value >>= 7
    packed.append(value)
    return bytes(packed)


def pack_varints(values: Iterable[int]) -> bytes:
    """Returns numbers, one varint after the other."""
    return b"".join(map(pack_varint, values))


def pack_uint32s(values: Iterable[int]) -> bytes:
    """Returns numbers, 0 .. 2^32 - 1, in four bytes each, least significant first."""
    listed = list(values)
    return struct.pack(f"<{len(listed)}I", *listed)


def pack_crc32(*parts: bytes | bytearray) -> bytes:
    """Returns the CRC-32 of all parts, one after the other."""
    crc = 0
    for part in parts:
        crc = zlib.crc32(part, crc)
    return pack_uint32s([crc])


def pack_bits(bits: Sequence[bool]) -> bytes:
    """Returns a row of bits, eight a byte, the first one in the lowest bit."""
    return sum(bit << i for i, bit in enumerate(bits)).to_bytes(-(-len(bits) // 8), "little")


class Cursor:
    """Reads fields one after the other; `position`: how many bytes it has read.

    `place`: what the fields belong to, for errors, as in "the header". Where the bytes end before a field does, FormatError
    says so; or, if `truncated` holds a line, TruncatedError with that line, for the rest may yet come.
    """

    def __init__(self, data: bytes | bytearray, place: str, *, position: int = 0, truncated: str = "") -> None:
        self.position = position
        self._data = data
        self._place = place
        self._truncated = truncated

    def error(self, fault: str) -> FormatError:
        """Returns the error to raise: the place is damaged, by this fault."""
        return FormatError(f"{self._place} is damaged: {fault}")

    def take(self, num_bytes: int) -> bytes:
        """Returns the next bytes. Raises FormatError or TruncatedError if there are fewer."""
        end = self.position + num_bytes
        if end > len(self._data):
            raise TruncatedError(self._truncated) if self._truncated else self.error("it ends too soon")
        taken = bytes(self._data[self.position : end])
        self.position = end
        return taken

    def upto(self, num_bytes: int) -> bytes:
        """Returns the next bytes, or those that are left if there are fewer."""
        return self.take(min(num_bytes, len(self._data) - self.position))

    def rest(self) -> bytes:
        """Returns all bytes that are left."""
        return self.take(len(self._data) - self.position)

    def end(self) -> None:
        """Raises FormatError if there are bytes left."""
        if self.position != len(self._data):
            raise self.error("there are bytes after its end")

    def byte(self, within: Range | None = None) -> int:
        """Returns the next byte as a number. Raises as `take` does, and FormatError if it is out of range."""
        value = self.take(1)[0]
        return value if within is None else self._checked(value, within)

    def varint(self, within: Range) -> int:
        """Returns the next number. Raises as `take` does, and FormatError if it is overlong, endless or out of range."""
        value = 0
        for index in range(MAX_VARINT_BYTES):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << 7 * index
            if byte < 0x80:
                if byte == 0 and index > 0:
                    raise self.error(f"{within.name} is longer than it needs to be")
                return self._checked(value, within)
        raise self.error(f"{within.name} does not end")

    def varints(self, count: int, within: Range) -> list[int]:
        """Returns the next numbers; raises as `varint` does."""
        return [self.varint(within) for _ in range(count)]

    def uint32(self) -> int:
        """Returns the next number of four bytes."""
        return int.from_bytes(self.take(4), "little")

    def uint32s(self, count: int) -> list[int]:
        """Returns the next numbers of four bytes each."""
        return list(struct.unpack(f"<{count}I", self.take(4 * count)))

    def crc32(self) -> None:
        """Reads the CRC-32 of all bytes before it. Raises FormatError if it is another."""
        end = self.position
        if self.uint32() != zlib.crc32(self._data[:end]):  # in this order: while it is still to come, nothing is summed up
            raise self.error("its checksum is wrong")

    def bits(self, count: int) -> list[bool]:
        """Returns the next row of bits. Raises FormatError if one is set beyond its end, in the last byte."""
        bits = int.from_bytes(self.take(-(-count // 8)), "little")
        if bits >> count:
            raise self.error("bits are set beyond the last one")
        return [bool(bits >> i & 1) for i in range(count)]

    def _checked(self, value: int, within: Range) -> int:
        if fault := within.fault(value):
            raise self.error(fault)
        return value
