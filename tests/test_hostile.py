"""The container against bytes that are wrong, damaged or made to harm."""

from __future__ import annotations

import contextlib
import random
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_container import (
    FINGERPRINT,
    LAYERS,
    LOSSLESS,
    METADATA,
    MIXED_LAYERS,
    VALUES,
    WIDE_LAYERS,
    by_window,
    mixed,
    observe,
    read_all,
    sample,
    wide,
    with_new_crc,
)

from hcodec import container
from hcodec.container import EVERYWHERE, Header, Layer, Piece, Reader, chunks, count_windows, info, truncate
from hcodec.container.fields import Cursor, pack_crc32, pack_varint
from hcodec.container.header import MAGIC, pack_header, parse_header
from hcodec.errors import FormatError, HcodecError, TruncatedError


def header_of(width, height, layers, **options):
    return Header(width=width, height=height, model="m", fingerprint=FINGERPRINT, layers=layers, **options)


def with_sections(front=b"", back=b"", layers=LAYERS):
    made = header_of(30, 20, tuple(Layer.of([layer]) for layer in layers), front_bytes=len(front), back_bytes=len(back))
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
        {"layers": [b"one", b""], "cut": True},
        {"layers": [b"one", b"two"], "cut": True, "lossless": [b"exact"]},
        {"layers": [b"one"], "lossless": [b""]},
        {"layers": [b"one"], "lossless": [b"a", b"b"]},
        {"layers": [[b"one", b"two"]]},
        {"layers": [[]]},
        {"width": 1025},
        {"width": 1025, "layers": [[b"1", b"2"], []], "cut": True},
        {"width": 1025, "layers": [[b"1", b"2"], [b"1", b""]], "cut": True},
        {"width": 1025, "layers": [[b"1", b"2"], [b"1", b"2", b"3"]], "cut": True},
        {"width": 1025, "layers": [[b"1"], [b"1", b"2"]]},
        {"num_coarse": -1},
        {"num_coarse": 32},
        {"width": 1025, "num_coarse": 1, "layers": [[b"1", b"2"]]},
        {"width": 1025, "num_coarse": 1, "layers": [[b"1"], [b"1"]]},
        {"width": 1025, "num_coarse": 2, "layers": [[b"1"], [b"1", b"2"]]},
        {"width": 1025, "num_coarse": 2, "layers": [[b"1"], [b"1", b"2"]], "cut": True},
        {"width": 1025, "num_coarse": 2, "layers": [[b"1"], [b""]], "cut": True},
        {"width": 1025, "num_coarse": 1, "layers": [[b"1"]], "cut": True},
        {"width": 1025, "num_coarse": 1, "layers": [[b"1"]], "lossless": [b"exact"]},
        {"width": 1025, "num_coarse": 31, "layers": [[b"1"], [b"2"]], "lossless": [b"exact"]},
        {"model": ""},
        {"model": "a" * 33},
        {"model": "Photo"},
        {"model": "photo_1"},
        {"model": "phöto"},
        {"model": "photo\n"},
        {"cicp": (1, 2, 3, 2)},
        {"cicp": (256, 2, 3, 1)},
        {"chromaticities": (1 << 31,) + (0,) * 7},
        {"gamma": 0},
        {"density": (0, 1, 1)},
        {"density": (1, 1, 2)},
        {"orientation": 9},
        {"orientation": 0},
        {"text": (("", "value"),)},
        {"text": (("k" * 80, "value"),)},
        {"text": (("key", "one"), ("key", "two"))},
        {"text": (("key", "\ud800"),)},
        {"text": tuple((str(i), "") for i in range(257))},
    ],
)
def test_values_outside_the_format_are_not_written(options):
    with pytest.raises(FormatError):
        sample(**options)


def test_the_largest_values_are_written_and_read():
    assert read_all(sample([[b"x"] * 16_384], width=1 << 24, height=128)).header.width == 1 << 24
    assert read_all(sample([b"x"] * 32, model="m" * 32)).num_levels == 32
    reader = read_all(wide([[b"x"]] * 31 + [[b"1", b"2", b"3"]], num_coarse=31))
    assert (reader.num_levels, reader.coarse, reader.pieces) == (32, [b"x"] * 31, [[b"1"], [b"2"], [b"3"]])
    layer = Layer((Piece(1 << 31, 0),))
    assert parse_header(pack_header(header_of(1, 1, (layer,) * 32))).layers == (layer,) * 32
    assert len(read_all(sample(text=tuple((str(i), "") for i in range(256)))).attachments.text) == 256


def test_a_newer_version_is_refused_by_name():
    data = bytearray(sample())
    data[7] = 2
    with pytest.raises(FormatError, match="version 2, newer than version 1"):
        read_all(data[:8])
    data[7] = 0
    with pytest.raises(FormatError, match="no format version 0"):
        read_all(data)


def test_a_draft_of_before_the_first_version_is_refused_by_name():
    draft = bytes.fromhex("8948434f0d0a1a 01 00 6d6f6431 1e14 01 03 00000000")
    with pytest.raises(FormatError, match="a draft before format version 1"):
        read_all(draft)
    with pytest.raises(TruncatedError):
        parse_header(draft[:6])


@pytest.mark.parametrize(
    ("after_the_size", "line"),
    [(b"\x10\1", "16 bits a sample, which needs a newer hcodec"), (b"\x08\2", "2 frames, which needs a newer hcodec"),
     (b"\x07\1", "damaged: bits a sample is 7"), (b"\x08\0", "damaged: number of frames is 0")],
)  # fmt: skip
def test_what_is_reserved_for_later_versions_is_refused_by_name(after_the_size, line):
    packed = MAGIC + b"\1\0\1m" + FINGERPRINT + b"\x1e\x14" + after_the_size + b"\0\1\0" + bytes(4)
    with pytest.raises(FormatError, match=line):
        parse_header(with_new_crc(packed))
    assert parse_header(with_new_crc(packed.replace(after_the_size, b"\x08\1"))).width == 30


@pytest.mark.parametrize("name", [b"Photo", b"photo_1", b"ph\xf6to", b"photo\n", b"photo 1", b""])
def test_other_names_of_models_are_refused(name):
    packed = MAGIC + b"\1\0" + bytes((len(name),)) + name + FINGERPRINT + b"\x1e\x14\x08\1\0\1\0" + bytes(4)
    with pytest.raises(FormatError, match=r"the header is damaged: .*model's name"):
        parse_header(with_new_crc(packed))


@pytest.mark.parametrize("stranger", [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"P", b"\0", b"\x89HCP\n\x1a"])
def test_a_strangers_file_is_refused_at_once(stranger):
    with pytest.raises(FormatError, match="not an hcodec file"):
        read_all(stranger)
    with pytest.raises(FormatError):
        info(stranger)


@pytest.mark.parametrize("flag", [64, 128])
def test_reserved_flags_are_refused(flag):
    packed = MAGIC + bytes((1, flag)) + b"\1m" + FINGERPRINT + b"\x1e\x14\x08\1\0\1\0" + bytes(4)
    with pytest.raises(FormatError, match="reserved"):
        parse_header(with_new_crc(packed))


def whole_header(num_coarse, table, flags=0):
    """A header of a picture with two windows and so many whole levels; table: from the number of layers on."""
    packed = MAGIC + bytes((1, flags)) + b"\1m" + FINGERPRINT + b"\xcc\x08\3\x08\1" + bytes((num_coarse,)) + table
    return with_new_crc(packed)


@pytest.mark.parametrize("num_coarse", [32, 33, 64, 128, 255])
def test_more_whole_levels_than_there_can_be_are_refused_at_once(num_coarse):
    with pytest.raises(FormatError, match=f"number of coarse layers is {num_coarse}, allowed is 0 to 31"):
        read_all(whole_header(num_coarse, b"")[:-4])  # no more bytes are waited for


ROW = b"\1" + bytes(4)


@pytest.mark.parametrize(
    ("num_coarse", "table", "flags", "counts"),
    [(0, b"\1" + ROW * 2, 0, [2]), (1, b"\1" + ROW, 0, [1]), (31, b"\1" + ROW, 0, [1]), (1, b"\2" + ROW * 3, 0, [1, 2]),
     (31, b"\2" + ROW * 2, 0, [1, 1]), (1, b"\2" + ROW * 3, 16, [1, 2]), (31, b"\2" + ROW * 3, 16, [1, 2]),
     (2, b"\2\1" + ROW * 2, 2, [1, 1]), (1, b"\2\1" + ROW * 2, 2, [1, 1]), (1, b"\2\2" + ROW * 3, 2, [1, 2])],
)  # fmt: skip
def test_tables_have_as_many_rows_as_the_whole_levels_leave(num_coarse, table, flags, counts):
    packed = whole_header(num_coarse, table, flags)
    header = parse_header(packed)
    assert [len(layer.pieces) for layer in header.layers] == counts and header.header_bytes == len(packed)
    assert pack_header(header) == packed and header.num_coarse == num_coarse
    survive(packed + bytes(sum(counts)))
    with pytest.raises(TruncatedError):
        parse_header(packed[:-1])


@pytest.mark.parametrize(("num_coarse", "num_last"), [(2, 0), (2, 2), (31, 2), (1, 0), (1, 3)])
def test_a_cut_layer_has_no_more_pieces_than_it_may(num_coarse, num_last):
    with pytest.raises(FormatError, match=f"number of pieces of the last layer is {num_last}"):
        parse_header(whole_header(num_coarse, bytes((2, num_last)) + ROW * 4, 2))


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
    assert reader.damaged == {0: 3} and reader.pieces == [LAYERS[:2]] and reader.partial(0) == b"" and reader.complete
    assert reader.attachments == container.Attachments(**METADATA)
    assert reader.warnings == reader.damage == ["layer 3 is damaged; it and the layers after it were ignored"]
    bytewise = Reader()
    for byte in data:
        bytewise.feed(bytes((byte,)))
    assert observe(bytewise) == observe(reader)


def test_every_damaged_byte_of_a_piece_harms_its_window_alone():
    data = wide(lossless=LOSSLESS, **METADATA)
    header, whole = parse_header(data), by_window(WIDE_LAYERS)
    for number, layer in enumerate(header.layers, start=1):
        for window in range(3):
            start, size = header.piece_range(number, window)
            for position in range(start, start + size):
                broken = bytearray(data)
                broken[position] ^= 1 << position % 8
                reader = read_all(broken)
                assert reader.damaged == {window: number} and reader.complete and len(reader.warnings) == 1
                kept = [whole[each] if each != window else whole[each][: number - 1] for each in range(3)]
                assert (reader.pieces, reader.num_levels) == (kept, min(number - 1, 4))
                assert reader.lossless == [LOSSLESS[each] if each != window else b"" for each in range(3)]
        assert len(header.layers) == 5 and len(layer.pieces) == 3


def test_every_damaged_byte_of_the_whole_picture_harms_all_that_comes_after():
    data = mixed(lossless=LOSSLESS, **METADATA)
    header = parse_header(data)
    for number in (1, 2):
        start, size = header.piece_range(number, 0)
        for position in range(start, start + size):
            broken = bytearray(data)
            broken[position] ^= 1 << position % 8
            reader, bytewise = read_all(broken), Reader()
            for byte in broken:
                bytewise.feed(bytes((byte,)))
                assert not any(map(bytewise.partial, range(3)))
            assert observe(bytewise) == observe(reader)
            assert reader.damaged == {EVERYWHERE: number} and reader.complete and reader.num_levels == number - 1
            assert reader.coarse == [b"coarse"][: number - 1] and reader.pieces == [[], [], []]
            assert reader.lossless == [b"", b"", b""] and reader.attachments == container.Attachments(**METADATA)
            assert reader.warnings == [f"layer {number} is damaged; it and the layers after it were ignored"]


def test_damage_after_the_levels_of_the_whole_picture_harms_its_window_alone():
    data = mixed(lossless=LOSSLESS)
    header, fine = parse_header(data), by_window(MIXED_LAYERS[2:])
    for number in (3, 4, 5):
        for window in range(3):
            start, size = header.piece_range(number, window)
            if not size:
                continue
            broken = bytearray(data)
            broken[start] ^= 1
            reader = read_all(broken)
            assert reader.damaged == {window: number} and reader.coarse == [b"coarse", b"second"]
            assert reader.pieces == [fine[each] if each != window else fine[each][: number - 3] for each in range(3)]
            assert reader.lossless == [LOSSLESS[each] if each != window else b"" for each in range(3)]
            assert reader.num_levels == min(number - 1, 4)


def test_damage_of_many_windows_is_said_in_one_line_for_each_layer():
    num_windows = count_windows(9000, 9000)
    data = bytearray(sample([[b"first"] * num_windows, [b"second"] * num_windows], width=9000, height=9000))
    header = parse_header(data)
    for window in range(num_windows):
        data[header.piece_range(1 + (window > 3), window)[0]] ^= 1
    reader = read_all(data)
    reader.close()
    assert reader.warnings == [
        "layer 1 is damaged in the window at 0,0 and 3 more; it and the layers after it were ignored there",
        "layer 2 is damaged in the window at 4096,0 and 76 more; it and the layers after it were ignored there",
    ]
    assert (len(reader.damaged), reader.num_levels, reader.pieces[4]) == (81, 0, [b"first"])
    alone = bytearray(wide(lossless=LOSSLESS))
    alone[parse_header(alone).piece_range(5, 2)[0]] ^= 1
    assert read_all(alone).warnings == ["the lossless layer is damaged in the window at 1408,0; it was ignored there"]


@pytest.mark.parametrize("section", ["front", "back"])
def test_no_damage_to_metadata_touches_the_layers(section):
    data = sample(**METADATA, **VALUES)
    parsed = parse_header(data)
    start = parsed.header_bytes if section == "front" else parsed.prefix_bytes(len(LAYERS))
    for position in range(start, start + getattr(parsed, f"{section}_bytes")):
        for bit in range(8):
            broken = bytearray(data)
            broken[position] ^= 1 << bit
            reader = read_all(broken)
            assert reader.complete and reader.pieces == [LAYERS] and not reader.damaged
            assert 1 <= len(reader.warnings) <= 3, (position, bit)


def test_damaged_alpha_is_named_and_the_rest_kept():
    data = bytearray(sample(**METADATA))
    data[parse_header(data).header_bytes + chunks.HEAD_BYTES] ^= 0xFF
    reader = read_all(data)
    assert reader.warnings == ["alpha is damaged, it was ignored"]
    assert (reader.attachments.alpha, reader.attachments.icc) == (b"", METADATA["icc"])


def test_unknown_optional_chunks_are_skipped_and_kept_by_truncate():
    front = chunk(b"iccp", b"profile") + chunk(b"zzzz", b"unknown") + chunk(b"alph", b"\xff") + chunk(b"1234", b"")
    back = chunk(b"what", b"") + chunk(b"exif", b"exif")
    data = with_sections(front, back)
    reader = read_all(data)
    assert (reader.warnings, reader.pieces, reader.complete) == ([], [LAYERS], True)
    assert reader.attachments == container.Attachments(icc=b"profile", alpha=b"\xff", exif=b"exif")
    assert truncate(data, levels=2) == with_sections(front, back, LAYERS[:2])


@pytest.mark.parametrize("section", ["front", "back"])
def test_unknown_mandatory_chunks_refuse_the_file(section):
    data = with_sections(**{section: chunk(b"Zzzz", b"needed")})
    reader = Reader()
    for _ in range(2):
        with pytest.raises(FormatError, match="mandatory chunk 'Zzzz', which needs a newer hcodec"):
            reader.feed(data)
    for job in (info, truncate):
        with pytest.raises(FormatError, match="newer"):
            job(data)
    damaged = data.replace(b"needed", b"neeeed")  # it cannot be known whether it was one
    assert read_all(damaged).warnings == ["metadata is damaged, some of it was ignored"]


MALFORMED = {
    b"cicp": [b"", b"\1\1\0", b"\1\1\0\2", b"\1\1\0\1\1"],
    b"chrm": [bytes(31), bytes(33), bytes(31) + b"\x80"],
    b"gama": [bytes(4), bytes(5), b"\0\0\0\x80"],
    b"phys": [bytes(9), b"\1\0\0\0\1\0\0\0\2", bytes(8)],
    b"ornt": [b"\0", b"\x09", b"\1\1", b""],
    b"text": [b"", b"\0value", b"\x50" + b"k" * 80, b"\5key", b"\3k\xffyvalue", b"\3keyval\xffe", b"\x83\0keyvalue"],
}


@pytest.mark.parametrize(("tag", "payload"), [(tag, payload) for tag, each in MALFORMED.items() for payload in each])
def test_malformed_chunks_are_ignored_with_a_warning(tag, payload):
    good = chunk(b"iccp", b"profile")
    for sections in ((chunk(tag, payload) + good, b""), (good, chunk(tag, payload))):
        reader = read_all(with_sections(*sections))
        assert reader.warnings == [f"{chunks.KINDS[tag].name} is malformed, it was ignored"]
        assert reader.attachments == container.Attachments(icc=b"profile") and reader.complete


def test_of_texts_the_first_of_each_key_and_256_count():
    texts = [chunk(b"text", b"\4" + b"%04d" % (number // 2) + b"value") for number in range(600)]
    reader = read_all(with_sections(back=b"".join(texts)))
    assert [key for key, _ in reader.attachments.text] == [f"{number:04}" for number in range(256)]
    assert reader.warnings == ["a second text of one key was ignored", "there are more than 256 texts, some were ignored"]


def test_repeated_chunks_and_gaps_are_ignored_with_one_warning_each():
    front = chunk(b"iccp", b"first") + chunk(b"iccp", b"second") * 5 + bytes(11)
    reader = read_all(with_sections(front))
    assert (reader.attachments.icc, reader.pieces, reader.complete) == (b"first", [LAYERS], True)
    assert reader.warnings == ["a second icc was ignored", "metadata is damaged, some of it was ignored"]


def test_bytes_after_the_end_are_ignored_with_a_warning():
    reader = read_all(sample() + b"more")
    reader.feed(b"and more")
    assert reader.complete and reader.warnings == ["bytes after the end of the file were ignored"]
    assert truncate(sample() + b"more") == sample()


def test_memory_is_taken_for_bytes_fed_and_not_for_bytes_promised():
    layers = (Layer((Piece(1 << 31, 0),)),) * 32
    promised = header_of(1, 1, layers, front_bytes=1 << 31, back_bytes=1 << 31)
    huge_chunk = b"iccp" + ((1 << 31) - 12).to_bytes(4, "little") + bytes(4)
    tracemalloc.start()
    reader = Reader()
    for piece in (pack_header(promised), huge_chunk, bytes(100_000)):
        reader.feed(piece)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert reader.header == promised and peak < 1_000_000


def largest_header():
    """All but the rows of a header that promises as many of them as there may be."""
    return MAGIC + b"\1\0\1m" + FINGERPRINT + pack_varint(1 << 24) + pack_varint(128) + b"\x08\1\0\x20"


def test_a_table_of_half_a_million_rows_takes_no_memory_before_it_comes():
    tracemalloc.start()
    reader = Reader()
    reader.feed(largest_header() + bytes(1000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert reader.header is None and peak < 100_000


def test_the_largest_header_is_parsed_in_time_in_proportion_to_its_size(monkeypatch):
    """However small the pieces are that it comes in: every row is read once, and tried a few times where it is incomplete."""
    start = largest_header()
    reader, calls = Reader(), 0
    reader.feed(start)
    read_varint = Cursor.varint

    def counted(self, within):
        nonlocal calls
        calls += 1
        return read_varint(self, within)

    monkeypatch.setattr(Cursor, "varint", counted)
    for _ in range(3000):
        reader.feed(bytes(5))
    for _ in range(3000):
        reader.feed(bytes(1))
    assert reader.header is None and calls < 3000 * 3 + 3000 * 3
    whole = with_new_crc(start + bytes(5) * (32 * 16_384))
    reader = Reader()
    reader.feed(whole)
    assert reader.complete and reader.num_levels == 32 and len(reader.pieces) == 16_384


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


@pytest.mark.parametrize(
    "data", [sample(), sample(**METADATA), wide(lossless=LOSSLESS), wide([*WIDE_LAYERS[:2], [b"1"]], cut=True),
             mixed(lossless=LOSSLESS), mixed([*MIXED_LAYERS[:1], [b"1"]], cut=True)],
)  # fmt: skip
def test_every_single_bit_flip_of_the_header_is_refused(data):
    for position in range(8 * parse_header(data).header_bytes):
        broken = bytearray(data)
        broken[position // 8] ^= 1 << position % 8
        reader = survive(bytes(broken))
        assert reader.header is None, position


@pytest.mark.parametrize("data", [sample(**METADATA), wide(lossless=LOSSLESS, **VALUES), mixed(lossless=LOSSLESS)])
def test_every_truncation_point_survives(data):
    for length in range(len(data)):
        reader = survive(data[:length])
        assert not reader.complete


def test_ten_thousand_mutations_survive():
    rng = random.Random(1)
    files = [sample(**METADATA), wide(lossless=LOSSLESS, **VALUES), mixed(lossless=LOSSLESS, **METADATA)]
    for number in range(10_000):
        data = bytearray(files[number % 3])
        for _ in range(rng.randint(1, 8)):
            start = rng.randrange(len(data) + 1)
            noise = rng.randbytes(rng.randint(0, 6))
            data[start : start + rng.randint(0, 6)] = noise
        survive(bytes(data))


@pytest.mark.parametrize("whole", [wide(**METADATA, **VALUES), mixed(**METADATA), mixed(lossless=LOSSLESS)])
def test_mutations_under_a_right_checksum_survive(whole):
    """As an attacker would: the header is changed and its checksum made right again."""
    rng = random.Random(2)
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
    assert reader.complete and reader.pieces == [LAYERS]
