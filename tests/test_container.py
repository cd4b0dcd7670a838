"""The container: what it promises to a reader, to a cutter and against hostile bytes."""

from __future__ import annotations

import json
import subprocess
import sys
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hcodec import container
from hcodec.container import Attachments, Frame, Reader, info, truncate, write
from hcodec.container.header import Header, LayerEntry, parse_header
from hcodec.errors import FormatError, HcodecError, TruncatedError

FINGERPRINT = b"\x12\x34\x56\x78"
LAYERS = [b"coarse", b"", b"finer and longer", bytes(range(200))]
METADATA = {"alpha": b"\x80", "icc": b"profile", "exif": b"II*\0exif", "xmp": b"<x:xmpmeta/>"}


def sample(layers=LAYERS, cut=False, width=30, height=20, fingerprint=FINGERPRINT, gray=False, **attachments):
    frame = Frame(width=width, height=height, fingerprint=fingerprint, gray=gray)
    return write(frame, layers, Attachments(**attachments), cut=cut)


def read_all(data):
    reader = Reader()
    reader.feed(data)
    return reader


def observe(reader):
    """Everything a reader shows."""
    names = ("header", "layers", "partial", "damaged", "attachments", "warnings", "complete")
    return {name: getattr(reader, name) for name in names}


def with_new_crc(packed):
    """`packed`, a header without its checksum, with the right one."""
    return packed + zlib.crc32(packed).to_bytes(4, "little")


# Round trips


def test_what_is_written_is_read():
    reader = read_all(sample(gray=True, **METADATA))
    reader.close()
    assert reader.complete and reader.layers == LAYERS and reader.damaged is None and reader.warnings == []
    assert reader.attachments == Attachments(**METADATA)
    assert (reader.header.width, reader.header.height, reader.header.fingerprint) == (30, 20, FINGERPRINT)
    assert reader.header.gray and not reader.header.cut and reader.partial == b""


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.binary(max_size=300), min_size=1, max_size=32),
    st.tuples(*[st.binary(max_size=200)] * 4),
    st.booleans(),
    st.integers(1, 1 << 15),
    st.integers(1, 1 << 15),
    st.data(),
)
def test_feeding_in_any_pieces_is_feeding_the_whole(layers, blobs, gray, width, height, draw):
    data = sample(layers, width=width, height=height, gray=gray, **dict(zip(METADATA, blobs, strict=True)))
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=10)))
    pieces = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    reader = Reader()
    for piece in pieces:
        reader.feed(memoryview(piece))
    reader.close()
    assert observe(reader) == observe(read_all(data))
    assert reader.layers == layers and reader.attachments == Attachments(**dict(zip(METADATA, blobs, strict=True)))


@pytest.mark.parametrize("metadata", [{}, METADATA])
def test_every_prefix_gives_what_it_holds(metadata):
    data = sample(**metadata)
    whole = read_all(data)
    ends = [whole.header.prefix_bytes(levels) for levels in range(len(LAYERS) + 1)]
    growing = Reader()
    for length in range(len(data) + 1):
        growing.feed(data[length - 1 : length] if length else b"")
        assert observe(growing) == observe(read_all(data[:length]))
        num_whole = sum(end <= length for end in ends[1:])
        assert growing.layers == LAYERS[:num_whole]
        inside = num_whole < len(LAYERS) and length >= ends[num_whole]
        assert growing.partial == (data[ends[num_whole] : length] if inside else b"")
        assert growing.complete == (length == len(data))
        if length < len(data):
            with pytest.raises(TruncatedError):
                growing.close()
    assert growing.header.file_bytes == len(data)


def test_metadata_comes_out_as_soon_as_it_is_whole():
    data = sample(**METADATA)
    assert read_all(data[: -len(METADATA["xmp"])]).attachments.exif == METADATA["exif"]
    parsed = parse_header(data)
    front = read_all(data[: parsed.prefix_bytes(0)])
    assert (front.attachments.alpha, front.attachments.icc, front.layers) == (METADATA["alpha"], METADATA["icc"], [])


# Sizes


@pytest.mark.parametrize(
    ("width", "height", "total", "expected"),
    [(768, 512, 1.6, 72), (4000, 3000, 2.2, 78), (4000, 3000, 8.0, 80)],
    ids=["kodak", "12-megapixel", "12-megapixel-lossless-like"],
)
def test_eight_layers_cost_at_most_80_bytes(width, height, total, expected):
    """Layers as the codec makes them: each 1.8 times the one before, `total` bits a pixel together."""
    shares = [1.8**level for level in range(8)]
    lengths = [int(total / 8 * width * height * share / sum(shares)) for share in shares]
    entries = tuple(LayerEntry(length, 0xFFFFFFFF) for length in lengths)
    made = Header(width=width, height=height, fingerprint=FINGERPRINT, layers=entries)
    assert made.header_bytes == expected <= 80
    assert made.file_bytes - sum(lengths) == made.header_bytes  # nothing else is paid for


def test_metadata_costs_only_where_it_is():
    plain = len(sample())
    assert len(sample(icc=b"12345")) == plain + 1 + 12 + 5
    assert len(sample(xmp=b"12345")) == plain + 1 + 12 + 5
    assert len(sample(gray=True)) == plain


# Cutting


@pytest.mark.parametrize("metadata", [{}, METADATA])
def test_truncating_is_writing_fewer_layers(metadata):
    data = sample(gray=True, **metadata)
    for levels in range(1, len(LAYERS) + 1):
        assert truncate(data, levels=levels) == sample(LAYERS[:levels], gray=True, **metadata)


@pytest.mark.parametrize("metadata", [{}, METADATA])
def test_truncating_to_bytes_fills_them_and_no_more(metadata):
    layers = [b"coarse", bytes(100), bytes(range(256)), bytes(17_000)]
    data = sample(layers, **metadata)
    smallest = len(truncate(data, levels=1))
    for num_bytes in [*range(smallest, 700), *range(16_800, len(data) + 2)]:
        result = truncate(data, num_bytes=num_bytes)
        assert len(result) <= num_bytes
        reader = read_all(result)
        reader.close()
        whole = len(reader.layers)
        assert reader.layers == layers[:whole] and reader.warnings == []
        assert reader.header.cut == bool(reader.partial)
        if reader.header.cut:
            assert len(result) >= num_bytes - 1  # a length may grow by a byte where the layer cannot
            assert reader.partial == layers[whole][: len(reader.partial)]
        else:
            assert len(result) == len(data) or num_bytes - len(result) <= 6  # no room for another row and a byte
        assert reader.attachments == Attachments(**metadata)
    with pytest.raises(TruncatedError, match=f"needs {smallest} bytes"):
        truncate(data, num_bytes=smallest - 1)


def test_a_cut_file_can_be_cut_again():
    layers = [bytes(50), bytes(60), bytes(70)]
    once = truncate(sample(layers), num_bytes=len(sample(layers)) - 10)
    assert read_all(once).partial == bytes(60)
    assert once == sample([*layers[:2], bytes(60)], cut=True) == truncate(once) == truncate(once, num_bytes=10**6)
    assert truncate(once, levels=2) == sample(layers[:2])
    twice = truncate(once, num_bytes=len(once) - 20)
    assert twice == truncate(sample(layers), num_bytes=len(twice))
    with pytest.raises(TruncatedError, match="2 whole"):
        truncate(once, levels=3)


def test_a_cut_layer_arrives_like_any_other_and_stays_partial():
    data = sample([b"first", b"second"], cut=True, xmp=b"xmp")
    reader = Reader()
    for byte in data:
        reader.feed(bytes((byte,)))
    assert (reader.layers, reader.partial, reader.attachments.xmp, reader.complete) == ([b"first"], b"second", b"xmp", True)
    damaged = bytearray(data)
    damaged[parse_header(data).prefix_bytes(1)] ^= 1
    reader = read_all(damaged)
    assert (reader.layers, reader.partial, reader.damaged) == ([b"first"], b"", 2)


def test_the_first_bytes_of_a_file_become_a_file():
    data = sample(**METADATA)
    parsed = parse_header(data)
    assert truncate(data[: parsed.prefix_bytes(3) + 5]) == sample(
        [*LAYERS[:3], LAYERS[3][:5]], alpha=METADATA["alpha"], icc=METADATA["icc"], cut=True
    )
    without_xmp = {**METADATA, "xmp": b""}
    assert truncate(data[:-1]) == sample(**without_xmp)
    assert truncate(data) == data
    with pytest.raises(TruncatedError):
        truncate(data[: parsed.prefix_bytes(1) - 1])
    with pytest.raises(TruncatedError):
        truncate(data[: parsed.prefix_bytes(2)], levels=3)


def test_truncate_says_what_is_wrong():
    data = bytearray(sample())
    with pytest.raises(TruncatedError, match="9 levels"):
        truncate(bytes(data), levels=9)
    with pytest.raises(HcodecError, match="at least 1"):
        truncate(bytes(data), levels=0)
    data[parse_header(data).prefix_bytes(2)] ^= 1
    assert truncate(bytes(data)) == sample(LAYERS[:2])
    with pytest.raises(FormatError, match="layer 3 is damaged"):
        truncate(bytes(data), levels=3)
    with pytest.raises(TruncatedError, match="header"):
        truncate(bytes(data[:20]), levels=3)


def test_both_limits_hold():
    data = sample()
    assert truncate(data, levels=3, num_bytes=10**6) == sample(LAYERS[:3])
    short = truncate(data, levels=3, num_bytes=len(sample(LAYERS[:3])) - 4)
    assert short == sample([*LAYERS[:2], LAYERS[2][:-4]], cut=True)


# Listing


def test_info_lists_every_level(tmp_path):
    data = sample(**METADATA)
    path = tmp_path / "picture.hcodec"
    path.write_bytes(data)
    listed = info(path)
    assert listed == info(str(path)) == info(data)
    assert (listed.version, listed.width, listed.height, listed.fingerprint) == (1, 30, 20, "12345678")
    assert listed.complete and listed.has_alpha and listed.file_bytes == listed.total_bytes == len(data)
    assert [level.level for level in listed.levels] == [1, 2, 3, 4]
    assert [level.num_bytes for level in listed.levels] == [len(layer) for layer in LAYERS]
    assert all(level.crc_ok and level.present_bytes == level.num_bytes for level in listed.levels)
    assert listed.levels[3].bpp == pytest.approx(8 * 200 / 600)
    assert listed.container_bytes == len(data) - sum(map(len, LAYERS))
    sizes = (listed.alpha_bytes, listed.icc_bytes, listed.exif_bytes, listed.xmp_bytes)
    assert sizes == tuple(map(len, METADATA.values()))


def test_info_of_part_of_a_file():
    data = sample()
    listed = info(data[: parse_header(data).prefix_bytes(3) + 7])
    assert [level.present_bytes for level in listed.levels] == [6, 0, 16, 7]
    assert [level.crc_ok for level in listed.levels] == [True, True, True, None]
    assert not listed.complete and listed.total_bytes == len(data)
    with pytest.raises(TruncatedError):
        info(data[:10])
    with pytest.raises(OSError, match="nowhere"):
        info("nowhere.hcodec")


def test_info_of_a_damaged_file():
    data = bytearray(sample())
    data[parse_header(data).prefix_bytes(2)] ^= 1
    listed = info(bytes(data))
    assert [level.crc_ok for level in listed.levels] == [True, True, False, None]
    assert len(listed.warnings) == 1


def test_info_goes_through_json():
    listed = info(sample(**METADATA))
    as_dict = json.loads(json.dumps(listed.as_dict()))
    assert as_dict["has_alpha"] is True and as_dict["fingerprint"] == "12345678"
    assert as_dict["levels"][0]["prefix_bytes"] == listed.levels[0].prefix_bytes


def test_prefix_bytes_beyond_the_table():
    parsed = parse_header(sample())
    for levels in (-1, len(LAYERS) + 1):
        with pytest.raises(TruncatedError):
            parsed.prefix_bytes(levels)


def test_the_container_is_readable_without_numpy_pillow_or_torch():
    code = "import sys, hcodec.container; sys.exit(any(name in sys.modules for name in ('numpy', 'PIL', 'torch')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert container.Reader is Reader
