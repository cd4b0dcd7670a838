"""The directory of an archive: which pictures there are, how large, in which segment; and how it is packed.

Room: container, below `archive` as `header` is below the files of one picture. Every range is checked here, before
anyone takes memory on the file's word. Fields stand in columns, not in rows, because deflate finds the repetitions of
one column sooner. Described in FORMAT.md. Imports `header`, `errors` and Python's own modules only.
"""

from __future__ import annotations

import re
import struct
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from hcodec.container.header import FINGERPRINT_BYTES, MAX_LENGTH_BYTES, MAX_PIXELS, MAX_SIDE_PX, MAX_VARINT_BYTES, pack_varint
from hcodec.errors import FormatError

STORED = 0  # format: the kind of segment without a model; all others have a fingerprint
MAX_PICTURES = 1 << 20  # format
MAX_NAME_BYTES = 1024  # format
MAX_DIRECTORY_BYTES = 1 << 26  # format
_NUM_EXTRAS = 4  # format: ICC, EXIF, XMP, alpha
_GRAY = 1  # format: bit of the flags byte; bits 1 to 4 say which extras there are
_KNOWN_FLAGS = (1 << 1 + _NUM_EXTRAS) - 1
_MAX_RATIO = 1032  # what deflate can do at most
_RAW_DEFLATE = -15
_DRIVE = re.compile("[A-Za-z]:")
_UNPRINTABLE = frozenset(("Cc", "Zl", "Zp"))  # control characters and line separators


@dataclass(frozen=True, slots=True)
class Entry:
    """One picture of an archive.

    `name`: its path with "/" between the parts; `width`, `height` in pixels, 1 .. 2^24, together at most 2^31;
    `segment`: index, from 0, of the segment that holds it; `crc32`: of its pixels by row, then column, then channel;
    `gray`: they have one channel, else red, green and blue; `extras`: bytes of ICC profile, EXIF, XMP and alpha, 0 when
    absent.
    """

    name: str
    width: int
    height: int
    segment: int
    crc32: int
    gray: bool = False
    extras: tuple[int, int, int, int] = (0, 0, 0, 0)


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
        _check_range("number of pictures", len(self.entries), 1, MAX_PICTURES)
        _check_range("number of segments", len(self.segments), 1, len(self.entries))
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
    problem = ""
    try:
        num_bytes = len(name.encode())
    except UnicodeEncodeError:
        raise FormatError(f"the name {name!r} is not valid Unicode") from None
    if not 1 <= num_bytes <= MAX_NAME_BYTES:
        problem = f"has {num_bytes} bytes, allowed is 1 to {MAX_NAME_BYTES}"
    elif name.startswith("/") or _DRIVE.match(name):
        problem = "is not relative"
    elif any(part in ("", ".", "..") for part in name.split("/")):
        problem = "has an empty part or dots for one"
    elif "\\" in name or any(unicodedata.category(character) in _UNPRINTABLE for character in name):
        problem = "has a backslash or a control character"
    if problem:
        raise FormatError(f"the name {name[:80]!r} cannot be used: it {problem}")


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise FormatError(f"{name} is {value}, allowed is {low} to {high}")


def _check_segment(segment: Segment) -> None:
    _check_range("kind of a segment", segment.kind, 0, 255)
    expected = 0 if segment.kind == STORED else FINGERPRINT_BYTES
    _check_range("length of the fingerprint", len(segment.fingerprint), expected, expected)
    _check_range("length of a chain", segment.chain_bytes, 0, MAX_LENGTH_BYTES)
    _check_range("length of the extras of a segment", segment.extras_bytes, 0, MAX_LENGTH_BYTES)


def _check_entry(entry: Entry, num_segments: int) -> None:
    check_name(entry.name)
    _check_range("width", entry.width, 1, MAX_SIDE_PX)
    _check_range("height", entry.height, 1, MAX_SIDE_PX)
    _check_range("segment of a picture", entry.segment, 0, num_segments - 1)
    for num_bytes in entry.extras:
        _check_range("length of what goes with a picture", num_bytes, 0, MAX_LENGTH_BYTES)


def _check_contents(index: int, segment: Segment, entries: Sequence[Entry]) -> None:
    """What a segment says of itself against what its pictures say."""
    name = f"segment {index + 1}"
    _check_range(f"number of pictures in {name}", len(entries), 1, segment.num_pictures)
    _check_range(f"number of pictures in {name}", segment.num_pictures, 1, len(entries))
    _check_range(f"pixels in {name}", sum(entry.width * entry.height for entry in entries), 1, MAX_PIXELS)
    num_bytes = sum(sum(entry.extras) for entry in entries)
    _check_range(f"length of the extras in {name}", num_bytes, segment.extras_bytes, _MAX_RATIO * segment.extras_bytes)


def squeeze(data: bytes) -> bytes:
    """`data` as a raw deflate stream (RFC 1951) if that is shorter, else as it is."""
    packer = zlib.compressobj(9, zlib.DEFLATED, _RAW_DEFLATE)
    packed = packer.compress(data) + packer.flush()
    return packed if len(packed) < len(data) else data


def inflate(packed: bytes, num_bytes: int, what: str) -> bytes:
    """The `num_bytes` bytes that `squeeze` packed; FormatError if they are not what comes out.

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
    """The directory as bytes, not yet squeezed. Raises FormatError if they are more than the format holds."""
    entries, segments = directory.entries, directory.segments
    names = [entry.name.encode() for entry in entries]
    packed = b"".join((
        _varints((len(entries), len(segments))),
        bytes(segment.kind for segment in segments),
        b"".join(segment.fingerprint for segment in segments),
        _varints(segment.num_pictures for segment in segments),
        _varints(segment.chain_bytes for segment in segments),
        _varints(segment.extras_bytes for segment in segments),
        _uint32s(segment.chain_crc32 for segment in segments),
        _uint32s(segment.extras_crc32 for segment in segments if segment.extras_bytes),
        _varints(map(len, names)),
        b"".join(names),
        _varints(entry.segment for entry in entries),
        _varints(entry.width for entry in entries),
        _varints(entry.height for entry in entries),
        bytes(_flags(entry) for entry in entries),
        _varints(num_bytes for entry in entries for num_bytes in entry.extras if num_bytes),
        _uint32s(entry.crc32 for entry in entries),
    ))  # fmt: skip
    _check_range("length of the directory", len(packed), 1, MAX_DIRECTORY_BYTES)
    return packed


def _flags(entry: Entry) -> int:
    present = sum(1 << bit for bit, num_bytes in enumerate(entry.extras, start=1) if num_bytes)
    return _GRAY * entry.gray | present


def _varints(values: Iterable[int]) -> bytes:
    return b"".join(map(pack_varint, values))


def _uint32s(values: Iterable[int]) -> bytes:
    listed = list(values)
    return struct.pack(f"<{len(listed)}I", *listed)


def parse_columns(data: bytes) -> Directory:
    """The directory that `pack_columns` packed. Raises FormatError if it is anything else."""
    cursor = _Cursor(data)
    num_pictures, num_segments = cursor.varints(2)
    _check_range("number of pictures", num_pictures, 1, MAX_PICTURES)  # now, not after reading a million of them
    _check_range("number of segments", num_segments, 1, num_pictures)
    segments = _parse_segments(cursor, num_segments)
    entries = _parse_entries(cursor, num_pictures)
    if cursor.position != len(data):
        raise FormatError("the directory is damaged: there are bytes after its end")
    return Directory(entries, segments)


def _parse_segments(cursor: _Cursor, count: int) -> tuple[Segment, ...]:
    kinds = cursor.take(count)
    fingerprints = [cursor.take(FINGERPRINT_BYTES) if kind != STORED else b"" for kind in kinds]
    num_pictures, chain_bytes, extras_bytes = (cursor.varints(count) for _ in range(3))
    chain_crcs = cursor.uint32s(count)
    present = iter(cursor.uint32s(sum(map(bool, extras_bytes))))
    extras_crcs = [next(present) if num_bytes else 0 for num_bytes in extras_bytes]
    columns = (kinds, fingerprints, num_pictures, chain_bytes, chain_crcs, extras_bytes, extras_crcs)
    return tuple(Segment(*row) for row in zip(*columns, strict=True))


def _parse_entries(cursor: _Cursor, count: int) -> tuple[Entry, ...]:
    names = [_parse_name(cursor.take(length)) for length in cursor.varints(count)]
    segments, widths, heights = (cursor.varints(count) for _ in range(3))
    flags = cursor.take(count)
    if any(flag & ~_KNOWN_FLAGS for flag in flags):
        raise FormatError("the directory is damaged: reserved flags are set")
    lengths = cursor.varints(sum((flag & ~_GRAY).bit_count() for flag in flags))
    if 0 in lengths:  # else one directory would have two encodings
        raise FormatError("the directory is damaged: something is announced and empty")
    present = iter(lengths)
    extras = [_extras_lengths(flag, present) for flag in flags]
    grays = (bool(flag & _GRAY) for flag in flags)
    columns = (names, widths, heights, segments, cursor.uint32s(count), grays, extras)
    return tuple(Entry(*row) for row in zip(*columns, strict=True))


def _extras_lengths(flag: int, present: Iterator[int]) -> tuple[int, int, int, int]:
    icc, exif, xmp, alpha = (next(present) if flag >> bit & 1 else 0 for bit in range(1, 1 + _NUM_EXTRAS))
    return icc, exif, xmp, alpha


def _parse_name(encoded: bytes) -> str:
    try:
        return encoded.decode()
    except UnicodeDecodeError:
        raise FormatError(f"the name {encoded[:80]!r} is not valid UTF-8") from None


class _Cursor:
    """Reads columns one after the other; FormatError where the bytes end before the column does."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    def take(self, num_bytes: int) -> bytes:
        """Returns the next bytes; FormatError if there are fewer."""
        end = self.position + num_bytes
        if end > len(self._data):
            raise FormatError("the directory is damaged: it ends too soon")
        taken = self._data[self.position : end]
        self.position = end
        return taken

    def uint32s(self, count: int) -> tuple[int, ...]:
        return struct.unpack(f"<{count}I", self.take(4 * count))

    def varints(self, count: int) -> list[int]:
        return [self._varint() for _ in range(count)]

    def _varint(self) -> int:
        value = 0
        for index in range(MAX_VARINT_BYTES):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << 7 * index
            if byte < 0x80:
                if byte == 0 and index > 0:
                    raise FormatError("the directory is damaged: a number is longer than it needs to be")
                return value
        raise FormatError("the directory is damaged: a number does not end")
