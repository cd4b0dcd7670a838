"""A picture as a whole, in one chunk, in place of levels: how it is coded, and what can be shown while it arrives.

Room: container, beside `lossless_layer`. A file that has it names no model. Imports `fields`, `errors` and Python's own
modules only. FORMAT.md, "Whole pictures".
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from hcodec.container.fields import Cursor, Range, pack_varint
from hcodec.errors import FormatError, TruncatedError

MODEL, FINGERPRINT = "stored", bytes(4)  # format: what such a file has in place of a model
GRAY_SAMPLES, RGB_SAMPLES, FILE, COLORS, DEEP = range(5)  # format: forms; the first three as in stored pictures
_NAMES = ("samples", "samples", "image file", "", "16-bit")
MAX_COLORS = 4096  # format
WITHOUT_LEVELS = "the picture is stored as a whole, it has no levels to choose from"
FEWER_LEVELS = "the file has fewer levels below its lossless layer, all of it was taken"
MAX_START_BYTES = 1 << 17  # format: of preview, form and palette, together, rounded up
_PREVIEW = Range("length of the preview", 0, 1 << 16)  # format, as those below
_FORM = Range("form", GRAY_SAMPLES, DEEP)
_CHANNELS = Range("number of channels", 1, 3)
_NUM_COLORS = Range("number of colors", 1, MAX_COLORS)
_PACKED = Range("length of the palette", 1, 4 * MAX_COLORS)
_RAW_DEFLATE = -15


@dataclass(frozen=True)
class Palette:
    """The colors of a picture: how many channels each has, 1 or 3, and how many there are; `values`: plane after plane."""

    channels: int
    num_colors: int
    values: bytes

    def pack(self) -> bytes:
        """Returns its bytes: of each value only the difference from the one before, deflated."""
        deltas = bytes((b - a) & 255 for a, b in zip(b"\0" + self.values, self.values, strict=False))
        deflate = zlib.compressobj(9, wbits=_RAW_DEFLATE)
        packed = deflate.compress(deltas) + deflate.flush()
        return bytes([self.channels]) + pack_varint(self.num_colors) + pack_varint(len(packed)) + packed


@dataclass(frozen=True)
class Whole:
    """A whole picture, taken apart. `preview`: a small lossy WebP file, or nothing; `palette`: with the form COLORS only."""

    preview: bytes
    form: int
    palette: Palette | None
    body: bytes

    def pack(self) -> bytes:
        """Returns its bytes."""
        head = pack_varint(len(self.preview)) + self.preview + bytes([self.form])
        return head + (self.palette.pack() if self.palette else b"") + self.body

    @property
    def has_alpha(self) -> bool:
        """Whether an alpha channel is among the samples: that of 16 bits is not apart."""
        return self.form == DEEP and self.body[:1] in (b"\2", b"\4")  # format: channels

    def describe(self) -> str:
        """Says in a word or two how it is coded."""
        if self.palette is None:
            return _NAMES[self.form]
        return {1: "one color", 2: "bilevel"}.get(self.palette.num_colors, f"{self.palette.num_colors} colors")


def parse(data: bytes) -> Whole:
    """Returns the parts of a whole picture, or of its beginning. Raises FormatError, TruncatedError (nothing can be said yet)."""
    cursor = Cursor(data, "the picture", truncated="the file ends at the beginning of its picture")
    preview = cursor.take(cursor.varint(_PREVIEW))
    form = cursor.byte(_FORM)
    palette = _parse_palette(cursor) if form == COLORS else None
    return Whole(preview, form, palette, cursor.rest())


def is_described(data: bytes) -> bool:
    """Whether the beginning of a whole picture says how it is coded, or cannot be read."""
    try:
        parse(data)
    except TruncatedError:
        return False
    except FormatError:
        return True
    return True


def preview_of(data: bytes) -> bytes:
    """Returns the preview in the beginning of a whole picture, empty if it has none. Raises FormatError, TruncatedError."""
    cursor = Cursor(data, "the picture", truncated="the file ends at the beginning of its picture")
    return cursor.take(cursor.varint(_PREVIEW))


def shown_of(data: bytes) -> str:
    """Says what the beginning of a whole picture shows."""
    try:
        parts = parse(data)
    except (FormatError, TruncatedError):
        return "nothing of it can be shown"
    if parts.form == COLORS:
        return "the first pixels of it are there"
    if not parts.preview:
        return "there is no preview of it"
    return f"only a small preview of it is there{', of 8 bits' if parts.form == DEEP else ''}"


def _parse_palette(cursor: Cursor) -> Palette:
    channels, num_colors = cursor.byte(_CHANNELS), cursor.varint(_NUM_COLORS)
    packed = cursor.take(cursor.varint(_PACKED))
    inflate, length = zlib.decompressobj(_RAW_DEFLATE), channels * num_colors
    try:
        deltas = inflate.decompress(packed, length + 1)
    except zlib.error as error:
        raise FormatError("the palette is damaged") from error
    if channels == 2 or len(deltas) != length or not inflate.eof or inflate.unused_data:
        raise FormatError("the palette is damaged")
    values, last = bytearray(), 0
    for delta in deltas:
        last = (last + delta) & 255
        values.append(last)
    return Palette(channels, num_colors, bytes(values))
