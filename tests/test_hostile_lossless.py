"""Lossless files that are cut, damaged or made to harm: the levels come out, with a warning; a wrong picture never does."""

from __future__ import annotations

import random
import warnings
import zlib
from dataclasses import replace

import numpy as np
import pytest
from conftest import render
from test_lossless import encode_forced

import hcodec
from hcodec import container, models
from hcodec.container import Layer, Piece, lossless_layer
from hcodec.container.header import Header, pack_header, parse_header
from hcodec.container.lossless_layer import STORED
from hcodec.errors import FormatError, HcodecError, HcodecWarning, TruncatedError

SIZE = (8, 392)  # two tiles


@pytest.fixture(autouse=True)
def silence():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HcodecWarning)
        yield


@pytest.fixture(scope="module")
def data() -> bytes:
    return encode_forced(render(*SIZE))[0]


@pytest.fixture(scope="module")
def lossy() -> np.ndarray:
    return np.asarray(hcodec.decode(hcodec.encode(render(*SIZE), levels=2, model="tiny")))


@pytest.fixture(scope="module")
def last(data) -> bytes:
    """The lossless layer of `data`."""
    reader = container.Reader()
    reader.feed(data)
    return reader.lossless[0]


def with_last(data: bytes, last: bytes) -> bytes:
    """Returns the file with another lossless layer and right checksums, as an attacker would write it."""
    reader = container.Reader()
    reader.feed(data)
    return container.write(reader.header, [[layer] for layer in (*reader.coarse, *reader.pieces[0])], lossless=[last])


def gives_the_levels(data: bytes, lossy: np.ndarray, stream: bool = False) -> None:
    """The lossless layer is refused in a warning or, if strict, an exception of ours; the levels come out."""
    with pytest.warns(HcodecWarning, match="lossless layer|stack|stored picture|the file ends"):
        assert (np.asarray(hcodec.decode(data)) == lossy).all()
    if stream:
        with pytest.raises(HcodecError):
            hcodec.decode(data, strict=True)
        decoder = hcodec.StreamDecoder()
        for begin in range(0, len(data), 700):
            decoder.feed(data[begin : begin + 700])
        assert (np.asarray(decoder.image()) == lossy).all()
        hcodec.info(data)


def test_the_file_itself_is_coarse(data):
    assert (np.asarray(hcodec.decode(data)) == render(*SIZE)).all()


def test_truncation_anywhere(data, lossy):
    ends = [level.prefix_bytes for level in container.info(data).levels]
    for length in (*range(0, ends[0], 29), *range(ends[0], len(data), 467), ends[1], ends[1] + 1, len(data) - 1):
        if length < ends[0]:
            with pytest.raises(TruncatedError):
                hcodec.decode(data[:length])
        elif length < ends[1]:
            assert np.asarray(hcodec.decode(data[:length])).shape == lossy.shape
        else:
            gives_the_levels(data[:length], lossy, stream=length % 2 == 0)
            assert container.truncate(data[:length]) == container.truncate(data, levels=2)


def test_any_wrong_byte_of_the_layer_is_noticed(data, lossy):
    begin = container.info(data).levels[-1].prefix_bytes
    for position in range(begin, len(data), 307):
        broken = bytearray(data)
        broken[position] ^= 0x10
        gives_the_levels(bytes(broken), lossy, stream=position % 3 == 0)
        assert not container.info(bytes(broken)).lossless.crc_ok
        with pytest.raises(TruncatedError, match="3 levels were asked for"):
            container.truncate(bytes(broken), levels=3)
        with pytest.raises(TruncatedError, match="3 levels were asked for, there are 2"):
            hcodec.decode(bytes(broken), levels=3)
        assert container.truncate(bytes(broken)) == container.truncate(data, levels=2)


def head_bytes(last: bytes) -> int:
    """Returns where the stacks of a layer begin."""
    return len(last) - sum(map(len, lossless_layer.parse(last, *SIZE).stacks))


def test_bits_of_the_head_under_right_checksums(data, last, lossy):
    """Method, level, fingerprint, lengths and checksums of the tiles: a wrong one never gives a wrong picture."""
    size = 8 * head_bytes(last)
    for bit in (*range(16), *range(16, size - 8, 9), *range(size - 8, size)):
        broken = bytearray(last)
        broken[bit // 8] ^= 1 << bit % 8
        gives_the_levels(with_last(data, bytes(broken)), lossy, stream=bit % 5 == 0)


def test_mutations_of_the_stacks_under_right_checksums(data, last, lossy):
    source = random.Random(1)
    head = head_bytes(last)
    for number in range(24):
        broken = bytearray(last)
        start = source.randrange(head, len(broken))
        if number % 3 == 0:
            broken[start : start + source.choice((0, 1, 4, 400))] = source.randbytes(source.choice((0, 1, 4, 4, 400)))
        else:
            broken[start] ^= 1 << source.randrange(8)
        if bytes(broken) != last:
            gives_the_levels(with_last(data, bytes(broken)), lossy, stream=number % 6 == 0)


@pytest.mark.parametrize("coded", [b"", b"\1\0\0\0", b"\0\0\0\0", b"\xff" * 4000, b"abc", bytes(8), b"\1" + bytes(399)])
def test_stacks_that_no_encoder_writes(data, last, lossy, coded):
    parts = lossless_layer.parse(last, *SIZE)
    for stacks in ((coded, parts.stacks[1]), (parts.stacks[0], coded)):
        gives_the_levels(with_last(data, replace(parts, stacks=stacks).pack()), lossy, stream=True)


def test_words_below_a_stack_are_noticed(data, last, lossy):
    parts = lossless_layer.parse(last, *SIZE)
    for more in (b"\1\0\0\0", b"\0\0\0\0", b"\xff" * 400):
        stacks = parts.stacks[0] + more, parts.stacks[1]
        gives_the_levels(with_last(data, replace(parts, stacks=stacks).pack()), lossy, stream=True)
        gives_the_levels(with_last(data, last + more), lossy)


@pytest.mark.parametrize("start", [1, 3, 4, 31, 255])
def test_a_level_that_is_no_start_or_not_there(data, last, lossy, start):
    gives_the_levels(with_last(data, last[:1] + bytes([start]) + last[2:]), lossy, stream=True)


@pytest.mark.parametrize(
    "coded", [b"", b"\0", b"\1" + bytes(3), b"\2\5RIFF", b"\2\xff\xff\xff\xff\xff", b"\3abc", b"\1" + bytes(8 * 392 * 3 + 1)]
)
def test_stored_pictures_that_are_none(data, lossy, coded):
    gives_the_levels(with_last(data, bytes([STORED]) + coded), lossy, stream=True)


def test_layers_of_noise(data, lossy):
    source = random.Random(2)
    for length in (1, 5, 14, 15, 400):
        for first in range(4):
            gives_the_levels(with_last(data, bytes([first]) + source.randbytes(length)), lossy, stream=first == 2)


def test_a_header_that_says_lossless_and_is_not(data):
    """Flags and layer counts that do not belong together; and levels passed off as the lossless layer."""
    fingerprint = models.load("tiny").fingerprint
    for layers, cut in (((Layer((Piece(5, 0),)),), False), ((Layer((Piece(5, 0),)),) * 2, True)):
        with pytest.raises(FormatError):
            Header(width=8, height=8, model="tiny", fingerprint=fingerprint, layers=layers, lossless=True, cut=cut)
    plain = bytearray(container.truncate(data, levels=2))
    plain[8] |= 16
    size = parse_header(container.truncate(data, levels=2)).header_bytes
    plain[size - 4 : size] = zlib.crc32(plain[: size - 4]).to_bytes(4, "little")
    with pytest.warns(HcodecWarning):
        found = np.asarray(hcodec.decode(bytes(plain)))
    assert (found == np.asarray(hcodec.decode(data, levels=1))).all()


def test_an_empty_lossless_layer_is_refused(data):
    header = parse_header(data)
    with pytest.raises(FormatError, match="length of a piece is 0"):
        replace(header, layers=(*header.layers[:2], Layer((Piece(0, 0),))))


def test_absurd_sizes_take_no_memory_for_tiles():
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for last in (b"\1\2" + bytes(10), b"\2\2" + bytes(10), b"\0\1"):
        frame = container.Frame(width=1 << 24, height=128, model="m", fingerprint=b"none")
        num_windows = container.count_windows(128, 1 << 24)
        forged = container.write(frame, [[b""] * num_windows], lossless=[last] * num_windows)
        assert hcodec.info(forged).lossless.method == ("stored" if last[0] == 0 else "")
        with pytest.raises(HcodecError):
            hcodec.decode(forged)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB


def test_mutations_of_the_whole_file(data):
    source = random.Random(3)
    wanted = render(*SIZE)
    for number in range(60):
        broken = bytearray(data)
        for _ in range(source.randint(1, 3)):
            start = source.randrange(len(broken))
            broken[start : start + source.choice((0, 1, 1, 4))] = source.randbytes(source.choice((0, 1, 1, 4)))
        try:
            decoder = hcodec.StreamDecoder()
            decoder.feed(bytes(broken))
            found = np.asarray(decoder.image())
        except HcodecError as error:
            assert str(error) and "\n" not in str(error), number
        else:
            assert found.shape == wanted.shape


def test_headers_of_lossless_files_are_read_back():
    entries = tuple(Layer((Piece(length, length),)) for length in (3, 7, 9))
    header = Header(width=9, height=9, model="m", fingerprint=b"1234", layers=entries, lossless=True)
    assert parse_header(pack_header(header)) == header and pack_header(header)[8] == 16
    assert header.num_levels == 2 and header.file_bytes == header.prefix_bytes(3)
