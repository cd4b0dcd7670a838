"""An archive of many pictures as bytes: a directory up front, then segments, each decodable without the others.

Room: container; the other modules are for files of one picture. A segment is a chain of pictures on one stack, opaque
here, and what goes with them (alpha, metadata); it is the restart point of random access. FORMAT.md, "Archives", is
the text of what this module does. Imports `directory`, `header`, `errors` and Python's own modules only: no numpy, no
Pillow.
"""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO, NamedTuple

from hcodec.container.directory import (
    MAX_DIRECTORY_BYTES,
    STORED,
    Directory,
    Entry,
    Segment,
    check_name,
    inflate,
    pack_columns,
    parse_columns,
    squeeze,
)
from hcodec.container.header import CRC_BYTES, MAX_VARINT_BYTES, pack_varint
from hcodec.container.header import MAGIC as PICTURE_MAGIC
from hcodec.errors import FormatError, HcodecError, TruncatedError

__all__ = [
    "KINDS",
    "STORED",
    "Archive",
    "Entry",
    "Extras",
    "Kind",
    "Listing",
    "Segment",
    "check_name",
    "opened",
    "refuse",
    "seal",
    "write",
]

MAGIC = b"\x89HCA\r\n\x1a"  # format: as a picture's, but for the A
VERSION = 1  # format
_HEAD_BYTES = len(MAGIC) + 1 + 2 * MAX_VARINT_BYTES  # at most, without the directory


class Kind(NamedTuple):
    """A way to code a chain with a model: its number in the file, its name, and where its code is.

    `coder`: the module with `fits(pictures)`, which names the model that takes these pictures or is None,
    `encode_chain(pixels, model)` and `decode_chain(data, sizes, model)`; `registry`: the module whose `load(name)` and
    `find(fingerprint)` know these models; `bytes_per_pixel`: working memory for one picture.
    """

    number: int
    name: str
    coder: str
    registry: str
    bytes_per_pixel: int


KINDS = (  # format: the numbers; in order of preference
    Kind(1, "small", "hcodec.coders.small_chain", "hcodec.models.small.registry", 0),  # takes no picture large enough to count
    Kind(2, "photo", "hcodec.coders.photo_chain", "hcodec.models", 260),
)

Source = bytes | bytearray | memoryview | str | os.PathLike[str] | BinaryIO


class Extras(NamedTuple):
    """What goes with the pixels of a picture, each empty when absent; the alpha channel as from `alpha.encode_alpha`."""

    icc: bytes = b""
    exif: bytes = b""
    xmp: bytes = b""
    alpha: bytes = b""


def seal(kind: int, fingerprint: bytes, chain: bytes, extras: Sequence[Extras]) -> tuple[Segment, bytes]:
    """A segment and its bytes: of a chain, and of the extras of each of its pictures.

    `kind`: 0 .. 255; `fingerprint`: 4 bytes of the model's digest, empty if the kind is STORED.
    """
    # blobs of one kind side by side: the pictures of one camera have the same profile
    packed = squeeze(b"".join(blob for blobs in zip(*extras, strict=True) for blob in blobs))
    row = Segment(kind, fingerprint, len(extras), len(chain), zlib.crc32(chain), len(packed), zlib.crc32(packed))
    return row, chain + packed


def write(entries: Sequence[Entry], segments: Sequence[tuple[Segment, bytes]]) -> bytes:
    """The bytes of an archive of pictures, in any order, and of the segments from `seal` that hold them.

    Within a segment its pictures come in the order of `entries`. Raises FormatError when a value is outside the
    format's range, a name is not safe or appears twice.
    """
    directory = Directory(tuple(entries), tuple(row for row, _ in segments))
    columns = pack_columns(directory)
    packed = squeeze(columns)
    head = MAGIC + bytes((VERSION,)) + pack_varint(len(packed)) + pack_varint(len(columns)) + packed
    return b"".join((head, zlib.crc32(head).to_bytes(CRC_BYTES, "little"), *(payload for _, payload in segments)))


def refuse(data: bytes) -> None:
    """Raises FormatError if `data` is the beginning of an archive, for those who want one picture."""
    if data.startswith(MAGIC):
        raise FormatError("this is an archive of pictures: hcodec list shows what is in it, hcodec unpack takes it out")


@contextmanager
def opened(source: Source) -> Iterator[Archive]:
    """The archive in `source`: its bytes, its path or an open file. Of a file, only what is asked for is read.

    Raises what `Archive` raises, and OSError if the file cannot be read.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        yield Archive(io.BytesIO(source))
    elif isinstance(source, str | os.PathLike):
        with open(source, "rb") as file:
            yield Archive(file)
    else:
        yield Archive(source)


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
        """The bytes of a segment's chain. Raises TruncatedError if they are not all there, FormatError if damaged."""
        segment = self.directory.segments[index]
        return self._checked(self._starts[index], segment.chain_bytes, segment.chain_crc32, f"segment {index + 1}")

    def extras(self, index: int) -> list[Extras]:
        """What goes with each picture of a segment, in the order of the directory; raises as `chain` does."""
        segment = self.directory.segments[index]
        start, what = self._starts[index] + segment.chain_bytes, f"what goes with the pictures of segment {index + 1}"
        packed = self._checked(start, segment.extras_bytes, segment.extras_crc32, what)
        entries = self.directory.in_segment(index)
        blobs = inflate(packed, sum(sum(entry.extras) for entry in entries), what)
        columns, position = [], 0
        for lengths in zip(*(entry.extras for entry in entries), strict=True):
            column = []
            for length in lengths:
                column.append(blobs[position : position + length])
                position += length
            columns.append(column)
        return [Extras(*row) for row in zip(*columns, strict=True)]

    def fault(self, index: int) -> str:
        """What is wrong with the bytes of a segment, in one line; empty if they are there and undamaged."""
        try:
            self.chain(index)
            self.extras(index)
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
        """The directory, and how many bytes it and what is before it take."""
        head = self._read(0, _HEAD_BYTES)
        _check_start(head)
        packed_bytes, position = _parse_length(head, len(MAGIC) + 1)
        num_bytes, position = _parse_length(head, position)
        data = self._read(0, position + packed_bytes + CRC_BYTES)
        if len(data) < position + packed_bytes + CRC_BYTES:
            raise TruncatedError("the archive ends inside its directory")
        if zlib.crc32(data[:-CRC_BYTES]) != int.from_bytes(data[-CRC_BYTES:], "little"):
            raise FormatError("the directory is damaged: its checksum is wrong")
        columns = inflate(data[position:-CRC_BYTES], num_bytes, "the directory")
        return parse_columns(columns), len(data)

    def _read(self, start: int, num_bytes: int) -> bytes:
        self._file.seek(start)
        return self._file.read(num_bytes)


def _check_start(head: bytes) -> None:
    if head.startswith(PICTURE_MAGIC):
        raise FormatError("this is one picture, not an archive: hcodec info shows what is in it, hcodec decode decodes it")
    if not head or not MAGIC.startswith(head[: len(MAGIC)]):
        raise FormatError("not an hcodec archive")
    if len(head) <= len(MAGIC):
        raise TruncatedError("the archive ends inside its directory")
    version = head[len(MAGIC)]
    if version > VERSION:
        raise FormatError(f"the archive has version {version}, newer than version {VERSION} that this hcodec reads")
    if version < VERSION:
        raise FormatError(f"the archive is damaged: there is no version {version}")


def _parse_length(head: bytes, position: int) -> tuple[int, int]:
    """The length of the directory at `position`, and the position after it."""
    value = 0
    for index, byte in enumerate(head[position : position + MAX_VARINT_BYTES]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            if not 1 <= value <= MAX_DIRECTORY_BYTES or (byte == 0 and index):
                raise FormatError("the directory is damaged: its length is out of range")
            return value, position + index + 1
    if position + MAX_VARINT_BYTES > len(head):
        raise TruncatedError("the archive ends inside its directory")
    raise FormatError("the directory is damaged: its length does not end")


@dataclass(frozen=True)
class Listing:
    """What is in an archive, without decoding it.

    `pictures` in the order in which they were packed, `segments` in that of the file; `directory_bytes`: all that comes
    before the segments; `file_bytes`: what is there; `total_bytes`: what the directory promises; `warnings`: one line
    for each thing that is wrong.
    """

    version: int
    pictures: tuple[Entry, ...]
    segments: tuple[Segment, ...]
    directory_bytes: int
    file_bytes: int
    total_bytes: int
    warnings: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The same, in dicts, lists, strings and numbers, as JSON takes them."""
        fields = asdict(self)
        for segment in fields["segments"]:
            segment["fingerprint"] = segment["fingerprint"].hex()
        for picture in fields["pictures"]:
            lengths = Extras._fields, picture.pop("extras")
            picture |= {f"{name}_bytes": num_bytes for name, num_bytes in zip(*lengths, strict=True)}
        return fields


def listing(source: Source, *, check: bool = False) -> Listing:
    """What is in an archive, given as its bytes, its path or an open file.

    Reads the directory alone, or with `check` everything, to compare the checksums; decodes nothing. Raises FormatError,
    TruncatedError and OSError as `opened` does.
    """
    with opened(source) as archive:
        segments = archive.directory.segments
        warnings = [fault for index in range(len(segments)) if check and (fault := archive.fault(index))]
        if archive.file_bytes < archive.total_bytes:
            warnings.append(f"the file ends after {archive.file_bytes} of {archive.total_bytes} bytes")
        if archive.file_bytes > archive.total_bytes:
            warnings.append("there are bytes after the end of the archive")
        return Listing(
            VERSION, archive.directory.entries, segments,
            archive.head_bytes, archive.file_bytes, archive.total_bytes, tuple(warnings),
        )  # fmt: skip
