"""Numbers of files: one form each, in range, in every place that has one; and the reader is the mirror of the writer."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcodec.coders import stored
from hcodec.container import fields
from hcodec.container.archive import MAGIC as ARCHIVE_MAGIC
from hcodec.container.archive import listing
from hcodec.container.directory import parse_columns
from hcodec.container.fields import Cursor, Range
from hcodec.container.header import MAGIC, parse_header
from hcodec.errors import FormatError, TruncatedError

ANY = Range("number", 0, (1 << 35) - 1)


def with_crc(data):
    return data + zlib.crc32(data).to_bytes(4, "little")


class Place(NamedTuple):
    """A place that has a number: the bytes around it, who reads them, what errors call it, and its range."""

    read: Callable[[bytes], object]
    before: bytes
    after: bytes
    where: str
    name: str
    low: int
    high: int


def header(before, after, name, low, high, flags=0):
    """A place in a header: `before` follows the fingerprint, `after` goes up to the checksum."""

    def read(data):
        # what is cut short stays so, what is whole gets its checksum
        return parse_header(with_crc(data) + bytes(20) if after and data.endswith(after) else data)

    return Place(read, MAGIC + bytes((1, flags)) + b"\1mmod1" + before, after, "the header", name, low, high)


def archive(before):
    return Place(listing, ARCHIVE_MAGIC + b"\1" + before, bytes(40), "the directory", "its length", 1, 1 << 26)


def directory(before, name, low, high):
    return Place(parse_columns, before, bytes(40), "the directory", name, low, high)


def read_stored(data):
    return stored.decode_chain(data, [(1, 1)])


PX, ROW, CRC = b"\x03", b"\5mod1", bytes(4)  # a side, a row of the layer table, the checksum of a row
SIZE, TWO_WINDOWS = b"\3\3\x08\1\0", b"\xcc\x08\3\x08\1\0"  # width, height, bit depth, number of frames, no whole level
ONE_WHOLE = TWO_WINDOWS[:-1] + b"\1"
TWO = b"\2\1\0"  # two pictures, one segment, stored
NAMES = TWO + b"\2\7\0" + CRC + b"\1\1ab"  # of two pictures, 7 bytes, no extras
SIDE, LENGTH = 1 << 24, 1 << 31
CHUNKS, PIECE = "length of the chunks", "length of a piece"
PLACES = {
    "width": header(b"", PX + b"\x08\1\0\1" + ROW, "width", 1, SIDE),
    "height": header(PX, b"\x08\1\0\1" + ROW, "height", 1, SIDE),
    "number of frames": header(PX + PX + b"\x08", b"\0\1" + ROW, "number of frames", 1, LENGTH),
    "front length": header(SIZE, b"\1" + ROW, CHUNKS, 12, LENGTH, flags=4),
    "back length": header(SIZE, b"\1" + ROW, CHUNKS, 12, LENGTH, flags=8),
    "back length after front length": header(SIZE + b"\x0c", b"\1" + ROW, CHUNKS, 12, LENGTH, flags=12),
    "pieces of the last layer": header(TWO_WINDOWS + b"\2", ROW * 3, "number of pieces of the last layer", 1, 2, flags=2),
    "pieces of a last layer after a whole one": header(
        ONE_WHOLE + b"\2", ROW * 3, "number of pieces of the last layer", 1, 2, flags=2
    ),
    "pieces of a last layer that is whole": header(
        ONE_WHOLE[:-1] + b"\2\2", ROW * 2, "number of pieces of the last layer", 1, 1, flags=2
    ),
    "whole layer": header(ONE_WHOLE + b"\2", CRC + ROW * 2, PIECE, 0, LENGTH),
    "window after a whole layer": header(ONE_WHOLE + b"\2" + ROW, CRC + ROW, PIECE, 0, LENGTH),
    "cut whole layer": header(ONE_WHOLE[:-1] + b"\2\2\1" + ROW, CRC, PIECE, 1, LENGTH, flags=2),
    "lossless piece after whole layers only": header(ONE_WHOLE + b"\2" + ROW * 2, CRC, PIECE, 1, LENGTH, flags=16),
    "first layer": header(SIZE + b"\1", CRC, PIECE, 0, LENGTH),
    "second layer": header(SIZE + b"\2" + ROW, CRC, PIECE, 0, LENGTH),
    "second window": header(TWO_WINDOWS + b"\1" + ROW, CRC, PIECE, 0, LENGTH),
    "cut layer": header(SIZE + b"\2\1" + ROW, CRC, PIECE, 1, LENGTH, flags=2),
    "cut piece": header(TWO_WINDOWS + b"\2\2" + ROW * 3, CRC, PIECE, 1, LENGTH, flags=2),
    "whole piece before a cut one": header(TWO_WINDOWS + b"\2\2" + ROW * 2, CRC + ROW, PIECE, 0, LENGTH, flags=2),
    "lossless layer": header(SIZE + b"\2" + ROW, CRC, PIECE, 1, LENGTH, flags=16),
    "lossless piece": header(TWO_WINDOWS + b"\2" + ROW * 2, CRC + ROW, PIECE, 1, LENGTH, flags=16),
    "packed length of a directory": archive(b""),
    "length of a directory": archive(b"\x28"),
    "number of pictures": directory(b"", "number of pictures", 1, 1 << 20),
    "number of segments": directory(b"\x03", "number of segments", 1, 3),
    "pictures in a segment": directory(TWO, "number of pictures in a segment", 1, 2),
    "pictures in a second segment": directory(b"\2\2\0\0\1", "number of pictures in a segment", 1, 2),
    "length of a chain": directory(TWO + b"\2", "length of a chain", 0, LENGTH),
    "length of extras": directory(TWO + b"\2\7", "length of the extras of a segment", 0, LENGTH),
    "length of a name": directory(NAMES[:-4], "length of a name", 1, 1024),
    "length of a second name": directory(NAMES[:-3], "length of a name", 1, 1024),
    "segment of a picture": directory(NAMES, "segment of a picture", 0, 0),
    "width in an archive": directory(NAMES + b"\0\0", "width", 1, SIDE),
    "height in an archive": directory(NAMES + b"\0\0\1\1", "height", 1, SIDE),
    "length of a profile": directory(NAMES + b"\0\0\1\1\1\1\2\0", "length of what goes with a picture", 1, LENGTH),
    "length of alpha": directory(NAMES + b"\0\0\1\1\1\1\2\x10\1", "length of what goes with a picture", 1, LENGTH),
    "length of a stored picture": Place(read_stored, b"\2", bytes(40), "a stored picture", "its length", 1, LENGTH),
}
COMPLAINT = r"(is longer than it needs to be|does not end|is \d+, allowed is \d+ to \d+)"


def padded(value, num_bytes):
    """A number in more bytes than it needs."""
    return bytes((value >> 7 * i & 0x7F) | 0x80 for i in range(num_bytes - 1)) + bytes((value >> 7 * (num_bytes - 1),))


def wrong_numbers(low, high):
    """Every way in which a number can be wrong, by name."""
    inside = max(low, min(5, high))
    yield from ((f"{inside} in {size} bytes", padded(inside, size)) for size in range(2, 7))
    yield from ((f"{low} in {size} bytes", padded(low, size)) for size in (5, 6, 9))
    yield "endless", b"\xff" * 12
    yield "endless zero", b"\x80" * 12
    yield "six bytes", b"\xff" * 5 + b"\1"
    yield "the largest of five bytes", fields.pack_varint((1 << 35) - 1)
    yield "beyond 32 bits, in range when they wrap", padded((1 << 32) + inside, 5)
    yield "beyond 35 bits, in range when they wrap", padded((1 << 35) + inside, 6)
    yield "one too large", fields.pack_varint(high + 1)
    if low:
        yield "one too small", fields.pack_varint(low - 1)


CASES = {
    f"{key}: {fault}": (place, number) for key, place in PLACES.items() for fault, number in wrong_numbers(place.low, place.high)
}


@pytest.mark.parametrize(("place", "number"), CASES.values(), ids=CASES)
def test_wrong_numbers_are_refused_everywhere(place, number):
    with pytest.raises(FormatError, match=f"^{place.where} is damaged: {place.name} {COMPLAINT}$"):
        place.read(place.before + number + place.after)


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_right_numbers_are_not_complained_of(place):
    """The smallest and the largest: whatever is wrong with the rest, it is not they."""
    for value in {place.low, place.high}:
        try:
            place.read(place.before + fields.pack_varint(value) + place.after)
        except (FormatError, TruncatedError) as error:
            found = re.search(f"{place.name} {COMPLAINT}", str(error))
            # of two layers or widths with one name, the next may be wrong
            assert found is None or f" is {value}, " not in found[1], error


@pytest.mark.parametrize("number", [b"", b"\x80", b"\xff" * 4])
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_numbers_that_are_cut_short_are_refused(place, number):
    """Where more bytes may come that is no damage yet; where all are there it is."""
    with pytest.raises((FormatError, TruncatedError), match=r"ends (inside its|too soon)"):
        place.read(place.before + number)


# The reader mirrors the writer


@given(st.lists(st.integers(0, ANY.high)), st.lists(st.integers(0, 2**32 - 1)), st.lists(st.booleans()), st.binary())
def test_what_is_packed_is_read(numbers, words, bits, rest):
    data = fields.pack_varints(numbers) + fields.pack_uint32s(words) + fields.pack_bits(bits)
    data += fields.pack_crc32(data) + rest
    cursor = Cursor(data, "it")
    assert cursor.varints(len(numbers), ANY) == numbers
    assert cursor.uint32s(len(words)) == words and cursor.bits(len(bits)) == bits
    cursor.crc32()
    assert cursor.rest() == rest
    cursor.end()


@given(st.integers(0, ANY.high))
def test_numbers_are_as_short_as_can_be(value):
    packed = fields.pack_varint(value)
    assert len(packed) == max(1, -(-value.bit_length() // 7))
    assert sum((byte & 0x7F) << 7 * index for index, byte in enumerate(packed)) == value


@given(st.binary(max_size=8))
def test_every_number_has_one_form(data):
    cursor = Cursor(data, "it")
    try:
        value = cursor.varint(ANY)
    except FormatError:
        return
    assert fields.pack_varint(value) == data[: cursor.position]


@pytest.mark.parametrize("value", [-1, 1 << 35])
def test_numbers_that_have_no_form_are_not_written(value):
    with pytest.raises(FormatError, match="number is"):
        fields.pack_varint(value)


@pytest.mark.parametrize(
    "read",
    [partial(Cursor.take, num_bytes=4), Cursor.uint32, partial(Cursor.uint32s, count=1 << 40), Cursor.crc32,
     partial(Cursor.bits, count=25)],
)  # fmt: skip
def test_fields_that_are_cut_short(read):
    with pytest.raises(FormatError, match=r"^it is damaged: it ends too soon$"):
        read(Cursor(b"abc", "it"))
    with pytest.raises(TruncatedError, match=r"^more may come$"):
        read(Cursor(b"abc", "it", truncated="more may come"))


def test_checksums_bits_and_ends():
    assert fields.pack_crc32(b"1234", b"56789") == (0xCBF43926).to_bytes(4, "little")
    for read, data, fault in ((Cursor.crc32, b"abcd", "checksum"), (Cursor.end, b"a", "after its end")):
        with pytest.raises(FormatError, match=fault):
            read(Cursor(data, "it"))
    with pytest.raises(FormatError, match="beyond"):
        Cursor(b"\x08", "it").bits(3)
