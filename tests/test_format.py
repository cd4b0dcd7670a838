"""FORMAT.md: its example file, and a parser written from its text alone, against what hcodec does."""

from __future__ import annotations

import math
import re
import zlib
from pathlib import Path

import pytest

from hcodec.container import Attachments, Frame, Header, Layer, Piece, Reader, count_windows, truncate, windows, write
from hcodec.container.attachments import Chromaticities, Cicp, Density
from hcodec.container.header import pack_header, parse_header
from hcodec.models.photo.config import CONFIGS
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
        assert self.take(7) == bytes.fromhex("89 48 43 50 0d 0a 1a") and self.take(1) == b"\x01"
        flags = self.take(1)[0]
        self.gray, self.cut = bool(flags & 1), bool(flags & 2)
        self.model = self.take(self.take(1)[0]).decode("ascii")
        self.fingerprint = self.take(4)
        self.width, self.height = self.varint(), self.varint()
        assert self.take(1) == b"\x08" and self.varint() == 1
        self.num_coarse = self.take(1)[0]
        assert self.num_coarse <= 31
        front, back = (self.varint() if flags & flag else 0 for flag in (4, 8))
        self.windows = [(x, y, w, h) for y, h in self.parts(self.height) for x, w in self.parts(self.width)]
        num_layers = self.take(1)[0]
        num_levels = num_layers - bool(flags & 16)
        num_pieces = [1 if i < min(self.num_coarse, num_levels) else len(self.windows) for i in range(num_layers)]
        if self.cut:
            num_pieces[-1] = self.varint()
        table = [[(self.varint(), self.u32()) for _ in range(count)] for count in num_pieces]
        assert zlib.crc32(data[: self.position]) == self.u32()
        self.chunks = self.section(front)
        self.layers = [[self.take(length) for length, _ in rows] for rows in table]
        assert [[zlib.crc32(piece) for piece in layer] for layer in self.layers] == [[crc for _, crc in rows] for rows in table]
        self.chunks += self.section(back)
        assert self.position == len(data)

    @staticmethod
    def parts(edge):
        n = math.ceil(edge / 1024)
        length = math.ceil(edge / (64 * n)) * 64
        return [(i * length, length if i < n - 1 else edge - i * length) for i in range(n)]

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
        chunks, end = [], self.position + length
        while self.position < end:
            tag, num_bytes, crc = self.take(4), self.u32(), self.u32()
            assert tag[0] not in range(ord("A"), ord("Z") + 1)
            chunks.append((tag, self.take(num_bytes)))
            assert zlib.crc32(tag + chunks[-1][1]) == crc
        assert self.position == end
        return chunks


def test_the_example_is_what_is_written():
    layers = [[bytes((1, 2, 3))], [bytes((4, 5, 6, 7, 8)), bytes((9,))]]
    frame = Frame(width=1100, height=2, model="photo-1", fingerprint=bytes.fromhex("5eed1234"), num_coarse=1, gray=True)
    assert write(frame, layers, Attachments(alpha=b"\xff", xmp=b"<x/>")) == EXAMPLE
    assert Parser(EXAMPLE).layers == layers and Parser(EXAMPLE).num_coarse == 1
    assert Parser(EXAMPLE).windows == [(0, 0, 576, 2), (576, 0, 524, 2)]


def test_the_offsets_of_the_example_are_right():
    position = 0
    for offset, packed, _ in example_rows():
        assert offset == position
        position += len(packed)
    assert f"{position} bytes:" in TEXT


def test_the_checksums_named_in_the_example_are_right():
    notes = " ".join(note for _, _, note in example_rows())
    parts = [(62, 65), (65, 70), (70, 71), (0, 45)]
    expected = [EXAMPLE[start:end] for start, end in parts] + [EXAMPLE[49:53] + EXAMPLE[61:62]]
    assert re.findall(r"0x[0-9a-f]{8}", notes) == [f"0x{zlib.crc32(part):08x}" for part in expected]
    assert f"0x{zlib.crc32(b'123456789'):08X}" in TEXT


def test_the_example_is_read():
    reader = Reader()
    reader.feed(EXAMPLE)
    reader.close()
    parsed = reader.header
    assert (parsed.width, parsed.height, parsed.gray, parsed.cut, parsed.model) == (1100, 2, True, False, "photo-1")
    assert (parsed.front_bytes, parsed.back_bytes, parsed.prefix_bytes(1), parsed.piece_range(2, 1)) == (13, 16, 65, (70, 1))
    assert (reader.coarse, reader.pieces) == ([b"\1\2\3"], [[b"\4\5\6\7\x08"], [b"\x09"]])
    assert reader.attachments.xmp == b"<x/>" and (decode_alpha(reader.attachments.alpha, 2, 1100) == 255).all()


def test_the_cuts_of_the_example():
    shorter = truncate(EXAMPLE, num_bytes=81)
    assert len(shorter) == 81 and shorter[8] == 0x0F and shorter[29:31] == b"\2\1"
    assert shorter[36:41] == b"\x04" + zlib.crc32(b"\4\5\6\7").to_bytes(4, "little")
    assert Parser(shorter).cut and Parser(shorter).layers == [[b"\1\2\3"], [b"\4\5\6\7"]]
    one = truncate(EXAMPLE, levels=1)
    assert len(one) == 71 and one[8] == 0x0D and one[26] == one[29] == 1
    assert Parser(one).layers == [[b"\1\2\3"]]


PAYLOADS = {
    "alpha": (b"a", b"alph", b"a"),
    "icc": (b"i" * 300, b"iccp", b"i" * 300),
    "cicp": (Cicp(9, 16, 0, 1), b"cicp", b"\x09\x10\0\1"),
    "chromaticities": (Chromaticities(*range(1, 9)), b"chrm", b"".join(bytes((i, 0, 0, 0)) for i in range(1, 9))),
    "gamma": (45455, b"gama", b"\x8f\xb1\0\0"),
    "density": (Density(2835, 1, 1), b"phys", b"\x13\x0b\0\0\1\0\0\0\1"),
    "orientation": (6, b"ornt", b"\6"),
    "text": ((("Title", "Röslein"),), b"text", b"\5TitleR\xc3\xb6slein"),
    "exif": (b"e", b"exif", b"e"),
    "xmp": (b"x", b"xmp ", b"x"),
}


@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("names", [(), ("icc",), tuple(PAYLOADS)])
def test_a_strangers_parser_reads_what_is_written(gray, names):
    """Two windows, and lengths around those where a varint grows; every kind of chunk."""
    layers = [[bytes(length), b"x" * length] for length in (0, 1, 127, 128, 16_383, 16_384)]
    attached = Attachments(**{name: PAYLOADS[name][0] for name in names})
    data = write(Frame(width=2048, height=127, model="a-2", fingerprint=b"1234", gray=gray), layers, attached)
    parsed = Parser(data)
    assert (parsed.width, parsed.height, parsed.model, parsed.fingerprint) == (2048, 127, "a-2", b"1234")
    assert parsed.layers == layers and parsed.gray == gray and len(parsed.windows) == 2
    assert parsed.chunks == [PAYLOADS[name][1:] for name in names]


@pytest.mark.parametrize("num_coarse", [0, 1, 2, 3, 31])
@pytest.mark.parametrize("lossless", [[], [b"exact", b"exactly"]])
def test_a_strangers_parser_reads_coarse_layers(num_coarse, lossless):
    layers = [[b"one", b"two"][: 1 + (level >= num_coarse)] for level in range(3)]
    frame = Frame(width=1025, height=9, model="a-2", fingerprint=b"1234", num_coarse=num_coarse)
    data = write(frame, layers, lossless=lossless)
    assert Parser(data).layers == layers + [lossless] * bool(lossless) and Parser(data).num_coarse == num_coarse
    for num_bytes in range(len(truncate(data, levels=1)), len(data)):
        cut = Parser(truncate(data, num_bytes=num_bytes))
        assert cut.num_coarse == num_coarse and len(cut.data) <= num_bytes
        found, whole = (b"".join(map(b"".join, each)) for each in (cut.layers, layers))
        assert whole.startswith(found) and len(found) >= len(b"".join(layers[0]))


@pytest.mark.parametrize("edge", [1, 63, 64, 1023, 1024, 1025, 1088, 2048, 2049, 4000, 6000, 16_385, 65_535, 1 << 24])
def test_the_windows_of_the_text(edge):
    expected = [(x, 0, w, 1) for x, w in Parser.parts(edge)]
    assert [(each.left, each.top, each.width, each.height) for each in windows(1, edge)] == expected
    for row in re.findall(r"^\| (\d+) \| ((?:\d+, )+\d+) \|$", TEXT, re.MULTILINE):
        assert [w for _, w in Parser.parts(int(row[0]))] == [int(w) for w in row[1].split(", ")]


def test_the_sizes_in_the_text():
    smallest = Header(width=1, height=1, model="m", fingerprint=b"1234", layers=(Layer((Piece(0, 0),)),))
    assert len(pack_header(smallest)) == 30 and ">= 30 " in TEXT
    frame = Frame(width=768, height=512, model="photo-1", fingerprint=b"1234", num_coarse=3)
    usual = write(frame, [[bytes(600 * 2**i)] for i in range(7)])
    assert parse_header(usual).header_bytes == 77 and "77 bytes" in " ".join(TEXT.split())
    assert f"(`photo-1`: {CONFIGS['photo'].num_coarse})" in TEXT and "seven layers" in TEXT and CONFIGS["photo"].num_levels == 7
    assert max(count_windows(min(1 << 24, (1 << 31) // width), width) for width in range(1, 1 << 24, 1023)) <= 1 << 14
