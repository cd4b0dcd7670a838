"""FORMAT.md, "Archives": its example, and a parser written from its text alone, against what hcodec does."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import numpy as np
import pytest

from hcodec import packing
from hcodec.container.archive import Entry, seal, write
from hcodec.container.attachments import Attachments
from hcodec.kinds import Stored
from hcodec.pixels.picture import Picture

TEXT = (Path(__file__).parent.parent / "FORMAT.md").read_text(encoding="utf-8").partition("\n# Archives\n")[2]
LINE = re.compile(r" *(\d+)  ((?:[0-9a-f]{2} )*[0-9a-f]{2}) {2,}(\S.*)")


def example_rows():
    block = re.search(r"```hex\n(.*?)```", TEXT, re.DOTALL)
    rows = [LINE.fullmatch(line) for line in block[1].splitlines()]
    assert all(rows)
    return [(int(row[1]), bytes.fromhex(row[2]), row[3]) for row in rows]


EXAMPLE = b"".join(packed for _, packed, _ in example_rows())
DOT = Picture(np.array([[[255, 0, 0]]], np.uint8))
TWO = Picture(np.array([[[7] * 3, [8] * 3]], np.uint8), np.full((1, 2), 128, np.uint8), gray=True)


class Parser:
    """A stranger's reader: FORMAT.md and nothing else."""

    def __init__(self, data):
        self.data, self.position = data, 0
        assert self.take(7) == bytes.fromhex("89 48 43 41 0d 0a 1a") and self.take(1) == b"\x01"
        packed_length, length = self.varint(), self.varint()
        columns = self.unpack(self.take(packed_length), length)
        assert zlib.crc32(data[: self.position]) == self.u32()
        segments = data[self.position :]
        self.data, self.position = columns, 0
        self.parse_columns()
        assert self.position == len(columns)
        self.data, self.position = segments, 0
        self.segments = [self.segment(index) for index in range(len(self.kinds))]
        assert self.position == len(segments)

    def parse_columns(self):
        n, m = self.varint(), self.varint()
        self.kinds = list(self.take(m))
        self.fingerprints = [self.take(4) if kind else b"" for kind in self.kinds]
        self.counts, self.chain_lengths, self.extras_lengths = ([self.varint() for _ in range(m)] for _ in range(3))
        self.chain_crcs = [self.u32() for _ in range(m)]
        self.extras_crcs = [self.u32() if length else 0 for length in self.extras_lengths]
        lengths = [self.varint() for _ in range(n)]
        self.names = [self.take(length).decode() for length in lengths]
        self.places, self.widths, self.heights = ([self.varint() for _ in range(n)] for _ in range(3))
        self.flags = list(self.take(n))
        self.lengths = [[self.varint() if flags >> bit & 1 else 0 for bit in (1, 2, 3, 4)] for flags in self.flags]
        self.crcs = [self.u32() for _ in range(n)]

    def segment(self, index):
        chain, packed = self.take(self.chain_lengths[index]), self.take(self.extras_lengths[index])
        assert (zlib.crc32(chain), zlib.crc32(packed)) == (self.chain_crcs[index], self.extras_crcs[index])
        inside = [place for place, segment in enumerate(self.places) if segment == index]
        assert len(inside) == self.counts[index]
        blobs = self.unpack(packed, sum(sum(self.lengths[place]) for place in inside))
        extras = {place: [] for place in inside}
        for kind in range(4):
            for place in inside:
                length = self.lengths[place][kind]
                extras[place].append(blobs[:length])
                blobs = blobs[length:]
        return chain, list(extras.values())

    def unpack(self, packed, length):
        data = packed if len(packed) == length else zlib.decompress(packed, -15)
        assert len(packed) <= len(data) == length
        return data

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


def test_the_example_is_what_is_written(monkeypatch):
    monkeypatch.setattr(packing, "KINDS", (Stored(),))
    assert packing.pack([("a/dot.png", DOT), ("two.png", TWO)]) == EXAMPLE


def test_the_offsets_of_the_example_are_right():
    position = 0
    for offset, packed, _ in example_rows():
        assert offset == position
        position += len(packed)
    assert f"{position} bytes:" in TEXT


def test_the_checksums_named_in_the_example_are_right():
    notes = " ".join(note for _, _, note in example_rows())
    expected = [EXAMPLE[63:70], EXAMPLE[70:], b"\xff\0\0", b"\x07\x08", EXAMPLE[:59]]
    assert re.findall(r"0x[0-9a-f]{8}", notes) == [f"0x{zlib.crc32(part):08x}" for part in expected]


def test_the_example_is_read():
    found = dict(packing.unpack(EXAMPLE))
    assert np.array_equal(found["a/dot.png"].pixels, DOT.pixels) and not found["a/dot.png"].gray
    assert np.array_equal(found["two.png"].pixels, TWO.pixels) and found["two.png"].gray
    assert (found["two.png"].alpha == 128).all()
    parsed = Parser(EXAMPLE)
    assert parsed.names == ["a/dot.png", "two.png"]
    assert parsed.segments == [(b"\x01\xff\0\0\0\x07\x08", [[b""] * 4, [b"", b"", b"", b"\x80"]])]


@pytest.mark.parametrize("num_pictures", [1, 2, 200])
def test_a_strangers_parser_reads_what_is_written(num_pictures):
    extras = [Attachments(b"i" * (index % 3), b"e" * (index % 2), b"", b"a" * (index % 5)) for index in range(num_pictures)]
    places = [index % 3 if num_pictures > 3 else 0 for index in range(num_pictures)]
    entries = [
        Entry(f"sub/{index:04}.png", 300 + index, 1, place, index, index % 2 == 1, extra.sizes)
        for index, (place, extra) in enumerate(zip(places, extras, strict=True))
    ]
    inside = [[extra for extra, place in zip(extras, places, strict=True) if place == index] for index in range(max(places) + 1)]
    segments = [seal(index, b"mod1" if index else b"", b"chain" * index, blobs) for index, blobs in enumerate(inside)]
    parsed = Parser(write(entries, segments))
    assert parsed.names == [entry.name for entry in entries] and parsed.places == places
    assert parsed.kinds == list(range(len(inside))) and parsed.widths == [entry.width for entry in entries]
    assert [flags & 1 for flags in parsed.flags] == [index % 2 for index in range(num_pictures)]
    assert parsed.segments == [(b"chain" * index, [list(extra.blobs) for extra in blobs]) for index, blobs in enumerate(inside)]
