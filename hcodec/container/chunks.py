"""Chunks: the attachments of a picture in its file, some before the layers, some after.

Room: container (encode step 11, decode step 2); `writer` packs them, `reader` takes them as they arrive. FORMAT.md,
"Chunks". Imports `attachments`, `fields`, `errors` and Python's own modules only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from hcodec.container.attachments import Attachments, Chromaticities, Cicp, Density
from hcodec.container.fields import CRC_BYTES, MAX_LENGTH_BYTES, Cursor, Range, pack_crc32, pack_uint32s, pack_varint
from hcodec.errors import FormatError

HEAD_BYTES = 12  # format: tag, length, CRC-32
MAX_TEXTS = 256  # format
_TAG_BYTES = 4  # format
_KEY = Range("length of a key", 1, 79)  # format
_PAYLOAD = Range("length of a chunk", 0, MAX_LENGTH_BYTES)  # format


class Head(NamedTuple):
    """The head of a chunk: its tag, the length of its payload in bytes, and the checksum of tag and payload."""

    tag: bytes
    num_bytes: int
    crc32: bytes

    def fits(self, payload: bytes) -> bool:
        """Whether tag and payload have the checksum."""
        return pack_crc32(self.tag, payload) == self.crc32

    @property
    def kind(self) -> Kind | None:
        """What it is; None if nobody here knows."""
        return KINDS.get(self.tag)

    @property
    def is_mandatory(self) -> bool:
        """Whether nobody may read the file who does not know this chunk."""
        return self.tag[:1].isupper()


def parse_head(data: bytes) -> Head:
    """Returns the head of a chunk from its `HEAD_BYTES` bytes."""
    cursor = Cursor(data, "a chunk")
    return Head(cursor.take(_TAG_BYTES), cursor.uint32(), cursor.take(CRC_BYTES))


class Kind(NamedTuple):
    """A kind of chunk.

    `name`: of its attribute in Attachments; `front`: it comes before the layers, for the first of them cannot be shown
    right without; `pack`: from what the attribute holds to a payload, `parse`: back; each raises FormatError.
    """

    name: str
    front: bool
    pack: Callable[[Any], bytes] = bytes
    parse: Callable[[bytes], Any] = bytes


def _numbers(name: str, front: bool, make: Callable[..., Any], *ranges: Range) -> Kind:
    """Returns a kind whose payload is a row of numbers: a `u8` where 255 is the highest, else a `u32`."""

    def pack(value: Any) -> bytes:
        """Returns the payload."""
        packed = []
        for number, within in zip(value if isinstance(value, tuple) else [value], ranges, strict=True):
            within.check(number)
            packed.append(bytes((number,)) if within.high < 256 else pack_uint32s([number]))
        return b"".join(packed)

    def parse(payload: bytes) -> Any:
        """Returns what the attribute holds."""
        cursor = Cursor(payload, name)
        numbers = [cursor.byte() if within.high < 256 else cursor.uint32() for within in ranges]
        cursor.end()
        for number, within in zip(numbers, ranges, strict=True):
            within.check(number)
        return make(*numbers)

    return Kind(name, front, pack, parse)


def _pack_text(pair: tuple[str, str]) -> bytes:
    try:
        key, value = (part.encode() for part in pair)
    except UnicodeError as error:
        raise FormatError("a text cannot be written as UTF-8") from error
    _KEY.check(len(key))
    return pack_varint(len(key)) + key + value


def _parse_text(payload: bytes) -> tuple[str, str]:
    cursor = Cursor(payload, "text")
    key = cursor.take(cursor.varint(_KEY))
    try:
        return key.decode(), cursor.rest().decode()
    except UnicodeError as error:
        raise cursor.error("it is not UTF-8") from error


_BYTE, _FLAG = Range("code point", 0, 255), Range("flag", 0, 1)  # format, as those below
_COORDINATE, _NUMBER = Range("coordinate", 0, (1 << 31) - 1), Range("number", 1, (1 << 31) - 1)
_ORIENTATION = Range("orientation", 1, 8)
ALPHA, WHOLE = Kind("alpha", True), Kind("whole", True)
KINDS = {
    b"alph": ALPHA,
    b"iccp": Kind("icc", True),
    b"cicp": _numbers("cicp", True, Cicp, _BYTE, _BYTE, _BYTE, _FLAG),
    b"chrm": _numbers("chromaticities", True, Chromaticities, *[_COORDINATE] * 8),
    b"gama": _numbers("gamma", True, int, _NUMBER),
    b"phys": _numbers("density", True, Density, _NUMBER, _NUMBER, _FLAG),
    b"ornt": _numbers("orientation", True, int, _ORIENTATION),
    b"PICT": WHOLE,  # the last one before the layers, so that alpha and color are there while it arrives
    b"text": Kind("text", False, _pack_text, _parse_text),
    b"exif": Kind("exif", False),
    b"xmp ": Kind("xmp", False),
}


def pack_sections(attachments: Attachments) -> tuple[bytes, bytes]:
    """Returns the chunks before the layers and those after them. Raises FormatError if one says what it must not."""
    keys = [key for key, _ in attachments.text]
    Range("number of texts", 0, MAX_TEXTS).check(len(keys))
    if len(set(keys)) < len(keys):
        raise FormatError("two texts have one key")
    sections: dict[bool, list[bytes]] = {True: [], False: []}
    for tag, kind in KINDS.items():
        value = getattr(attachments, kind.name)
        values = value if kind.name == "text" else [value] if value or value == 0 else []
        sections[kind.front] += [pack_chunk(tag, kind.pack(one)) for one in values]
    return b"".join(sections[True]), b"".join(sections[False])


def pack_chunk(tag: bytes, payload: bytes) -> bytes:
    """Returns a chunk. Raises FormatError if it is too long."""
    _PAYLOAD.check(len(payload))
    return b"".join((tag, pack_uint32s([len(payload)]), pack_crc32(tag, payload), payload))


def add(attachments: Attachments, kind: Kind, payload: bytes) -> Attachments:
    """Returns the attachments with what a chunk holds. Raises FormatError, a line that says why it was ignored."""
    present = getattr(attachments, kind.name)
    if present and kind.name != "text":
        raise FormatError(f"a second {kind.name} was ignored")
    try:
        value = kind.parse(payload)
    except FormatError as error:
        raise FormatError(f"{kind.name} is malformed, it was ignored") from error
    if kind.name != "text":
        return replace(attachments, **{kind.name: value})
    if len(present) == MAX_TEXTS:
        raise FormatError(f"there are more than {MAX_TEXTS} texts, some were ignored")
    if value[0] in dict(present):
        raise FormatError("a second text of one key was ignored")
    return replace(attachments, text=(*present, value))


def whole_chunks(section: bytes, section_bytes: int) -> bytes:
    """Returns the section as it is if it has all its `section_bytes`, else the whole chunks at its start."""
    if len(section) == section_bytes:
        return section
    end = 0
    while end + HEAD_BYTES <= len(section):
        following = end + HEAD_BYTES + parse_head(section[end : end + HEAD_BYTES]).num_bytes
        if following > len(section):
            break
        end = following
    return section[:end]
