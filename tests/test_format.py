"""FORMAT.md: its example file, and a parser written from its text alone, against what hcodec does."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import pytest

from hcodec.container import Attachments, Frame, Reader, fields, header, truncate, write
from hcodec.container.header import Header, LayerEntry, pack_header
from hcodec.pixels.alpha import decode_alpha

TEXT = (Path(__file__).parent.parent / "FORMAT.md").read_text(encoding="utf-8")
LINE = re.compile(r" *(\d+)  ((?:[0-9a-f]{2} )*[0-9a-f]{2}) {2,}(\S.*)")


def example_rows():
    block = re.search(r"```hex\n(.*?)```", TEXT, re.DOTALL)
    rows = [LINE.fullmatch(line) for line in block[1].splitlines()]
    assert all(rows)
    return [(int(row[1]), bytes.fromhex(row[2]), row[3]) for row in rows]


EXAMPLE = b"".join(packed for _, packed, _ in example_rows())


class Parser:
    """A stranger's reader: FORMAT.md and nothing else."""

    def __init__(self, data):
        self.data, self.position = data, 0
        assert self.take(7) == bytes.fromhex("89 48 43 4f 0d 0a 1a") and self.take(1) == b"\x01"
        flags = self.take(1)[0]
        self.gray, self.cut = bool(flags & 1), bool(flags & 2)
        self.fingerprint = self.take(4)
        self.width, self.height = self.varint(), self.varint()
        front, back = (self.varint() if flags & flag else 0 for flag in (4, 8))
        rows = [(self.varint(), self.u32()) for _ in range(self.take(1)[0])]
        assert zlib.crc32(data[: self.position]) == self.u32()
        self.chunks = self.section(front)
        self.layers = [self.take(length) for length, _ in rows]
        assert [zlib.crc32(layer) for layer in self.layers] == [crc for _, crc in rows]
        self.chunks |= self.section(back)
        assert self.position == len(data)

    def take(self, length):
        assert self.position + length <= len(self.data)
        self.position += length
        return self.data[self.position - length : self.position]

    def u32(self):
        return int.from_bytes(self.take(4), "little")

    def varint(self):
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value += (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return value

    def section(self, length):
        chunks, end = {}, self.position + length
        while self.position < end:
            tag, num_bytes, crc = self.take(4), self.u32(), self.u32()
            chunks[tag] = self.take(num_bytes)
            assert zlib.crc32(tag + chunks[tag]) == crc
        assert self.position == end
        return chunks


def test_the_example_is_what_is_written():
    layers = [bytes((1, 2, 3)), bytes((4, 5, 6, 7, 8))]
    frame = Frame(width=300, height=2, fingerprint=bytes.fromhex("5eed1234"), gray=True)
    assert write(frame, layers, Attachments(alpha=b"\xff", xmp=b"<x/>")) == EXAMPLE


def test_the_offsets_of_the_example_are_right():
    position = 0
    for offset, packed, _ in example_rows():
        assert offset == position
        position += len(packed)
    assert f"{position} bytes:" in TEXT


def test_the_checksums_named_in_the_example_are_right():
    notes = " ".join(note for _, _, note in example_rows())
    expected = [EXAMPLE[46:49], EXAMPLE[49:54], EXAMPLE[:29], EXAMPLE[33:37] + EXAMPLE[45:46]]
    assert re.findall(r"0x[0-9a-f]{8}", notes) == [f"0x{zlib.crc32(part):08x}" for part in expected]
    assert f"0x{zlib.crc32(b'123456789'):08X}" in TEXT


def test_the_example_is_read():
    reader = Reader()
    reader.feed(EXAMPLE)
    reader.close()
    parsed = reader.header
    assert (parsed.width, parsed.height, parsed.gray, parsed.cut) == (300, 2, True, False)
    assert (parsed.front_bytes, parsed.back_bytes, parsed.prefix_bytes(1)) == (13, 16, 49)
    assert reader.layers == [b"\x01\x02\x03", b"\x04\x05\x06\x07\x08"] and reader.attachments.xmp == b"<x/>"
    assert (decode_alpha(reader.attachments.alpha, 2, 300) == 255).all()


def test_the_cuts_of_the_example():
    shorter = truncate(EXAMPLE, num_bytes=69)
    assert len(shorter) == 69 and shorter[8] == 0x0F
    assert shorter[24:29] == b"\x04" + zlib.crc32(b"\x04\x05\x06\x07").to_bytes(4, "little")
    one = truncate(EXAMPLE, levels=1)
    assert len(one) == 60 and one[8] == 0x0D and one[18] == 1
    assert Parser(one).layers == [b"\x01\x02\x03"] and Parser(shorter).cut


@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("blobs", [{}, {"icc": b"i" * 300}, {"alpha": b"a", "icc": b"i", "exif": b"e", "xmp": b"x"}])
def test_a_strangers_parser_reads_what_is_written(gray, blobs):
    layers = [bytes(length) for length in (0, 1, 127, 128, 16_383, 16_384)]
    data = write(Frame(width=16_384, height=127, fingerprint=b"1234", gray=gray), layers, Attachments(**blobs))
    parsed = Parser(data)
    assert (parsed.width, parsed.height, parsed.fingerprint, parsed.gray) == (16_384, 127, b"1234", gray)
    assert parsed.layers == layers
    tags = {"alpha": b"ALPH", "icc": b"ICCP", "exif": b"EXIF", "xmp": b"XMP "}
    assert parsed.chunks == {tags[name]: blob for name, blob in blobs.items()}


def test_the_header_sizes_in_the_text():
    smallest = Header(width=1, height=1, fingerprint=b"1234", layers=(LayerEntry(0, 0),))
    rows = (LayerEntry(fields.MAX_LENGTH_BYTES, 0),) * header.MAX_LAYERS
    largest = Header(width=1 << 24, height=128, fingerprint=b"1234", layers=rows, front_bytes=1 << 31, back_bytes=1 << 31)
    assert len(pack_header(smallest)) == 25
    assert len(pack_header(largest)) == 322  # the product of the sides leaves no room for another byte in either
    assert "25..322" in TEXT
