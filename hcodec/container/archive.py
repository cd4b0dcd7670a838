"""An archive of many pictures as bytes: a directory up front, then segments, each decodable without the others.

Room: container; the other modules are for files of one picture. A segment is a chain of pictures on one stack, opaque
here, and what goes with them, its extras; it is where access starts. Of the ways to code a chain, only their numbers
are known here. FORMAT.md, "Archives". Imports the other modules of its room, `errors` and Python's own modules only.
"""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO

from hcodec.container import whole
from hcodec.container.attachments import Attachments
from hcodec.container.directory import (
    DEEP,
    LENGTH,
    Directory,
    Entry,
    Segment,
    check_name,
    inflate,
    pack_columns,
    parse_columns,
    squeeze,
)
from hcodec.container.fields import CRC_BYTES, MAX_LENGTH_BYTES, MAX_VARINT_BYTES, Cursor, Range, pack_crc32, pack_varint
from hcodec.container.header import ARCHIVE as MAGIC
from hcodec.container.header import MAGIC as PICTURE_MAGIC
from hcodec.container.source import Source, open_path, read_source
from hcodec.errors import FormatError, HcodecError, TruncatedError

__all__ = [
    "Archive",
    "Entry",
    "Listing",
    "Segment",
    "check_name",
    "listing",
    "opened",
    "seal",
    "write",
]

VERSION = 1  # format
_PICTURE = Range("length of a picture", 1, MAX_LENGTH_BYTES)  # format
_FEW_BYTES = 64  # that tell how most pictures of 16 bits are coded
_TRUNCATED = "the archive ends inside its directory"
_HEAD_BYTES = len(MAGIC) + 1 + 2 * MAX_VARINT_BYTES  # at most, without the directory


def seal(kind: int, fingerprint: bytes, chain: bytes, attachments: Sequence[Attachments]) -> tuple[Segment, bytes]:
    """Returns a segment and its bytes: of a chain, and of what goes with each of its pictures.

    `kind`: 0 .. 255; `fingerprint`: 4 bytes of the model's digest, empty if the kind is STORED.
    """
    # blobs of one kind side by side: the pictures of one camera have the same profile
    columns = zip(*(one.blobs for one in attachments), strict=True)
    packed = squeeze(b"".join(blob for blobs in columns for blob in blobs))
    row = Segment(kind, fingerprint, len(attachments), len(chain), zlib.crc32(chain), len(packed), zlib.crc32(packed))
    return row, chain + packed


def write(entries: Sequence[Entry], segments: Sequence[tuple[Segment, bytes]]) -> bytes:
    """Returns the bytes of an archive of pictures, in any order, and of the segments from `seal` that hold them.

    Within a segment its pictures come in the order of `entries`. Raises FormatError when a value is outside the
    format's range, a name is not safe or appears twice.
    """
    directory = Directory(tuple(entries), tuple(row for row, _ in segments))
    columns = pack_columns(directory)
    packed = squeeze(columns)
    head = MAGIC + bytes((VERSION,)) + pack_varint(len(packed)) + pack_varint(len(columns)) + packed
    return b"".join((head, pack_crc32(head), *(payload for _, payload in segments)))


@contextmanager
def opened(source: Source) -> Iterator[Archive]:
    """Opens the archive in `source`: its bytes, its path or an open file. Of a file, only what is asked for is read.

    Raises what `Archive` raises, and OSError if the file cannot be read.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        yield Archive(io.BytesIO(source))
    elif isinstance(source, str | os.PathLike):
        with open_path(source) as file:
            yield Archive(file)
    elif hasattr(source, "seekable") and not getattr(source, "closed", False):
        yield Archive(source)
    else:
        yield Archive(io.BytesIO(read_source(source)))


class Archive:
    """An archive that is open for reading: the directory now, each segment when it is asked for.

    `directory`: which pictures there are, and in which segments; `file_bytes`: of what is there; `total_bytes`: of what
    the directory promises. Raises FormatError if it is not ours, too new or damaged in its directory, TruncatedError if
    it ends inside the directory.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file if file.seekable() else io.BytesIO(file.read())
        self.file_bytes = self._file.seek(0, os.SEEK_END)
        self.directory, self.head_bytes = self._parse_head()
        starts = [self.head_bytes]
        for segment in self.directory.segments:
            starts.append(starts[-1] + segment.chain_bytes + segment.extras_bytes)
        self._starts, self.total_bytes = starts[:-1], starts[-1]

    def chain(self, index: int) -> bytes:
        """Returns the bytes of a segment's chain. Raises TruncatedError if they are not all there, FormatError if damaged."""
        segment = self.directory.segments[index]
        return self._checked(self._starts[index], segment.chain_bytes, segment.chain_crc32, f"segment {index}")

    def attachments(self, index: int) -> list[Attachments]:
        """Returns what goes with each picture of a segment, in the order of the directory; raises as `chain` does."""
        segment = self.directory.segments[index]
        start, what = self._starts[index] + segment.chain_bytes, f"what goes with the pictures of segment {index}"
        packed = self._checked(start, segment.extras_bytes, segment.extras_crc32, what)
        sizes = [entry.attached_bytes for entry in self.directory.in_segment(index)]
        cursor = Cursor(inflate(packed, sum(map(sum, sizes)), what), what)
        columns = [[cursor.take(num_bytes) for num_bytes in column] for column in zip(*sizes, strict=True)]
        return [Attachments(*row) for row in zip(*columns, strict=True)]

    def alpha_of_deep(self) -> Iterator[str]:
        """Yields the names of pictures of 16 bits with an alpha channel, which is among their samples; reads little."""
        for index, segment in enumerate(self.directory.segments):
            if segment.kind == DEEP:
                with suppress(HcodecError):  # it is damaged, which is for `fault` to say
                    yield from self._alpha_of_deep(index)

    def _alpha_of_deep(self, index: int) -> Iterator[str]:
        start, end = self._starts[index], self._starts[index] + self.directory.segments[index].chain_bytes
        for entry in self.directory.in_segment(index):
            cursor = Cursor(self._read(start, MAX_VARINT_BYTES), "a chain")
            num_bytes = cursor.varint(_PICTURE)
            start += cursor.position
            room = max(min(num_bytes, end - start), 0)
            picture = self._read(start, min(_FEW_BYTES, room))
            if not whole.is_described(picture):  # there is a preview before it
                picture = self._read(start, min(whole.MAX_START_BYTES, room))
            if whole.parse(picture).has_alpha:
                yield entry.name
            start += num_bytes

    def fault(self, index: int) -> str:
        """Says what is wrong with the bytes of a segment, in one line; empty if they are there and undamaged."""
        try:
            self.chain(index)
            self.attachments(index)
        except HcodecError as error:
            return str(error)
        return ""

    def _checked(self, start: int, num_bytes: int, crc32: int, what: str) -> bytes:
        if start + num_bytes > self.file_bytes:
            raise TruncatedError(f"{what} is missing: the file ends after {self.file_bytes} of {self.total_bytes} bytes")
        data = self._read(start, num_bytes)
        if zlib.crc32(data) != crc32:
            raise FormatError(f"{what} is damaged: its checksum is wrong")
        return data

    def _parse_head(self) -> tuple[Directory, int]:
        """Returns the directory, and how many bytes it and what is before it take."""
        head = Cursor(self._read(0, _HEAD_BYTES), "the directory", truncated=_TRUNCATED)
        _check_start(head)
        packed_bytes, num_bytes = head.varint(LENGTH), head.varint(LENGTH)
        data = self._read(0, head.position + packed_bytes + CRC_BYTES)
        cursor = Cursor(data, "the directory", position=head.position, truncated=_TRUNCATED)
        packed = cursor.take(packed_bytes)
        cursor.crc32()
        return parse_columns(inflate(packed, num_bytes, "the directory")), cursor.position

    def _read(self, start: int, num_bytes: int) -> bytes:
        self._file.seek(start)
        return self._file.read(num_bytes)


def _check_start(head: Cursor) -> None:
    """Reads magic and version. Raises FormatError if they are not ours, TruncatedError if they are not all there."""
    found = head.upto(len(MAGIC))
    if found == PICTURE_MAGIC:
        raise FormatError("this is one picture, not an archive: hcodec info shows what is in it, hcodec decode decodes it")
    if not found:
        raise FormatError("not an hcodec archive: it is empty")
    if not MAGIC.startswith(found):
        raise FormatError("not an hcodec archive")
    version = head.byte()
    if version > VERSION:
        raise FormatError(f"the archive has version {version}, newer than version {VERSION} that this hcodec reads")
    if version < VERSION:
        raise FormatError(f"the archive is damaged: there is no version {version}")


@dataclass(frozen=True)
class Listing:
    """What is in an archive, without decoding it.

    `pictures` in the order in which they were packed, `segments` in that of the file; `directory_bytes`: all that comes
    before the segments; `file_bytes`: what is there; `total_bytes`: what the directory promises; `with_alpha`: the names of
    pictures that have an alpha channel; `warnings`: one line for each thing that is wrong.
    """

    version: int
    pictures: tuple[Entry, ...]
    segments: tuple[Segment, ...]
    directory_bytes: int
    file_bytes: int
    total_bytes: int
    with_alpha: frozenset[str]
    warnings: tuple[str, ...]

    def depth(self, segment: int) -> int:
        """How many bits the samples in a segment, counted from 0, have."""
        return 16 if self.segments[segment].kind == DEEP else 8

    def as_dict(self) -> dict[str, Any]:
        """The same, in dicts, lists, strings and numbers, as JSON takes them."""
        fields = asdict(self)
        with_alpha = fields.pop("with_alpha")
        for segment in fields["segments"]:
            segment["fingerprint"] = segment["fingerprint"].hex()
        for picture in fields["pictures"]:
            sizes = picture.pop("attached_bytes")._asdict()
            picture |= {f"{name}_bytes": num_bytes for name, num_bytes in sizes.items()}
            picture |= {"has_alpha": picture["name"] in with_alpha, "depth": self.depth(picture["segment"])}
        return fields


def listing(source: Source, *, check: bool = False) -> Listing:
    """Returns what is in an archive, given as its bytes, its path or an open file.

    Reads the directory and the beginning of pictures of 16 bits, or with `check` everything, to compare the checksums;
    decodes nothing. Raises FormatError, TruncatedError and OSError as `opened` does.
    """
    with opened(source) as archive:
        segments = archive.directory.segments
        warnings = [fault for index in range(len(segments)) if check and (fault := archive.fault(index))]
        if archive.file_bytes < archive.total_bytes:
            warnings.append(f"the file ends after {archive.file_bytes} of {archive.total_bytes} bytes")
        if archive.file_bytes > archive.total_bytes:
            warnings.append("there are bytes after the end of the archive")
        beside = (entry.name for entry in archive.directory.entries if entry.attached_bytes.alpha)
        return Listing(
            VERSION, archive.directory.entries, segments, archive.head_bytes, archive.file_bytes, archive.total_bytes,
            frozenset((*beside, *archive.alpha_of_deep())), tuple(warnings),
        )  # fmt: skip
