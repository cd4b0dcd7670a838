"""The header of a file: what it says of its picture, and the table of its layers.

Room: container, below `reader` and `writer` (encode step 11, decode step 2). Every range is checked here, before anyone
takes memory on the file's word. FORMAT.md, "Synopsis". Imports `fields`, `chunks`, `table`, `window`, `errors` and
Python's own modules only: no numpy, no torch, no Pillow.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hcodec.container import chunks, whole
from hcodec.container.fields import (
    FINGERPRINT_BYTES,
    HEIGHT,
    MAX_LENGTH_BYTES,
    MAX_PIXELS,
    WIDTH,
    Cursor,
    Range,
    pack_crc32,
    pack_varint,
)
from hcodec.container.table import CUT_LOSSLESS, MAX_LAYERS, Layer, Shape, TableParser, pack_table
from hcodec.container.window import count_windows
from hcodec.errors import FormatError, TruncatedError

MAGIC = b"\x89HCP\r\n\x1a"  # format: not text (0x89), and broken by any change of line ends (CR LF, Ctrl-Z)
VERSION = 1  # format

ARCHIVE = b"\x89HCA\r\n\x1a"  # format: how archives begin, as pictures but for the A
_DRAFT = b"\x89HCO\r\n\x1a"  # how files of before version 1 began
_GRAY, _CUT, _FRONT, _BACK, _LOSSLESS, _OFFSETS = 1, 2, 4, 8, 16, 32  # format: bits of the flags byte
_KNOWN_FLAGS = _GRAY | _CUT | _FRONT | _BACK | _LOSSLESS | _OFFSETS
_MODEL = re.compile(r"[a-z0-9-]*")  # format, as those below
_NAME = Range("length of the model's name", 1, 32)
_FINGERPRINT = Range("length of the fingerprint", FINGERPRINT_BYTES, FINGERPRINT_BYTES)
_NUM_PIXELS = Range("width * height", 1, MAX_PIXELS)
_SECTION = Range("length of the chunks", chunks.HEAD_BYTES, MAX_LENGTH_BYTES)
_DEPTHS = (8, 16)  # bits a sample; 16 of a whole picture only
_NUM_COARSE = Range("number of coarse layers", 0, MAX_LAYERS - 1)
_NUM_FRAMES = Range("number of frames", 1, MAX_LENGTH_BYTES)


@dataclass(frozen=True, kw_only=True)
class Frame:
    """What a file says of its picture, layers apart.

    `width`, `height` in pixels, 1 .. 2^24, together at most 2^31; `model`: its name, of 1 to 32 lower-case letters, digits
    and hyphens; `fingerprint`: the first 4 bytes of its digest; `num_coarse`: how many of the first levels are of the whole
    picture and not of windows, 0 to 31, be they in the file or not; `gray`: the picture has one channel; `offsets`: latents
    bring scale offsets; `depth`: bits a sample, 8 or, of a whole picture, 16.
    """

    width: int
    height: int
    model: str
    fingerprint: bytes
    num_coarse: int = 0
    gray: bool = False
    offsets: bool = False
    depth: int = 8


@dataclass(frozen=True, kw_only=True)
class Header(Frame):
    """What the first bytes of a file say; FormatError when made with a value outside the format's range.

    `layers`: 1 .. 32, coarse first; `cut`: the last layer is an incomplete one: of its pieces at least one is there, and
    the last one there is cut; `lossless`: the last layer makes the picture exact and is no level; `front_bytes`,
    `back_bytes`: size of the chunk sections before and after the layers, 0 when absent; the rest as in `Frame`.
    """

    layers: tuple[Layer, ...]
    cut: bool = False
    lossless: bool = False
    front_bytes: int = 0
    back_bytes: int = 0
    version: int = VERSION

    def __post_init__(self) -> None:
        WIDTH.check(self.width)
        HEIGHT.check(self.height)
        _NUM_PIXELS.check(self.width * self.height)
        _FINGERPRINT.check(len(self.fingerprint))
        if fault := _fault_of_name(self.model):
            raise FormatError(fault)
        for section_bytes in filter(None, (self.front_bytes, self.back_bytes)):
            _SECTION.check(section_bytes)
        _NUM_COARSE.check(self.num_coarse)
        if fault := _fault_of_depth(self.depth, self.model):
            raise FormatError(fault)
        Shape(self.num_windows, self.num_coarse, self.cut, self.lossless).check(self.layers)

    @property
    def num_windows(self) -> int:
        """How many windows the picture has."""
        return count_windows(self.height, self.width)

    @property
    def num_levels(self) -> int:
        """How many of the layers are levels: all but the lossless one."""
        return len(self.layers) - self.lossless

    def is_coarse(self, layer: int) -> bool:
        """Whether a layer, given by its number from 1, is of the whole picture and not of windows."""
        return layer <= min(self.num_coarse, self.num_levels)

    @cached_property
    def header_bytes(self) -> int:
        """Bytes of the header itself, its checksum included."""
        return len(pack_header(self))

    @property
    def file_bytes(self) -> int:
        """Bytes of the whole file, the chunks after the layers included."""
        return self.prefix_bytes(len(self.layers)) + self.back_bytes

    def prefix_bytes(self, levels: int) -> int:
        """Bytes from the start of the file to the end of layer `levels`; 0 levels: to the start of the first layer.

        Raises TruncatedError if the file has fewer layers.
        """
        if not 0 <= levels <= len(self.layers):
            raise TruncatedError(f"{levels} levels were asked for, the file has {len(self.layers)}")
        return self.header_bytes + self.front_bytes + sum(layer.num_bytes for layer in self.layers[:levels])

    def piece_range(self, layer: int, window: int) -> tuple[int, int]:
        """Returns offset in the file and length of the piece of a layer that is for a window, or for the whole picture.

        `layer`: its number, from 1; `window`: its index, from 0. Raises TruncatedError if the file does not have it.
        """
        pieces = self.layers[layer - 1].pieces if 1 <= layer <= len(self.layers) else ()
        index = 0 if self.is_coarse(layer) else window
        if not 0 <= window < self.num_windows or index >= len(pieces):
            raise TruncatedError(f"the file has no piece of layer {layer} for window {window}")
        return self.prefix_bytes(layer - 1) + self.layers[layer - 1].starts[index], pieces[index].num_bytes


def _fault_of_name(name: str) -> str:
    """Says what is wrong with the name of a model; empty if nothing is."""
    if not _MODEL.fullmatch(name):
        return f"the model's name {name!r} has something else than lower-case letters, digits and hyphens"
    return _NAME.fault(len(name))


def pack_header(header: Header) -> bytes:
    """Returns the bytes of a header."""
    packed = bytearray(MAGIC)
    packed += bytes((header.version, _flags(header), len(header.model))) + header.model.encode() + header.fingerprint
    packed += pack_varint(header.width) + pack_varint(header.height) + bytes((header.depth,)) + pack_varint(_NUM_FRAMES.low)
    packed.append(header.num_coarse)
    for section_bytes in filter(None, (header.front_bytes, header.back_bytes)):
        packed += pack_varint(section_bytes)
    packed += pack_table(header.layers, header.cut)
    return bytes(packed) + pack_crc32(packed)


def _flags(header: Header) -> int:
    sections = _FRONT * (header.front_bytes > 0) | _BACK * (header.back_bytes > 0)
    kinds = _GRAY * header.gray | _CUT * header.cut | _LOSSLESS * header.lossless | _OFFSETS * header.offsets
    return kinds | sections


def parse_header(data: bytes | bytearray) -> Header:
    """Returns the header at the start of `data`; raises as `HeaderParser.parse` does."""
    return HeaderParser().parse(data)


class HeaderParser:
    """Parses a header that arrives bit by bit: no row of its table is read twice, however often one tries."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}  # those of a Header, layers apart
        self._table: TableParser | None = None

    def parse(self, data: bytes | bytearray) -> Header:
        """Returns the header at the start of `data`, all bytes of the file so far.

        Raises TruncatedError if more bytes are needed, and FormatError if the bytes present cannot become a header: not
        our magic, a newer version, a wrong checksum, a value out of range.
        """
        position = self._table.position if self._table else 0
        cursor = Cursor(data, "the header", position=position, truncated="the file ends inside its header")
        if self._table is None:
            self._values = _parse_start(cursor)
            self._table = TableParser(_shape(self._values), cursor.position)
        layers = self._table.parse(cursor)
        cursor.crc32()
        return Header(**self._values, layers=layers)


def _shape(values: dict[str, Any]) -> Shape:
    return Shape(count_windows(values["height"], values["width"]), values["num_coarse"], values["cut"], values["lossless"])


def _parse_start(cursor: Cursor) -> dict[str, Any]:
    """Returns what a header says before its table."""
    _parse_magic(cursor)
    version, flags = _parse_version(cursor)
    model, fingerprint = _parse_name(cursor), cursor.take(FINGERPRINT_BYTES)
    width, height = _parse_size(cursor)
    depth = _parse_depth(cursor, model)
    return {
        "version": version,
        "model": model,
        "fingerprint": fingerprint,
        "width": width,
        "height": height,
        "depth": depth,
        "num_coarse": cursor.byte(_NUM_COARSE),
        "gray": bool(flags & _GRAY),
        "offsets": bool(flags & _OFFSETS),
        "cut": bool(flags & _CUT),
        "lossless": bool(flags & _LOSSLESS),
        "front_bytes": cursor.varint(_SECTION) if flags & _FRONT else 0,
        "back_bytes": cursor.varint(_SECTION) if flags & _BACK else 0,
    }


def _parse_magic(cursor: Cursor) -> None:
    found = cursor.upto(len(MAGIC))  # a stranger's file is refused at its first wrong byte
    if found == _DRAFT:
        raise FormatError("the file is of a draft before format version 1, which is not read any more")
    if found == ARCHIVE:
        raise FormatError("this is an archive of pictures: hcodec list shows what is in it, hcodec unpack takes it out")
    if not any(known.startswith(found) for known in (MAGIC, ARCHIVE, _DRAFT)):
        raise FormatError("not an hcodec file")
    cursor.take(len(MAGIC) - len(found))  # the rest, which is not there


def _parse_version(cursor: Cursor) -> tuple[int, int]:
    """Returns version and flags."""
    version = cursor.byte()
    if version > VERSION:
        raise FormatError(f"the file has format version {version}, newer than version {VERSION} that this hcodec reads")
    if version < 1:
        raise cursor.error(f"there is no format version {version}")
    flags = cursor.byte()
    if flags & ~_KNOWN_FLAGS:
        raise cursor.error(f"reserved flags are set (0x{flags:02x})")
    if flags & _CUT and flags & _LOSSLESS:
        raise cursor.error(CUT_LOSSLESS)
    return version, flags


def _parse_name(cursor: Cursor) -> str:
    name = cursor.take(cursor.byte(_NAME)).decode("latin-1")
    if fault := _fault_of_name(name):
        raise cursor.error(fault)
    return name


def _parse_size(cursor: Cursor) -> tuple[int, int]:
    """Returns width and height."""
    width, height = cursor.varint(WIDTH), cursor.varint(HEIGHT)
    if fault := _NUM_PIXELS.fault(width * height):
        raise cursor.error(fault)
    return width, height


def _fault_of_depth(depth: int, model: str) -> str:
    """Says what is wrong with the bits a sample; empty if nothing is."""
    if depth not in _DEPTHS:
        return f"bits a sample is {depth}, allowed is {_DEPTHS[0]} or {_DEPTHS[1]}"
    return f"the file has {depth} bits a sample, which needs a newer hcodec" if depth > 8 and model != whole.MODEL else ""


def _parse_depth(cursor: Cursor, model: str) -> int:
    """Returns the bits a sample. Raises FormatError if that or the number of frames, which follows, is none that is read."""
    depth = cursor.byte()
    if fault := _fault_of_depth(depth, model):
        raise cursor.error(fault)
    num_frames = cursor.varint(_NUM_FRAMES)
    if num_frames > 1:
        raise FormatError(f"the file has {num_frames} frames, which needs a newer hcodec")
    return depth
