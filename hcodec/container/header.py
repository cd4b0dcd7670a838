"""The header of a file: what it says of its picture, and the table of its layers.

Room: container, below `reader` and `writer` (encode step 11, decode step 2). Every range is checked here, before anyone
takes memory on the file's word. FORMAT.md, "Synopsis". Imports `fields`, `chunks`, `errors` and Python's own modules
only: no numpy, no torch, no Pillow.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from hcodec.container import chunks
from hcodec.container.fields import (
    FINGERPRINT_BYTES,
    HEIGHT,
    MAX_LENGTH_BYTES,
    MAX_PIXELS,
    WIDTH,
    Cursor,
    Range,
    pack_crc32,
    pack_uint32s,
    pack_varint,
)
from hcodec.errors import FormatError, TruncatedError

MAGIC = b"\x89HCO\r\n\x1a"  # format: not text (0x89), and broken by any change of line ends (CR LF, Ctrl-Z)
VERSION = 1  # format
MAX_LAYERS = 32  # format

_GRAY, _CUT, _FRONT, _BACK, _LOSSLESS, _FITTED = 1, 2, 4, 8, 16, 32  # format: bits of the flags byte
_KNOWN_FLAGS = _GRAY | _CUT | _FRONT | _BACK | _LOSSLESS | _FITTED
_NUM_PIXELS = Range("width * height", 1, MAX_PIXELS)  # format, as those below
_NUM_LAYERS = Range("number of layers", 1, MAX_LAYERS)
_LAYER = Range("length of a layer", 0, MAX_LENGTH_BYTES)
_SECTION = Range("length of the chunks", chunks.HEAD_BYTES, MAX_LENGTH_BYTES)


@dataclass(frozen=True)
class LayerEntry:
    """One row of the layer table: the layer's length in bytes and the CRC-32 of these bytes."""

    num_bytes: int
    crc32: int


@dataclass(frozen=True, kw_only=True)
class Frame:
    """What a file says of its picture, layers apart.

    `width`, `height` in pixels, 1 .. 2^24, together at most 2^31; `fingerprint`: the first 4 bytes of the model's
    digest; `gray`: the picture has one channel; `fitted`: levels bring what was fitted to the picture.
    """

    width: int
    height: int
    fingerprint: bytes
    gray: bool = False
    fitted: bool = False


@dataclass(frozen=True, kw_only=True)
class Header(Frame):
    """What the first bytes of a file say; FormatError when made with a value outside the format's range.

    `layers`: 1 .. 32 entries, coarse first; `cut`: the last layer is an incomplete one; `lossless`: the last layer makes
    the picture exact and is no level; `front_bytes`, `back_bytes`: size of the chunk sections before and after the
    layers, 0 when absent; the rest as in `Frame`.
    """

    layers: tuple[LayerEntry, ...]
    cut: bool = False
    lossless: bool = False
    front_bytes: int = 0
    back_bytes: int = 0
    version: int = VERSION

    def __post_init__(self) -> None:
        WIDTH.check(self.width)
        HEIGHT.check(self.height)
        _NUM_PIXELS.check(self.width * self.height)
        Range("length of the fingerprint", FINGERPRINT_BYTES, FINGERPRINT_BYTES).check(len(self.fingerprint))
        Range(_NUM_LAYERS.name, 1 + self.cut + self.lossless, MAX_LAYERS).check(len(self.layers))
        if self.cut and self.lossless:
            raise FormatError("a lossless file cannot be cut inside a layer")
        for entry in self.layers:
            _LAYER.check(entry.num_bytes)
        for section_bytes in filter(None, (self.front_bytes, self.back_bytes)):
            _SECTION.check(section_bytes)

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


def pack_header(header: Header) -> bytes:
    """Returns the bytes of a header."""
    packed = bytearray(MAGIC)
    packed += bytes((header.version, _flags(header))) + header.fingerprint
    packed += pack_varint(header.width) + pack_varint(header.height)
    for section_bytes in filter(None, (header.front_bytes, header.back_bytes)):
        packed += pack_varint(section_bytes)
    packed += _pack_table(header.layers)
    return bytes(packed) + pack_crc32(packed)


def _flags(header: Header) -> int:
    sections = _FRONT * (header.front_bytes > 0) | _BACK * (header.back_bytes > 0)
    kinds = _GRAY * header.gray | _CUT * header.cut | _LOSSLESS * header.lossless | _FITTED * header.fitted
    return kinds | sections


def _pack_table(layers: Iterable[LayerEntry]) -> bytes:
    rows = [pack_varint(entry.num_bytes) + pack_uint32s([entry.crc32]) for entry in layers]
    return bytes((len(rows),)) + b"".join(rows)


def parse_header(data: bytes | bytearray) -> Header:
    """Returns the header at the start of `data`.

    Raises TruncatedError if more bytes are needed, and FormatError if the bytes present cannot become a header: not our
    magic, a newer version, a wrong checksum, a value out of range.
    """
    cursor = Cursor(data, "the header", truncated="the file ends inside its header")
    version, flags = _parse_start(cursor)
    fingerprint = cursor.take(FINGERPRINT_BYTES)
    width, height = cursor.varint(WIDTH), cursor.varint(HEIGHT)
    front_bytes = cursor.varint(_SECTION) if flags & _FRONT else 0
    back_bytes = cursor.varint(_SECTION) if flags & _BACK else 0
    layers = _parse_table(cursor)
    cursor.crc32()
    return Header(
        width=width,
        height=height,
        fingerprint=fingerprint,
        gray=bool(flags & _GRAY),
        fitted=bool(flags & _FITTED),
        layers=layers,
        cut=bool(flags & _CUT),
        lossless=bool(flags & _LOSSLESS),
        front_bytes=front_bytes,
        back_bytes=back_bytes,
        version=version,
    )


def _parse_start(cursor: Cursor) -> tuple[int, int]:
    """Returns version and flags."""
    for expected in MAGIC:  # byte for byte, so that a stranger's file is refused at its first wrong byte
        if cursor.byte() != expected:
            raise FormatError("not an hcodec file")
    version = cursor.byte()
    if version > VERSION:
        raise FormatError(f"the file has format version {version}, newer than version {VERSION} that this hcodec reads")
    if version < 1:
        raise cursor.error(f"there is no format version {version}")
    flags = cursor.byte()
    if flags & ~_KNOWN_FLAGS:
        raise cursor.error(f"reserved flags are set (0x{flags:02x})")
    return version, flags


def _parse_table(cursor: Cursor) -> tuple[LayerEntry, ...]:
    num_layers = cursor.byte(_NUM_LAYERS)  # in range now, not after waiting for 255 of them
    return tuple(LayerEntry(cursor.varint(_LAYER), cursor.uint32()) for _ in range(num_layers))
