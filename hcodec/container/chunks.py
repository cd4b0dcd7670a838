"""Chunks: the attachments of a picture in its file, some before the layers, some after.

Room: container (encode step 11, decode step 2); `writer` packs them, `reader` takes them as they arrive. FORMAT.md,
"Chunks". Imports `attachments`, `fields`, `errors` and Python's own modules only.
"""

from __future__ import annotations

from typing import NamedTuple

from hcodec.container.attachments import Attachments
from hcodec.container.fields import CRC_BYTES, MAX_LENGTH_BYTES, Cursor, Range, pack_crc32, pack_uint32s

HEAD_BYTES = 12  # format: tag, length, CRC-32
_TAG_BYTES = 4  # format
NAMES = {b"ALPH": "alpha", b"ICCP": "icc", b"EXIF": "exif", b"XMP ": "xmp"}  # format: tags
_FRONT = (b"ALPH", b"ICCP")  # format: before the layers, for the first of them cannot be shown without
_BACK = (b"EXIF", b"XMP ")  # format: after the layers


class Head(NamedTuple):
    """The head of a chunk: its tag, the length of its payload in bytes, and the checksum of tag and payload."""

    tag: bytes
    num_bytes: int
    crc32: bytes

    def fits(self, payload: bytes) -> bool:
        """Whether tag and payload have the checksum."""
        return pack_crc32(self.tag, payload) == self.crc32


def parse_head(data: bytes) -> Head:
    """Returns the head of a chunk from its `HEAD_BYTES` bytes."""
    cursor = Cursor(data, "a chunk")
    return Head(cursor.take(_TAG_BYTES), cursor.uint32(), cursor.take(CRC_BYTES))


def pack_sections(attachments: Attachments) -> tuple[bytes, bytes]:
    """Returns the chunks before the layers and those after them. Raises FormatError if one is too long."""
    front, back = (b"".join(pack_chunk(tag, getattr(attachments, NAMES[tag])) for tag in tags) for tags in (_FRONT, _BACK))
    return front, back


def pack_chunk(tag: bytes, payload: bytes) -> bytes:
    """Returns a chunk; nothing where the payload is empty. Raises FormatError if it is too long."""
    if not payload:
        return b""
    Range(f"length of {NAMES[tag]}", 0, MAX_LENGTH_BYTES).check(len(payload))
    return b"".join((tag, pack_uint32s([len(payload)]), pack_crc32(tag, payload), payload))


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
