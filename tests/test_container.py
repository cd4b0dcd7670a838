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
from hcodec.container import EVERYWHERE, Attachments, Frame, Header, Layer, Piece, Reader, info, truncate, write
from hcodec.container.attachments import Chromaticities, Cicp, Density
from hcodec.container.header import parse_header
from hcodec.container.lossless_layer import CODED, STORED, LosslessLayer
from hcodec.errors import FormatError, HcodecError, TruncatedError

FINGERPRINT = b"\x12\x34\x56\x78"
LAYERS = [b"coarse", b"", b"finer and longer", bytes(range(200))]
METADATA = {"alpha": b"\x80", "icc": b"profile", "exif": b"II*\0exif", "xmp": b"<x:xmpmeta/>"}
VALUES = {
    "cicp": Cicp(1, 13, 0, 1),
    "chromaticities": Chromaticities(31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000),
    "gamma": 45455,
    "density": Density(2835, 2835, 1),
    "orientation": 6,
    "text": (("Title", "Heidenröslein"), ("Author", "")),
}
WIDE = {"width": 2100, "height": 20}  # three windows
WIDE_LAYERS = [[b"coarse", b"", b"c"], [b"", b"", b""], [b"finer", b"x", b"finest"], [bytes(range(200)), b"", bytes(130)]]
MIXED_LAYERS = [[b"coarse"], [b"second"], *WIDE_LAYERS[2:]]  # two of the whole picture
LOSSLESS = [b"exact", b"e", b"exactly"]


def sample(layers=LAYERS, cut=False, width=30, height=20, model="photo-1", fingerprint=FINGERPRINT, gray=False, lossless=(),
           num_coarse=0, **attachments):  # fmt: skip
    """A file; a layer of bytes has one piece."""
    frame = Frame(width=width, height=height, model=model, fingerprint=fingerprint, num_coarse=num_coarse, gray=gray)
    pieces = [[layer] if isinstance(layer, bytes) else layer for layer in layers]
    return write(frame, pieces, Attachments(**attachments), lossless=lossless, cut=cut)


def wide(layers=WIDE_LAYERS, **options):
    return sample(layers, **WIDE, **options)


def mixed(layers=MIXED_LAYERS, **options):
    return wide(layers, num_coarse=2, **options)


def read_all(data):
    reader = Reader()
    reader.feed(data)
    return reader


def observe(reader):
    """Everything a reader shows."""
    names = ("header", "coarse", "pieces", "lossless", "num_levels", "damaged", "damage", "attachments", "warnings", "complete")
    partial = [reader.partial(window) for window in range(EVERYWHERE, len(reader.pieces))]
    return {name: getattr(reader, name) for name in names} | {"partial": partial}


def with_new_crc(packed):
    """`packed`, a header without its checksum, with the right one."""
    return packed + zlib.crc32(packed).to_bytes(4, "little")


def by_window(layers):
    """The pieces of whole layers, window by window."""
    return [list(pieces) for pieces in zip(*layers, strict=True)]


@st.composite
def files(draw):
    """A file of any kind, and what it is made of: size, layers of pieces, options for `sample`."""
    width, height = draw(st.sampled_from([(1, 1), (30, 20), (1025, 3), (2100, 20), (1100, 1030), (5, 4000)]))
    num_windows = container.count_windows(height, width)
    num_coarse = draw(st.integers(0, 7) | st.just(31))
    row = st.lists(st.binary(max_size=150), min_size=num_windows, max_size=num_windows)
    layers = draw(st.lists(row, min_size=1, max_size=6))
    layers[:num_coarse] = [layer[:1] for layer in layers[:num_coarse]]
    blobs = {name: draw(st.binary(max_size=40)) for name in METADATA}
    values = {name: value for name, value in VALUES.items() if draw(st.booleans())}
    kind = draw(st.sampled_from(["plain", "cut", "lossless"]))
    options = {"num_coarse": num_coarse, "gray": draw(st.booleans()), **blobs, **values}
    if kind == "cut" and len(layers) > 1:
        layers[-1] = layers[-1][: draw(st.integers(1, len(layers[-1])))]
        layers[-1][-1] += b"."
        options["cut"] = True
    if kind == "lossless":
        options["lossless"] = [piece + b"." for piece in draw(row)]
    return {"width": width, "height": height, "layers": layers, **options}


# Round trips


@pytest.mark.parametrize(
    ("write_it", "whole", "layers"),
    [(sample, [], [LAYERS]), (wide, [], by_window(WIDE_LAYERS)), (mixed, [b"coarse", b"second"], by_window(WIDE_LAYERS[2:]))],
)
def test_what_is_written_is_read(write_it, whole, layers):
    reader = read_all(write_it(gray=True, **METADATA, **VALUES))
    reader.close()
    assert reader.complete and (reader.coarse, reader.pieces) == (whole, layers) and not reader.damaged and reader.warnings == []
    assert reader.attachments == Attachments(**METADATA, **VALUES) and reader.num_levels == 4
    assert (reader.header.model, reader.header.fingerprint) == ("photo-1", FINGERPRINT)
    assert reader.header.gray and not reader.header.cut and reader.header.num_coarse == len(whole)
    assert not any(map(reader.partial, range(EVERYWHERE, len(layers))))
    assert reader.lossless == [b""] * len(layers)


def test_lossless_pieces_are_read_and_are_no_level():
    reader = read_all(wide(lossless=LOSSLESS))
    assert reader.lossless == LOSSLESS and reader.pieces == by_window(WIDE_LAYERS) and reader.complete
    assert (reader.num_levels, reader.header.num_levels, len(reader.header.layers)) == (4, 4, 5)
    assert read_all(wide(lossless=LOSSLESS)[:-1]).lossless == [*LOSSLESS[:2], b""]


@pytest.mark.parametrize("num_coarse", [2, 3, 31])
def test_the_lossless_layer_is_of_windows_where_every_level_is_coarse(num_coarse):
    data = wide([[b"coarse"], [b"second"]], num_coarse=num_coarse, lossless=LOSSLESS)
    reader = read_all(data)
    assert (reader.coarse, reader.pieces, reader.lossless) == ([b"coarse", b"second"], [[], [], []], LOSSLESS)
    assert (reader.num_levels, reader.complete, reader.header.is_coarse(2), reader.header.is_coarse(3)) == (2, True, True, False)
    assert [reader.header.piece_range(3, window)[1] for window in range(3)] == list(map(len, LOSSLESS))
    levels = wide([[b"coarse"], [b"second"]], num_coarse=num_coarse)
    assert truncate(data) == data and truncate(data[:-1]) == levels == truncate(data, levels=2)


@settings(max_examples=150, deadline=None)
@given(files(), st.data())
def test_feeding_in_any_pieces_is_feeding_the_whole(made, draw):
    data = sample(**made)
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=10)))
    reader = Reader()
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        reader.feed(memoryview(data[start:end]))
    reader.close()
    assert observe(reader) == observe(read_all(data))
    assert reader.num_levels == len(reader.coarse) + min(map(len, reader.pieces)) == len(made["layers"]) - made.get("cut", False)
    assert reader.attachments == Attachments(**{name: made[name] for name in (*METADATA, *VALUES) if name in made})
    assert reader.lossless == list(made.get("lossless", [b""] * reader.header.num_windows))
    assert arrived(reader) == made["layers"]


def arrived(reader):
    """The layers that a reader has, each as the list of its pieces, the one that is cut included."""
    found = [[piece] for piece in reader.coarse]
    for level in range(max(map(len, reader.pieces))):
        found.append([pieces[level] for pieces in reader.pieces if level < len(pieces)])
    parts = [part for window in range(EVERYWHERE, len(reader.pieces)) if (part := reader.partial(window))]
    if parts and len(found) > reader.num_levels:
        return [*found[:-1], found[-1] + parts]
    return [*found, parts] if parts else found


@pytest.mark.parametrize("options", [{}, METADATA | VALUES, {"lossless": LOSSLESS}])
def test_every_prefix_gives_what_it_holds(options):
    data = wide(**options)
    header = read_all(data).header
    ends = [header.prefix_bytes(levels) for levels in range(len(header.layers) + 1)]
    ranges = [[header.piece_range(layer, window) for layer in range(1, 5)] for window in range(3)]
    growing = Reader()
    for length in range(len(data) + 1):
        growing.feed(data[length - 1 : length] if length else b"")
        assert observe(growing) == observe(read_all(data[:length]))
        for window in range(3 if length >= ends[0] else 0):
            whole = [data[start : start + size] for start, size in ranges[window] if start + size <= length]
            assert growing.pieces[window] == whole
            arriving = ranges[window][len(whole)] if len(whole) < 4 else (length, 0)
            assert growing.partial(window) == data[arriving[0] : length]
        assert growing.num_levels == min(map(len, growing.pieces), default=0)
        assert growing.complete == (length == len(data))
        if length < len(data):
            with pytest.raises(TruncatedError):
                growing.close()
    assert growing.header.file_bytes == len(data)


@pytest.mark.parametrize("options", [{}, METADATA, {"lossless": LOSSLESS}])
def test_every_prefix_gives_what_it_holds_of_the_whole_picture(options):
    data = mixed(**options)
    header = parse_header(data)
    ranges = [header.piece_range(level, 0) for level in (1, 2)]
    growing = Reader()
    for length in range(len(data) + 1):
        growing.feed(data[length - 1 : length] if length else b"")
        assert observe(growing) == observe(read_all(data[:length]))
        if length < header.prefix_bytes(0):
            continue
        assert growing.coarse == [data[start : start + size] for start, size in ranges if start + size <= length]
        arriving = ranges[len(growing.coarse)][0] if len(growing.coarse) < 2 else length
        assert growing.partial(EVERYWHERE) == data[arriving:length]
        if arriving < length:
            assert growing.pieces == [[], [], []] and not any(map(growing.partial, range(3)))
        assert growing.num_levels == len(growing.coarse) + min(map(len, growing.pieces))
    assert growing.complete and growing.pieces == by_window(WIDE_LAYERS[2:])


def test_metadata_comes_out_as_soon_as_it_is_coarse():
    data = sample(**METADATA)
    assert read_all(data[: -len(METADATA["xmp"])]).attachments.exif == METADATA["exif"]
    parsed = parse_header(data)
    front = read_all(data[: parsed.prefix_bytes(0)])
    assert (front.attachments.alpha, front.attachments.icc, front.pieces) == (METADATA["alpha"], METADATA["icc"], [[]])


def test_pieces_are_where_the_header_says():
    data = wide(lossless=LOSSLESS, **METADATA)
    header = parse_header(data)
    for number, layer in enumerate([*WIDE_LAYERS, LOSSLESS], start=1):
        for window, piece in enumerate(layer):
            start, size = header.piece_range(number, window)
            assert data[start : start + size] == piece
    for made in (header, parse_header(mixed(lossless=LOSSLESS))):
        for number, window in ((-1, 0), (0, 0), (6, 0), (1, 3), (1, -1), (4, 3), (4, -1)):
            with pytest.raises(TruncatedError):
                made.piece_range(number, window)


def test_the_piece_of_the_whole_picture_is_that_of_every_window():
    data = mixed(lossless=LOSSLESS, **METADATA)
    header = parse_header(data)
    for number, layer in enumerate([*MIXED_LAYERS, LOSSLESS], start=1):
        for window in range(3):
            start, size = header.piece_range(number, window)
            assert data[start : start + size] == layer[window if number > 2 else 0]
    cut = parse_header(truncate(data, num_bytes=len(mixed(MIXED_LAYERS[:3], **METADATA)) - 8))
    assert cut.piece_range(2, 2) == (cut.prefix_bytes(1), 6) and len(cut.layers[2].pieces) == 2
    with pytest.raises(TruncatedError):
        cut.piece_range(3, 2)


# Sizes


@pytest.mark.parametrize(
    ("width", "height", "total", "expected"),
    [(768, 512, 1.6, 77), (1024, 1024, 1.6, 78), (4000, 3000, 0.2, 339), (4000, 3000, 2.2, 390)],
    ids=["kodak", "one-window", "12-megapixel-low", "12-megapixel"],
)
def test_what_seven_layers_cost(width, height, total, expected):
    """Layers as the codec makes them, three of them whole: each 1.8 times the one before, `total` bits a pixel together."""
    shares, num_windows = [1.8**level for level in range(7)], container.count_windows(height, width)
    counts = [1] * 3 + [num_windows] * 4
    lengths = [int(total / 8 * width * height * share / sum(shares) / n) for share, n in zip(shares, counts, strict=True)]
    layers = tuple(Layer((Piece(length, 0xFFFFFFFF),) * n) for length, n in zip(lengths, counts, strict=True))
    made = Header(width=width, height=height, model="photo-1", fingerprint=FINGERPRINT, num_coarse=3, layers=layers)
    assert made.header_bytes == expected
    assert made.file_bytes - sum(layer.num_bytes for layer in layers) == made.header_bytes  # nothing else is paid for


@pytest.mark.parametrize("num_coarse", range(5))
def test_a_whole_layer_costs_one_row_however_many_windows_there_are(num_coarse):
    layers = [[b"x"] if level < num_coarse else [b"x"] * 3 for level in range(4)]
    assert len(wide(layers, num_coarse=num_coarse)) == len(wide([[b"x"] * 3] * 4)) - num_coarse * 2 * 6
    header = parse_header(wide(layers, num_coarse=num_coarse))
    assert [len(layer.pieces) for layer in header.layers] == list(map(len, layers)) and header.num_coarse == num_coarse
    assert [header.is_coarse(number) for number in range(1, 5)] == [level < num_coarse for level in range(4)]


def test_metadata_costs_only_where_it_is():
    plain = len(sample())
    assert len(sample(icc=b"12345")) == plain + 1 + 12 + 5
    assert len(sample(xmp=b"12345")) == plain + 1 + 12 + 5
    assert len(sample(gray=True)) == plain


# Cutting


@pytest.mark.parametrize("options", [{}, METADATA | VALUES, {"lossless": LOSSLESS}])
def test_truncating_is_writing_fewer_layers(options):
    data = wide(gray=True, **options)
    kept = {name: value for name, value in options.items() if name != "lossless"}
    for levels in range(1, len(WIDE_LAYERS) + 1):
        assert truncate(data, levels=levels) == wide(WIDE_LAYERS[:levels], gray=True, **kept)
    assert truncate(data) == data == truncate(data, num_bytes=len(data))
    data = mixed(gray=True, **options)
    for levels in range(1, len(MIXED_LAYERS) + 1):
        assert truncate(data, levels=levels) == mixed(MIXED_LAYERS[:levels], gray=True, **kept)
    assert truncate(data) == data == truncate(data, num_bytes=len(data))


def beginnings(layers, cut):
    """Every beginning of layers that a file may hold, shorter ones first, and whether it is cut. `cut`: the last layer is."""
    yield layers[:1], False
    for level, layer in enumerate(layers[1:], start=1):
        stays_cut = cut and level == len(layers) - 1
        for window, piece in enumerate(layer):
            makes_whole = window == len(layer) - 1 and not stays_cut
            for length in range(1, len(piece) + (not makes_whole)):
                yield [*layers[:level], [*layer[:window], piece[:length]]], True
        if not stays_cut:
            yield layers[: level + 1], False


@settings(max_examples=60, deadline=None)
@given(files(), st.data())
def test_truncating_to_bytes_keeps_the_longest_beginning_that_fits(made, draw):
    layers = [[piece[-20:] for piece in layer] for layer in made.pop("layers")]
    cut, lossless = made.pop("cut", False), made.pop("lossless", ())
    data = sample(layers, **made, cut=cut, lossless=lossless)
    results = [sample(beginning, **made, cut=with_cut) for beginning, with_cut in beginnings(layers, cut)]
    sizes = [len(result) for result in results]
    assert sizes == sorted(sizes) and (bool(lossless) or results[-1] == data)
    for num_bytes in draw.draw(st.lists(st.integers(sizes[0], len(data) + 3), max_size=8)):
        fitting = [result for result in results if len(result) <= num_bytes]
        expected = data if lossless and len(data) <= num_bytes else fitting[-1]
        assert truncate(data, num_bytes=num_bytes) == expected
    with pytest.raises(TruncatedError, match=f"needs {sizes[0]} bytes"):
        truncate(data, num_bytes=sizes[0] - 1)


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
        [whole] = reader.pieces
        assert whole == layers[: len(whole)] and reader.warnings == []
        assert reader.header.cut == bool(reader.partial(0))
        if reader.header.cut:
            assert len(result) >= num_bytes - 1  # a length may grow by a byte where the piece cannot
            assert reader.partial(0) == layers[len(whole)][: len(reader.partial(0))]
        else:
            assert len(result) == len(data) or num_bytes - len(result) <= 7  # no room for another row, a count and a byte
        assert reader.attachments == Attachments(**metadata)


def test_a_layer_of_many_windows_is_cut_where_the_count_grows():
    """From 127 to 128 pieces the count takes a byte more."""
    data = sample([[b"."] * 256, [b"12"] * 256], width=1 << 17, height=2000)
    first = len(truncate(data, levels=1))
    for count in (126, 127, 128, 129):
        cost = first + (1 if count < 128 else 2) + 7 * count
        for spare in range(6 if count != 127 else 7):
            reader = read_all(truncate(data, num_bytes=cost + spare))
            assert (len(reader.header.layers[1].pieces), reader.partial(count - 1)) == (count, b"12")
        assert read_all(truncate(data, num_bytes=cost - 1)).partial(count - 1) == b"1"


def test_a_cut_file_can_be_cut_again():
    layers = [bytes(50), bytes(60), bytes(70)]
    once = truncate(sample(layers), num_bytes=len(sample(layers)) - 10)
    assert read_all(once).partial(0) == bytes(59)
    assert once == sample([*layers[:2], bytes(59)], cut=True) == truncate(once) == truncate(once, num_bytes=10**6)
    assert truncate(once, levels=2) == sample(layers[:2])
    twice = truncate(once, num_bytes=len(once) - 20)
    assert twice == truncate(sample(layers), num_bytes=len(twice))
    with pytest.raises(TruncatedError, match="2 whole"):
        truncate(once, levels=3)


def test_a_cut_layer_arrives_like_any_other_and_stays_partial():
    data = wide([[b"1", b"2", b"3"], [b"first", b"second"]], cut=True, xmp=b"xmp")
    reader = Reader()
    for byte in data:
        reader.feed(bytes((byte,)))
    assert reader.pieces == [[b"1", b"first"], [b"2"], [b"3"]] and (reader.num_levels, reader.complete) == (1, True)
    assert [reader.partial(window) for window in range(3)] == [b"", b"second", b""] and reader.attachments.xmp == b"xmp"
    damaged = bytearray(data)
    damaged[parse_header(data).piece_range(2, 1)[0]] ^= 1
    reader = read_all(damaged)
    assert (reader.pieces, reader.partial(1), reader.damaged) == ([[b"1", b"first"], [b"2"], [b"3"]], b"", {1: 2})


def test_a_whole_layer_is_cut_like_that_of_a_single_window():
    data = mixed(xmp=b"xmp")
    first = len(mixed(MIXED_LAYERS[:1], xmp=b"xmp"))
    for length in range(1, 5):  # beside a row and the number of pieces, which a whole layer does without
        cut = truncate(data, num_bytes=first + 6 + length)
        assert cut == mixed([[b"coarse"], [b"second"[:length]]], cut=True, xmp=b"xmp") and len(cut) == first + 6 + length
        reader = read_all(cut)
        reader.close()
        assert (reader.coarse, reader.pieces, reader.num_levels) == ([b"coarse"], [[], [], []], 1)
        assert reader.partial(EVERYWHERE) == b"second"[:length] and not any(map(reader.partial, range(3)))
        assert truncate(cut) == cut == truncate(cut, num_bytes=10**6)
        assert truncate(cut, levels=1) == truncate(data, levels=1) == truncate(cut, num_bytes=first + 6)
    assert truncate(data, num_bytes=first + 11) == mixed(MIXED_LAYERS[:2], xmp=b"xmp")


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


@pytest.mark.parametrize(("write_it", "layers"), [(wide, WIDE_LAYERS), (mixed, MIXED_LAYERS)])
def test_the_first_bytes_of_a_wide_file_become_a_file(write_it, layers):
    data = write_it(lossless=LOSSLESS)
    header = parse_header(data)
    for length in range(header.prefix_bytes(1), len(data)):
        result = read_all(truncate(data[:length]))
        result.close()
        part = read_all(data[:length])
        assert result.num_levels == part.num_levels and result.warnings == []
        present = length - header.prefix_bytes(0)
        found = b"".join(piece for layer in arrived(result) for piece in layer)
        assert found == data[header.prefix_bytes(0) :][:present][: sum(len(piece) for row in layers for piece in row)]


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


def test_what_is_kept_of_a_damaged_file_ends_before_the_damage():
    data = bytearray(wide(lossless=LOSSLESS))
    data[parse_header(data).piece_range(3, 1)[0]] ^= 1
    assert truncate(bytes(data)) == wide([*WIDE_LAYERS[:2], [b"finer"]], cut=True)
    data = bytearray(wide(lossless=LOSSLESS))
    data[parse_header(data).piece_range(5, 1)[0]] ^= 1
    assert truncate(bytes(data)) == wide()


def test_what_is_kept_where_the_whole_picture_is_damaged_ends_before_the_damage():
    data = bytearray(mixed(lossless=LOSSLESS))
    data[parse_header(data).piece_range(2, 0)[0] + 2] ^= 1
    assert truncate(bytes(data)) == mixed(MIXED_LAYERS[:1]) == truncate(bytes(data), num_bytes=len(data))
    with pytest.raises(FormatError, match="layer 2 is damaged"):
        truncate(bytes(data), levels=2)
    data[parse_header(data).piece_range(1, 0)[0]] ^= 1
    with pytest.raises(FormatError, match="layer 1 is damaged"):
        truncate(bytes(data))


def test_both_limits_hold():
    data = sample()
    assert truncate(data, levels=3, num_bytes=10**6) == sample(LAYERS[:3])
    short = truncate(data, levels=3, num_bytes=len(sample(LAYERS[:3])) - 4)
    assert short == sample([*LAYERS[:2], LAYERS[2][:-5]], cut=True)


# Listing


def test_info_lists_every_level(tmp_path):
    data = sample(**METADATA, **VALUES)
    path = tmp_path / "picture.hcodec"
    path.write_bytes(data)
    listed = info(path)
    assert listed == info(str(path)) == info(data)
    assert (listed.version, listed.width, listed.height, listed.num_windows) == (1, 30, 20, 1)
    assert (listed.model, listed.fingerprint) == ("photo-1", "12345678")
    assert listed.complete and listed.has_alpha and listed.file_bytes == listed.total_bytes == len(data)
    assert [level.level for level in listed.levels] == [1, 2, 3, 4]
    assert [level.num_bytes for level in listed.levels] == [len(layer) for layer in LAYERS]
    assert all(level.crc_ok and level.present_bytes == level.num_bytes for level in listed.levels)
    assert listed.levels[3].bpp == pytest.approx(8 * 200 / 600)
    assert listed.container_bytes == len(data) - sum(map(len, LAYERS))
    sizes = (listed.alpha_bytes, listed.icc_bytes, listed.exif_bytes, listed.xmp_bytes)
    assert sizes == tuple(map(len, METADATA.values()))
    assert all(getattr(listed, name) == value for name, value in VALUES.items())


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


@pytest.mark.parametrize("write_it", [sample, wide, mixed])
def test_info_of_a_damaged_file(write_it):
    data = bytearray(write_it())
    data[parse_header(data).piece_range(3, 0)[0]] ^= 1
    listed = info(bytes(data))
    assert [level.crc_ok for level in listed.levels] == [True, True, False, None]
    assert len(listed.warnings) == 1


def test_info_of_levels_of_the_whole_picture():
    data = bytearray(mixed(lossless=LOSSLESS))
    listed = info(bytes(data))
    assert (listed.num_windows, listed.num_coarse, info(sample()).num_coarse) == (3, 2, 0)
    assert [level.num_bytes for level in listed.levels] == [6, 6, 12, 330] and listed.complete
    data[parse_header(data).piece_range(2, 0)[0]] ^= 1
    listed = info(bytes(data))
    assert [level.crc_ok for level in (*listed.levels, listed.lossless)] == [True, False, None, None, None]
    assert listed.lossless.method == "" and len(listed.warnings) == 1


def test_info_of_lossless_pieces():
    stored = LosslessLayer(STORED, b"\2picture").pack()
    coded = LosslessLayer(CODED, start=3, fingerprint=b"last", crcs=range(3), stacks=[bytes(8)] * 3).pack()
    listed = info(wide(lossless=[stored, coded, stored]))
    assert (listed.lossless.method, listed.lossless.start, listed.lossless.crc_ok) == ("stored, coded", 3, True)
    assert (listed.lossless.num_bytes, len(listed.levels), listed.num_windows) == (len(stored * 2 + coded), 4, 3)
    assert info(wide(lossless=LOSSLESS)).lossless.method == ""


def test_info_goes_through_json():
    listed = info(sample(**METADATA, **VALUES))
    as_dict = json.loads(json.dumps(listed.as_dict()))
    assert as_dict["has_alpha"] is True and as_dict["fingerprint"] == "12345678"
    assert as_dict["levels"][0]["prefix_bytes"] == listed.levels[0].prefix_bytes
    assert as_dict["density"] == {"x": 2835, "y": 2835, "unit": 1} and as_dict["text"]["Title"] == "Heidenröslein"
    assert info(sample()).as_dict()["cicp"] is None


def test_prefix_bytes_beyond_the_table():
    parsed = parse_header(sample())
    for levels in (-1, len(LAYERS) + 1):
        with pytest.raises(TruncatedError):
            parsed.prefix_bytes(levels)


def test_the_container_is_readable_without_numpy_pillow_or_torch():
    code = "import sys, hcodec.container; sys.exit(any(name in sys.modules for name in ('numpy', 'PIL', 'torch')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert container.Reader is Reader
