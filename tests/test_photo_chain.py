"""Chains of photographs, each a file of its own: every pixel of every picture, and damage that is ours to name."""

from __future__ import annotations

import random

import numpy as np
import pytest
from conftest import render

from hcodec import codec, photo_chain
from hcodec.container.fields import pack_varint
from hcodec.errors import FormatError, HcodecError

PICTURES = [render(40, 392), render(9, 7, 1), render(24, 400, 2)[..., 0], np.zeros((1, 1, 3), np.uint8), render(64, 64, 3)]


def sizes(pictures):
    return [pixels.shape[:2] for pixels in pictures]


def same(found, pixels):
    return (found == (pixels if pixels.ndim == 3 else pixels[..., None])).all() and found.shape == (*pixels.shape[:2], 3)


@pytest.fixture(scope="module")
def data():
    return photo_chain.encode_chain(PICTURES, "tiny")


def test_round_trip(data):
    found = photo_chain.decode_chain(data, sizes(PICTURES))
    assert all(same(a, b) for a, b in zip(found, PICTURES, strict=True))


def test_a_chain_is_its_files(data):
    files = [codec.encode_lossless(pixels, model="tiny", metadata=())[0] for pixels in PICTURES]
    assert data == b"".join(pack_varint(len(file)) + file for file in files)
    assert photo_chain.decode_chain(photo_chain.encode_chain([], "tiny"), []) == []


def survive(data, wanted):
    """Returns whether pictures came out; any exception that is not ours ends the test."""
    try:
        found = photo_chain.decode_chain(data, wanted)
    except HcodecError as error:
        assert str(error) and "\n" not in str(error)
        return False
    assert [pixels.shape for pixels in found] == [(*size, 3) for size in wanted]
    return True


def test_damage_is_refused(data):
    source, wanted = random.Random(1), sizes(PICTURES)
    for number in range(40):
        broken = bytearray(data)
        start = source.randrange(min(len(broken), 40 if number % 4 else len(broken)))
        broken[start : start + source.choice((0, 1, 4))] = source.randbytes(source.choice((1, 4)))
        assert broken == data or not survive(bytes(broken), wanted)
    for length in (0, 3, 4, 5, 9, 10, 11, 16, 40, len(data) // 2, len(data) - 4, len(data) - 1):
        assert not survive(data[:length], wanted)
    assert not survive(data + bytes(4), wanted)


def test_what_cannot_be_decoded(data):
    with pytest.raises(FormatError, match="bytes after its end"):
        photo_chain.decode_chain(data, sizes(PICTURES)[:-1])
    with pytest.raises(FormatError, match="has 392x40 pixels, not 392x41"):
        photo_chain.decode_chain(data, [(41, 392), *sizes(PICTURES)[1:]])
    for length in (b"\0", b"\xff\xff\xff\xff\x07", b"\xff\xff\xff\xff\x7f"):
        with pytest.raises(FormatError, match="a chain is damaged"):
            photo_chain.decode_chain(length + data, sizes(PICTURES))
    lossy = codec.encode(PICTURES[0], model="tiny")
    with pytest.raises(FormatError, match="is not exact"):
        photo_chain.decode_chain(pack_varint(len(lossy)) + lossy, sizes(PICTURES[:1]))
