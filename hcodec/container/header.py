"""The small parts that every file is made of: the header (magic, sizes, layer table), varints, the chunks' checksum.

Room: container, below its other modules (encode step 11, decode step 2). Every range is checked here, before anyone
takes memory on the file's word. FORMAT.md is the text of what this module does. Imports `errors` and Python's own
modules only: no numpy, no torch, no Pillow.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cached_property

from hcodec.errors import FormatError, TruncatedError

MAGIC = b"\x89HCO\r\n\x1a"  # format: not text (0x89), and broken by any change of line ends (CR LF, Ctrl-Z)
VERSION = 1  # format
FINGERPRINT_BYTES = 4  # format
CRC_BYTES = 4  # format
CHUNK_HEAD_BYTES = 12  # format: tag, length, CRC-32
CHUNK_NAMES = {b"ALPH": "alpha", b"ICCP": "icc", b"EXIF": "exif", b"XMP ": "xmp"}  # format: tags
MAX_SIDE_PX = 1 << 24  # format
MAX_PIXELS = 1 << 31  # format
MAX_LENGTH_BYTES = 1 << 31  # format: of a layer or of a chunk section
MAX_LAYERS = 32  # format
MAX_VARINT_BYTES = 5  # format

_GRAY, _CUT, _FRONT, _BACK, _LOSSLESS, _FITTED = 1, 2, 4, 8, 16, 32  # format: bits of the flags byte
_KNOWN_FLAGS = _GRAY | _CUT | _FRONT | _BACK | _LOSSLESS | _FITTED


@dataclass(frozen=True)
class LayerEntry:
    """One row of the layer table: the layer's length in bytes and the CRC-32 of these bytes."""

    num_bytes: int
    crc32: int


@dataclass(frozen=True)
class Header:
    """What the first bytes of a file say; FormatError when made with a value outside the format's range.

    `width`, `height` in pixels, 1 .. 2^24, together at most 2^31; `fingerprint`: the first 4 bytes of the model's
    digest; `layers`: 1 .. 32 entries, coarse first; `gray`: the picture has one channel; `cut`: the last layer is an
    incomplete one; `lossless`: the last layer makes the picture exact and is no level; `fitted`: levels bring
    what was fitted to the picture; `front_bytes`, `back_bytes`: size of the chunk sections before and after the
    layers, 0 when absent.
    """

    width: int
    height: int
    fingerprint: bytes
    layers: tuple[LayerEntry, ...]
    gray: bool = False
    cut: bool = False
    lossless: bool = False
    fitted: bool = False
    front_bytes: int = 0
    back_bytes: int = 0
    version: int = VERSION

    def __post_init__(self) -> None:
        _check_range("width", self.width, 1, MAX_SIDE_PX)
        _check_range("height", self.height, 1, MAX_SIDE_PX)
        _check_range("width * height", self.width * self.height, 1, MAX_PIXELS)
        _check_range("length of the fingerprint", len(self.fingerprint), FINGERPRINT_BYTES, FINGERPRINT_BYTES)
        _check_range("number of layers", len(self.layers), 1 + self.cut + self.lossless, MAX_LAYERS)
        if self.cut and self.lossless:
            raise FormatError("a lossless file cannot be cut inside a layer")
        for level, entry in enumerate(self.layers, start=1):
            _check_range(f"length of layer {level}", entry.num_bytes, 0, MAX_LENGTH_BYTES)
        for section_bytes in (self.front_bytes, self.back_bytes):
            if section_bytes:
                _check_range("length of the chunks", section_bytes, CHUNK_HEAD_BYTES, MAX_LENGTH_BYTES)

    def prefix_bytes(self, levels: int) -> int:
        """Bytes from the start of the file to the end of layer `levels`; 0 levels: to the start of the first layer.

        Raises TruncatedError if the file has fewer layers.
        """
        if not 0 <= levels <= len(self.layers):
            raise TruncatedError(f"{levels} levels were asked for, the file has {len(self.layers)}")
        return self.header_bytes + self.front_bytes + sum(entry.num_bytes for entry in self.layers[:levels])

    @property
    def num_levels(self) -> int:
        """How many of the layers are levels: all but the lossless one."""
        return len(self.layers) - self.lossless

    @cached_property
    def header_bytes(self) -> int:
        """Bytes of the header itself, its checksum included."""
        return len(pack_header(self))

    @property
    def file_bytes(self) -> int:
        """Bytes of the whole file, the chunks after the layers included."""
        return self.prefix_bytes(len(self.layers)) + self.back_bytes


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise FormatError(f"{name} is {value}, allowed is {low} to {high}")


def pack_header(header: Header) -> bytes:
    """The bytes of `header`."""
    packed = bytearray(MAGIC)
    packed += bytes((header.version, _flags(header))) + header.fingerprint
    packed += pack_varint(header.width) + pack_varint(header.height)
    for section_bytes in (header.front_bytes, header.back_bytes):
        if section_bytes:
            packed += pack_varint(section_bytes)
    packed.append(len(header.layers))
    for entry in header.layers:
        packed += pack_varint(entry.num_bytes) + entry.crc32.to_bytes(CRC_BYTES, "little")
    packed += zlib.crc32(packed).to_bytes(CRC_BYTES, "little")
    return bytes(packed)


def _flags(header: Header) -> int:
    sections = _FRONT * (header.front_bytes > 0) | _BACK * (header.back_bytes > 0)
    kinds = _GRAY * header.gray | _CUT * header.cut | _LOSSLESS * header.lossless | _FITTED * header.fitted
    return kinds | sections


def pack_varint(value: int) -> bytes:
    """`value` (0 .. 2^35 - 1) in LEB128: 7 bits a byte, least significant first, no byte longer than needed."""
    packed = bytearray()
    while value > 0x7F:
        packed.append(value & 0x7F | 0x80)
        value >>= 7
    packed.append(value)
    return bytes(packed)


def chunk_crc(tag: bytes, payload: bytes) -> bytes:
    """The checksum of a chunk, as it stands in the chunk's head."""
    return zlib.crc32(payload, zlib.crc32(tag)).to_bytes(CRC_BYTES, "little")


def parse_header(data: bytes | bytearray) -> Header:
    """The header at the start of `data`.

    Raises TruncatedError if more bytes are needed, and FormatError if the bytes present cannot become a header: not our
    magic, a newer version, a wrong checksum, a value out of range.
    """
    cursor = _Cursor(data)
    version, flags = _parse_start(cursor)
    fingerprint = cursor.take(FINGERPRINT_BYTES)
    width, height = cursor.varint(), cursor.varint()
    front_bytes = _parse_section_length(cursor, flags & _FRONT)
    back_bytes = _parse_section_length(cursor, flags & _BACK)
    layers = _parse_table(cursor)
    crc = zlib.crc32(data[: cursor.position])
    if cursor.uint32() != crc:
        raise FormatError("the header is damaged: its checksum is wrong")
    return Header(
        width=width,
        height=height,
        fingerprint=fingerprint,
        layers=layers,
        gray=bool(flags & _GRAY),
        cut=bool(flags & _CUT),
        lossless=bool(flags & _LOSSLESS),
        fitted=bool(flags & _FITTED),
        front_bytes=front_bytes,
        back_bytes=back_bytes,
        version=version,
    )


def _parse_start(cursor: _Cursor) -> tuple[int, int]:
    for expected in MAGIC:  # byte for byte, so that a stranger's file is refused at its first wrong byte
        if cursor.byte() != expected:
            raise FormatError("not an hcodec file")
    version = cursor.byte()
    if version > VERSION:
        raise FormatError(f"the file has format version {version}, newer than version {VERSION} that this hcodec reads")
    if version < 1:
        raise FormatError(f"the header is damaged: there is no format version {version}")
    flags = cursor.byte()
    if flags & ~_KNOWN_FLAGS:
        raise FormatError(f"the header is damaged: reserved flags are set (0x{flags:02x})")
    return version, flags


def _parse_section_length(cursor: _Cursor, present: int) -> int:
    if not present:
        return 0
    section_bytes = cursor.varint()
    if section_bytes == 0:  # else one header would have two encodings
        raise FormatError("the header is damaged: a chunk section is announced and empty")
    return section_bytes


def _parse_table(cursor: _Cursor) -> tuple[LayerEntry, ...]:
    num_layers = cursor.byte()
    _check_range("number of layers", num_layers, 1, MAX_LAYERS)  # now, not after waiting for 255 of them
    return tuple(LayerEntry(cursor.varint(), cursor.uint32()) for _ in range(num_layers))


class _Cursor:
    """Reads fields one after the other; TruncatedError where the bytes end before the field does."""

    def __init__(self, data: bytes | bytearray) -> None:
        self._data = data
        self.position = 0

    def take(self, num_bytes: int) -> bytes:
        """Returns the next bytes; TruncatedError if there are fewer."""
        end = self.position + num_bytes
        if end > len(self._data):
            raise TruncatedError("the file ends inside its header")
        taken = bytes(self._data[self.position : end])
        self.position = end
        return taken

    def byte(self) -> int:
        return self.take(1)[0]

    def uint32(self) -> int:
        return int.from_bytes(self.take(4), "little")

    def varint(self) -> int:
        """Returns the next number of seven bits a byte; FormatError if it is too long, TruncatedError if it ends early."""
        value = 0
        for index in range(MAX_VARINT_BYTES):
            byte = self.byte()
            value |= (byte & 0x7F) << 7 * index
            if byte < 0x80:
                if byte == 0 and index > 0:
                    raise FormatError("the header is damaged: a number is longer than it needs to be")
                return value
        raise FormatError("the header is damaged: a number does not end")
