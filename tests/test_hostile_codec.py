"""The codec against files that are cut, damaged or made to harm: our exceptions or a picture, nothing else."""

from __future__ import annotations

import random
import resource
import time
import warnings
import zlib
from dataclasses import replace

import numpy as np
import pytest
from conftest import render

from hcodec import container, memory, models, needs
from hcodec.codec import decode, encode
from hcodec.container import Layer, Piece, count_windows
from hcodec.container.header import Header, pack_header, parse_header
from hcodec.errors import FormatError, HcodecError, HcodecWarning, PictureError, TruncatedError
from hcodec.stream import StreamDecoder

HEIGHT, WIDTH = 20, 24


@pytest.fixture(autouse=True)
def little_memory(monkeypatch):
    """A machine that refuses pictures beyond 64,000 pixels, so that a file cannot keep a test busy for long."""
    monkeypatch.setattr(memory, "free_bytes", lambda: 64_000 * needs._LEAST)


@pytest.fixture(autouse=True)
def silence():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HcodecWarning)
        yield


@pytest.fixture(scope="module")
def data() -> bytes:
    return encode(render(HEIGHT, WIDTH), model="tiny")


def survive(data: bytes) -> bool:
    """Decodes the file; returns whether a picture came out. Any exception that is not ours ends the test."""
    try:
        image = decode(data)
    except HcodecError as error:
        assert str(error) and "\n" not in str(error)
        return False
    header = parse_header(data)
    assert image.size == (header.width, header.height)
    return True


def survive_stream(data: bytes, piece: int) -> None:
    decoder = StreamDecoder()
    try:
        for begin in range(0, len(data), piece):
            decoder.feed(data[begin : begin + piece])
        assert decoder.image().size == (decoder.header.width, decoder.header.height)
        decoder.close()
    except HcodecError:
        pass


def with_right_checksums(data: bytearray, original: Header) -> bytes:
    """Returns the file with layer and header checksums made right, if its header can still be read at all."""
    position, layers = original.header_bytes, []
    for layer in original.layers:
        checksum = zlib.crc32(data[position : position + layer.num_bytes])
        layers.append(Layer((Piece(layer.num_bytes, checksum),)))
        position += layer.num_bytes
    changed = replace(original, layers=tuple(layers))
    return pack_header(changed) + bytes(data[original.header_bytes :])


def test_every_truncation_point(data):
    first = container.info(data).levels[0].prefix_bytes
    for length in range(len(data)):
        if length < first:
            with pytest.raises(TruncatedError):
                decode(data[:length])
        else:
            assert survive(data[:length])
        survive_stream(data[:length], 50)


def test_every_single_bit_flip_of_the_header(data):
    for bit in range(8 * parse_header(data).header_bytes):
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << bit % 8
        with pytest.raises(FormatError):
            decode(bytes(broken))
        with pytest.raises(FormatError):
            StreamDecoder().feed(bytes(broken))


def test_every_byte_of_the_layers_damaged(data):
    """With checksums that tell, and with checksums made right."""
    header = parse_header(data)
    for position in range(header.header_bytes, len(data)):
        broken = bytearray(data)
        broken[position] ^= 0xFF
        assert survive(bytes(broken)) == (position >= header.prefix_bytes(1))
        survive(with_right_checksums(broken, header))


def mutated(source: random.Random, data: bytes, low: int = 0) -> bytearray:
    """Returns the file with 1 to 4 places changed, cut out or put in, from byte `low` on."""
    broken = bytearray(data)
    for _ in range(source.randint(1, 4)):
        start = source.randrange(low, len(broken) + 1)
        broken[start : start + source.choice((0, 1, 1, 4))] = source.randbytes(source.choice((0, 1, 1, 4)))
    return broken


def test_thousands_of_mutations():
    source = random.Random(1)
    whole = encode(render(8, 8), model="tiny")
    pictures = sum(survive(bytes(mutated(source, whole))) for _ in range(3000))
    assert pictures > 60


def test_mutations_of_layers_under_right_checksums(data):
    """As an attacker would: whatever the layers hold reaches the entropy decoder and the network."""
    source = random.Random(2)
    header = parse_header(data)
    for number in range(200):
        broken = with_right_checksums(mutated(source, data, header.header_bytes), header)
        survive(broken)
        if number % 10 == 0:
            survive_stream(broken, 37)


def test_mutations_of_the_header_under_a_right_checksum(data):
    source = random.Random(3)
    size = parse_header(data).header_bytes
    pictures = 0
    for _ in range(800):
        packed = bytearray(data[: size - 4])
        for _ in range(source.randint(1, 2)):
            packed[source.randrange(8, len(packed))] = source.choice((0, 1, 2, 0x7F, 0x80, 0xFF, source.randrange(256)))
        pictures += survive(bytes(packed) + zlib.crc32(packed).to_bytes(4, "little") + data[size:])
    assert pictures > 25


def test_layers_of_noise():
    """Symbols as wild as tables allow drive every integer into its limits, and no further."""
    source, fingerprint = random.Random(4), models.load("tiny").fingerprint
    for _ in range(60):
        layers = [source.choice((source.randbytes(4 * source.randint(0, 300)), b"", b"\xff" * 400)) for _ in range(3)]
        frame = container.Frame(width=70, height=50, model="tiny", fingerprint=fingerprint, num_coarse=2)
        cut = bool(layers[-1]) and source.random() < 0.5
        survive(container.write(frame, [[layer] for layer in layers], cut=cut))


@pytest.mark.parametrize(
    ("width", "height"), [(1 << 24, 128), (46340, 46340), (1 << 24, 1), (1, 1 << 24), (30_000, 30_000), (65_000, 1), (1, 8001)]
)
def test_absurd_sizes_are_refused_before_memory_is_taken(width, height):
    fingerprint = models.load("tiny").fingerprint
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    frame = container.Frame(width=width, height=height, model="tiny", fingerprint=fingerprint, num_coarse=2)
    for layers in ([[b""]], [[b"\1\0\0\0"], [b""], [b""] * count_windows(height, width)]):
        data = container.write(frame, layers)
        with pytest.raises(PictureError, match="megapixels need"):
            decode(data)
        with pytest.raises(PictureError):
            StreamDecoder().feed(data)
    assert time.process_time() - start < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB


def test_a_promise_of_gigabytes_takes_none():
    layers, fingerprint = (Layer((Piece(1 << 31, 0),)),) * 2, models.load("tiny").fingerprint
    promised = pack_header(Header(width=64, height=64, model="tiny", fingerprint=fingerprint, layers=layers))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(TruncatedError):
        decode(promised + bytes(1000))
    survive_stream(promised + bytes(1000), 100)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB


def test_what_survives_is_a_picture(data):
    assert np.asarray(decode(data)).shape == (HEIGHT, WIDTH, 3) and survive(data)
