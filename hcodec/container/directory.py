"""The directory of an archive: which pictures there are, how large, in which segment; and how it is packed.

Room: container, below `archive` as `header` is below the files of one picture. Every range is checked here, before anyone
takes memory on the file's word. Fields stand in columns, not in rows, because deflate finds the repetitions of one
column sooner. FORMAT.md, "The directory". Imports `fields`, `attachments`, `errors` and Python's own modules only.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from hcodec.container.attachments import Sizes
from hcodec.container.fields import (
    FINGERPRINT_BYTES,
    HEIGHT,
    MAX_LENGTH_BYTES,
    MAX_PIXELS,
    WIDTH,
    Cursor,
    Range,
    pack_uint32s,
    pack_varints,
)
from hcodec.errors import FormatError

STORED, SMALL, PHOTO, DRAWN, DEEP = range(5)  # format: the kinds of segments; all but STORED have a fingerprint
MAX_PICTURES = 1 << 20  # format
MAX_NAME_BYTES = 1024  # format
MAX_DIRECTORY_BYTES = 1 << 26  # format
_GRAY = 1  # format: bit of the flags byte; bits 1 to 4 say which attachments there are
_KNOWN_FLAGS = (1 << 1 + len(Sizes._fields)) - 1
_MAX_RATIO = 1032  # what deflate can do at most
_RAW_DEFLATE = -15
LENGTH = Range("its length", 1, MAX_DIRECTORY_BYTES)  # format, as those below
_NUM_PICTURES = Range("number of pictures", 1, MAX_PICTURES)
_KIND = Range("kind of a segment", 0, 255)
_CHAIN = Range("length of a chain", 0, MAX_LENGTH_BYTES)
_EXTRAS = Range("length of the extras of a segment", 0, MAX_LENGTH_BYTES)
_NAME = Range("length of a name", 1, MAX_NAME_BYTES)
_ATTACHED = Range("length of what goes with a picture", 1, MAX_LENGTH_BYTES)
_DRIVE = re.compile("[A-Za-z]:")
_UNPRINTABLE = frozenset(("Cc", "Zl", "Zp"))  # control characters and line separators


@dataclass(frozen=True, slots=True)
class Entry:
    """One picture of an archive.

    `name`: its path with "/" between the parts; `width`, `height` in pixels, 1 .. 2^24, together at most 2^31;
    `segment`: index, from 0, of the segment that holds it; `crc32`: of its pixels by row, then column, then channel;
    `gray`: they have one channel, else red, green and blue; `attached_bytes`: lengths of what goes with it.
    """

    name: str
    width: int
    height: int
    segment: int
    crc32: int
    gray: bool = False
    attached_bytes: Sizes = Sizes()  # noqa: RUF009 (a tuple, which nobody can change)


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment of an archive: how it is coded, and length and CRC-32 of its two parts, the chain and the extras.

    `fingerprint`: 4 bytes, empty if the kind is STORED; `extras_crc32` is 0 if there are no extras.
    """

    kind: int
    fingerprint: bytes
    num_pictures: int
    chain_bytes: int
    chain_crc32: int
    extras_bytes: int = 0
    extras_crc32: int = 0


@dataclass(frozen=True)
class Directory:
    """The pictures of an archive, in the order in which they were packed, and the segments, in that of the file.

    FormatError when made with a value outside the format's range, or with pictures that do not fit the segments.
    """

    entries: tuple[Entry, ...]
    segments: tuple[Segment, ...]

    def __post_init__(self) -> None:
        _NUM_PICTURES.check(len(self.entries))
        _num_segments(len(self.entries)).check(len(self.segments))
        for segment in self.segments:
            _check_segment(segment)
        for entry in self.entries:
            _check_entry(entry, len(self.segments))
        if len({entry.name for entry in self.entries}) < len(self.entries):
            name = Counter(entry.name for entry in self.entries).most_common(1)[0][0]
            raise FormatError(f"two pictures have the name {name!r}")
        for index, segment in enumerate(self.segments):
            _check_contents(index, segment, self.in_segment(index))

    def in_segment(self, index: int) -> list[Entry]:
        """The pictures of a segment, in the order of its chain."""
        return self._by_segment.get(index, [])

    @cached_property
    def _by_segment(self) -> dict[int, list[Entry]]:
        groups: dict[int, list[Entry]] = {}
        for entry in self.entries:
            groups.setdefault(entry.segment, []).append(entry)
        return groups


def check_name(name: str) -> None:
    """Raises FormatError unless `name` is safe to be written below any folder: relative, printable, without ".."."""
    if problem := _problem(name):
        raise FormatError(f"the name {name[:80]!r} cannot be used: it {problem}")


def _problem(name: str) -> str:
    """Says what is wrong with a name; empty if nothing is."""
    try:
        num_bytes = len(name.encode())
    except UnicodeEncodeError:
        return "is not valid Unicode"
    if not _NAME.low <= num_bytes <= _NAME.high:
        return f"has {num_bytes} bytes, allowed is {_NAME.low} to {_NAME.high}"
    if name.startswith("/") or _DRIVE.match(name):
        return "is not relative"
    if any(part in ("", ".", "..") for part in name.split("/")):
        return "has an empty part or dots for one"
    if "\\" in name or any(unicodedata.category(character) in _UNPRINTABLE for character in name):
        return "has a backslash or a control character"
    return ""


def _num_segments(num_pictures: int) -> Range:
    return Range("number of segments", 1, num_pictures)


def _place(num_segments: int) -> Range:
    return Range("segment of a picture", 0, num_segments - 1)


def _count(name: str, num_pictures: int) -> Range:
    return Range(f"number of pictures in {name}", 1, num_pictures)


def _check_segment(segment: Segment) -> None:
    _KIND.check(segment.kind)
    expected = 0 if segment.kind == STORED else FINGERPRINT_BYTES
    Range("length of the fingerprint", expected, expected).check(len(segment.fingerprint))
    _CHAIN.check(segment.chain_bytes)
    _EXTRAS.check(segment.extras_bytes)


def _check_entry(entry: Entry, num_segments: int) -> None:
    check_name(entry.name)
    WIDTH.check(entry.width)
    HEIGHT.check(entry.height)
    _place(num_segments).check(entry.segment)
    for num_bytes in filter(None, entry.attached_bytes):
        _ATTACHED.check(num_bytes)


def _check_contents(index: int, segment: Segment, entries: Sequence[Entry]) -> None:
    """What a segment says of itself against what its pictures say."""
    name = f"segment {index}"
    _count(name, segment.num_pictures).check(len(entries))
    _count(name, len(entries)).check(segment.num_pictures)
    Range(f"pixels in {name}", 1, MAX_PIXELS).check(sum(entry.width * entry.height for entry in entries))
    num_bytes = sum(sum(entry.attached_bytes) for entry in entries)
    Range(f"length of the extras in {name}", segment.extras_bytes, _MAX_RATIO * segment.extras_bytes).check(num_bytes)


def squeeze(data: bytes) -> bytes:
    """Returns `data` as a raw deflate stream (RFC 1951) if that is shorter, else as it is."""
    packer = zlib.compressobj(9, zlib.DEFLATED, _RAW_DEFLATE)
    packed = packer.compress(data) + packer.flush()
    return packed if len(packed) < len(data) else data


def inflate(packed: bytes, num_bytes: int, what: str) -> bytes:
    """Returns the `num_bytes` bytes that `squeeze` packed; FormatError if they are not what comes out.

    Never takes more memory than deflate can make out of the packed bytes at most.
    """
    if len(packed) == num_bytes:
        return packed
    unpacker = zlib.decompressobj(_RAW_DEFLATE)
    try:
        data = unpacker.decompress(packed, num_bytes + 1)  # one more than allowed: 0 would mean without limit
    except zlib.error as error:
        raise FormatError(f"{what} is damaged: {error}") from error
    if len(packed) > num_bytes or len(data) != num_bytes or not unpacker.eof or unpacker.unused_data:
        raise FormatError(f"{what} is damaged: it does not have the length that it should")
    return data


def pack_columns(directory: Directory) -> bytes:
    """Returns the directory as bytes, not yet squeezed. Raises FormatError if they are more than the format holds."""
    entries, segments = directory.entries, directory.segments
    counts = pack_varints((len(entries), len(segments)))
    packed = counts + _pack_segments(segments) + _pack_entries(entries)
    Range("length of the directory", LENGTH.low, LENGTH.high).check(len(packed))
    return packed


def _pack_segments(segments: Sequence[Segment]) -> bytes:
    return b"".join((
        bytes(segment.kind for segment in segments),
        b"".join(segment.fingerprint for segment in segments),
        pack_varints(segment.num_pictures for segment in segments),
        pack_varints(segment.chain_bytes for segment in segments),
        pack_varints(segment.extras_bytes for segment in segments),
        pack_uint32s(segment.chain_crc32 for segment in segments),
        pack_uint32s(segment.extras_crc32 for segment in segments if segment.extras_bytes),
    ))  # fmt: skip


def _pack_entries(entries: Sequence[Entry]) -> bytes:
    names = [entry.name.encode() for entry in entries]
    return b"".join((
        pack_varints(map(len, names)),
        b"".join(names),
        pack_varints(entry.segment for entry in entries),
        pack_varints(entry.width for entry in entries),
        pack_varints(entry.height for entry in entries),
        bytes(_flags(entry) for entry in entries),
        pack_varints(num_bytes for entry in entries for num_bytes in entry.attached_bytes if num_bytes),
        pack_uint32s(entry.crc32 for entry in entries),
    ))  # fmt: skip


def _flags(entry: Entry) -> int:
    present = sum(1 << bit for bit, num_bytes in enumerate(entry.attached_bytes, start=1) if num_bytes)
    return _GRAY * entry.gray | present


def parse_columns(data: bytes) -> Directory:
    """Returns the directory that `pack_columns` packed. Raises FormatError if it is anything else."""
    cursor = Cursor(data, "the directory")
    num_pictures = cursor.varint(_NUM_PICTURES)  # in range now, not after reading a million of them
    num_segments = cursor.varint(_num_segments(num_pictures))
    segments = _parse_segments(cursor, num_segments, num_pictures)
    entries = _parse_entries(cursor, num_pictures, num_segments)
    cursor.end()
    return Directory(entries, segments)


def _parse_segments(cursor: Cursor, count: int, num_pictures: int) -> tuple[Segment, ...]:
    kinds = cursor.take(count)
    fingerprints = [cursor.take(FINGERPRINT_BYTES) if kind != STORED else b"" for kind in kinds]
    counts = cursor.varints(count, _count("a segment", num_pictures))
    chain_bytes, extras_bytes = cursor.varints(count, _CHAIN), cursor.varints(count, _EXTRAS)
    chain_crcs = cursor.uint32s(count)
    present = iter(cursor.uint32s(sum(map(bool, extras_bytes))))
    extras_crcs = [next(present) if num_bytes else 0 for num_bytes in extras_bytes]
    columns = (kinds, fingerprints, counts, chain_bytes, chain_crcs, extras_bytes, extras_crcs)
    return tuple(Segment(*row) for row in zip(*columns, strict=True))


def _parse_entries(cursor: Cursor, count: int, num_segments: int) -> tuple[Entry, ...]:
    names = [_parse_name(cursor.take(length)) for length in cursor.varints(count, _NAME)]
    segments = cursor.varints(count, _place(num_segments))
    widths, heights = cursor.varints(count, WIDTH), cursor.varints(count, HEIGHT)
    flags = cursor.take(count)
    if any(flag & ~_KNOWN_FLAGS for flag in flags):
        raise cursor.error("reserved flags are set")
    present = iter(cursor.varints(sum((flag & ~_GRAY).bit_count() for flag in flags), _ATTACHED))
    sizes = [_parse_sizes(flag, present) for flag in flags]
    grays = (bool(flag & _GRAY) for flag in flags)
    columns = (names, widths, heights, segments, cursor.uint32s(count), grays, sizes)
    return tuple(Entry(*row) for row in zip(*columns, strict=True))


def _parse_sizes(flag: int, present: Iterator[int]) -> Sizes:
    return Sizes(*(next(present) if flag >> bit & 1 else 0 for bit in range(1, 1 + len(Sizes._fields))))


def _parse_name(encoded: bytes) -> str:
    try:
        return encoded.decode()
    except UnicodeDecodeError:
        raise FormatError(f"the name {encoded[:80]!r} is not valid UTF-8") from None
