"""The container against bytes that are wrong, damaged or made to harm."""

from __future__ import annotations

import contextlib
import random
import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_container import FINGERPRINT, LAYERS, METADATA, observe, read_all, sample, with_new_crc

from hcodec import container
from hcodec.container import Reader, chunks, info, truncate
from hcodec.container.fields import pack_crc32
from hcodec.container.header import MAGIC, Header, LayerEntry, pack_header, parse_header
from hcodec.errors import FormatError, HcodecError, TruncatedError


def header_of(width, height, layers, **options):
    return Header(width=width, height=height, fingerprint=FINGERPRINT, layers=layers, **options)


def with_sections(front=b"", back=b"", layers=LAYERS):
    entries = tuple(LayerEntry(len(layer), zlib.crc32(layer)) for layer in layers)
    made = header_of(30, 20, entries, front_bytes=len(front), back_bytes=len(back))
    return b"".join((pack_header(made), front, *layers, back))


def chunk(tag, payload):
    return tag + len(payload).to_bytes(4, "little") + pack_crc32(tag, payload) + payload


# Refusals


@pytest.mark.parametrize(
    "options",
    [
        {"width": 0},
        {"height": 0},
        {"width": -1},
        {"width": (1 << 24) + 1},
        {"width": 1 << 16, "height": (1 << 15) + 1},
        {"fingerprint": b"123"},
        {"fingerprint": b"12345"},
        {"layers": []},
        {"layers": [b""] * 33},
        {"layers": [b"one"], "cut": True},
    ],
)
def test_values_outside_the_format_are_not_written(options):
    with pytest.raises(FormatError):
        sample(**options)


def test_the_largest_values_are_written_and_read():
    assert read_all(sample(width=1 << 24, height=128)).header.width == 1 << 24
    assert len(read_all(sample(layers=[b"x"] * 32)).layers) == 32
    entry = LayerEntry(1 << 31, 0)
    assert parse_header(pack_header(header_of(1, 1, (entry,) * 32))).layers == (entry,) * 32


def test_a_newer_version_is_refused_by_name():
    data = bytearray(sample())
    data[7] = 2
    with pytest.raises(FormatError, match="version 2, newer than version 1"):
        read_all(data[:8])
    data[7] = 0
    with pytest.raises(FormatError, match="no format version 0"):
        read_all(data)


@pytest.mark.parametrize("stranger", [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"P", b"\0", b"\x89HCO\n\x1a"])
def test_a_strangers_file_is_refused_at_once(stranger):
    with pytest.raises(FormatError, match="not an hcodec file"):
        read_all(stranger)
    with pytest.raises(FormatError):
        info(stranger)


@pytest.mark.parametrize("flag", [64, 128])
def test_reserved_flags_are_refused(flag):
    packed = MAGIC + bytes((1, flag)) + FINGERPRINT + b"\x1e\x14\x01\x00" + bytes(4)
    with pytest.raises(FormatError, match="reserved"):
        parse_header(with_new_crc(packed))


def test_a_refused_file_stays_refused():
    reader = Reader()
    for _ in range(2):
        with pytest.raises(FormatError):
            reader.feed(b"not ours")
    with pytest.raises(TruncatedError):
        reader.close()


# Damage


def test_a_damaged_layer_leaves_the_layers_before_it_and_the_metadata():
    data = bytearray(sample(**METADATA))
    start = parse_header(data).prefix_bytes(2)
    data[start + 3] ^= 1
    reader = read_all(data)
    reader.close()
    assert reader.damaged == 3 and reader.layers == LAYERS[:2] and reader.partial == b"" and reader.complete
    assert reader.attachments == container.Attachments(**METADATA)
    assert reader.warnings == ["layer 3 is damaged; it and the layers after it were ignored"]
    bytewise = Reader()
    for byte in data:
        bytewise.feed(bytes((byte,)))
    assert observe(bytewise) == observe(reader)


@pytest.mark.parametrize("section", ["front", "back"])
def test_no_damage_to_metadata_touches_the_layers(section):
    data = sample(**METADATA)
    parsed = parse_header(data)
    start = parsed.header_bytes if section == "front" else parsed.prefix_bytes(len(LAYERS))
    for position in range(start, start + getattr(parsed, f"{section}_bytes")):
        for bit in range(8):
            broken = bytearray(data)
            broken[position] ^= 1 << bit
            reader = read_all(broken)
            assert reader.complete and reader.layers == LAYERS and reader.damaged is None
            assert 1 <= len(reader.warnings) <= 3, (position, bit)


def test_damaged_alpha_is_named_and_the_rest_kept():
    data = bytearray(sample(**METADATA))
    data[parse_header(data).header_bytes + chunks.HEAD_BYTES] ^= 0xFF
    reader = read_all(data)
    assert reader.warnings == ["alpha is damaged, it was ignored"]
    assert (reader.attachments.alpha, reader.attachments.icc) == (b"", METADATA["icc"])


def test_unknown_chunks_are_skipped_and_kept_by_truncate():
    front = chunk(b"ICCP", b"profile") + chunk(b"zzzz", b"unknown") + chunk(b"ALPH", b"\xff")
    back = chunk(b"what", b"") + chunk(b"EXIF", b"exif")
    data = with_sections(front, back)
    reader = read_all(data)
    assert (reader.warnings, reader.layers, reader.complete) == ([], LAYERS, True)
    assert reader.attachments == container.Attachments(icc=b"profile", alpha=b"\xff", exif=b"exif")
    assert truncate(data, levels=2) == with_sections(front, back, LAYERS[:2])


def test_repeated_chunks_and_gaps_are_ignored_with_one_warning_each():
    front = chunk(b"ICCP", b"first") + chunk(b"ICCP", b"second") * 5 + bytes(11)
    reader = read_all(with_sections(front))
    assert (reader.attachments.icc, reader.layers, reader.complete) == (b"first", LAYERS, True)
    assert reader.warnings == ["a second icc was ignored", "metadata is damaged, some of it was ignored"]


def test_bytes_after_the_end_are_ignored_with_a_warning():
    reader = read_all(sample() + b"more")
    reader.feed(b"and more")
    assert reader.complete and reader.warnings == ["bytes after the end of the file were ignored"]
    assert truncate(sample() + b"more") == sample()


def test_memory_is_taken_for_bytes_fed_and_not_for_bytes_promised():
    entries = (LayerEntry(1 << 31, 0),) * 32
    promised = header_of(1, 1, entries, front_bytes=1 << 31, back_bytes=1 << 31)
    huge_chunk = b"ICCP" + ((1 << 31) - 12).to_bytes(4, "little") + bytes(4)
    tracemalloc.start()
    reader = Reader()
    for piece in (pack_header(promised), huge_chunk, bytes(100_000)):
        reader.feed(piece)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert reader.header == promised and peak < 1_000_000


# Hostile bytes


def survive(data):
    """Reads, lists and cuts `data`: whatever happens is ours."""
    reader = Reader()
    with contextlib.suppress(HcodecError):
        for start in range(0, len(data), 97):
            reader.feed(data[start : start + 97])
        reader.close()
    for job in (info, truncate, lambda data: truncate(data, levels=2), lambda data: truncate(data, num_bytes=300)):
        with contextlib.suppress(HcodecError):
            job(data)
    return reader


def test_every_single_bit_flip_of_the_header_is_refused():
    for metadata in ({}, METADATA):
        data = sample(**metadata)
        for position in range(8 * parse_header(data).header_bytes):
            broken = bytearray(data)
            broken[position // 8] ^= 1 << position % 8
            reader = survive(bytes(broken))
            assert reader.header is None, position


def test_every_truncation_point_survives():
    data = sample(**METADATA)
    for length in range(len(data)):
        reader = survive(data[:length])
        assert not reader.complete


def test_ten_thousand_mutations_survive():
    rng = random.Random(1)
    whole = sample(**METADATA)
    for _ in range(10_000):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 8)):
            start = rng.randrange(len(data) + 1)
            noise = rng.randbytes(rng.randint(0, 6))
            data[start : start + rng.randint(0, 6)] = noise
        survive(bytes(data))


def test_mutations_under_a_right_checksum_survive():
    """As an attacker would: the header is changed and its checksum made right again."""
    rng = random.Random(2)
    whole = sample(**METADATA)
    header_bytes = parse_header(whole).header_bytes
    accepted = 0
    for _ in range(2_000):
        packed = bytearray(whole[: header_bytes - 4])
        for _ in range(rng.randint(1, 4)):
            packed[rng.randrange(8, len(packed))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        reader = survive(with_new_crc(bytes(packed)) + whole[header_bytes:])
        accepted += reader.header is not None
    assert accepted > 100


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_noise_in_the_sections_survives(noise):
    padded = noise + bytes(12)
    reader = survive(with_sections(padded, padded))
    assert reader.complete and reader.layers == LAYERS
