"""Chains of photographs on one stack: every pixel of every picture, damage that is ours to name, and what chaining saves."""

from __future__ import annotations

import random

import numpy as np
import pytest
from conftest import render

from hcodec import models
from hcodec.coders import photo_chain, tiles
from hcodec.container.fields import Cursor
from hcodec.container.lossless_layer import count_tiles
from hcodec.errors import FormatError, HcodecError, ModelError
from hcodec.models import registry

PICTURES = [render(40, 392), render(9, 7, 1), render(24, 400, 2)[..., 0], np.zeros((1, 1, 3), np.uint8), render(64, 64, 3)]


def sizes(pictures):
    return [pixels.shape[:2] for pixels in pictures]


def same(found, pixels):
    return (found == (pixels if pixels.ndim == 3 else pixels[..., None])).all() and found.shape == (*pixels.shape[:2], 3)


@pytest.fixture(scope="module")
def data():
    return photo_chain.encode_chain(PICTURES, "tiny")


def test_round_trip(data):
    found = photo_chain.decode_chain(data, sizes(PICTURES), "tiny")
    assert all(same(a, b) for a, b in zip(found, PICTURES, strict=True))
    for pixels in PICTURES:
        (alone,) = photo_chain.decode_chain(photo_chain.encode_chain([pixels], "tiny"), sizes([pixels]), "tiny")
        assert same(alone, pixels)
    assert data[:4] == registry.load_lossless(models.load("tiny").fingerprint).fingerprint


def test_a_chain_is_shorter_than_its_pictures_apart(data):
    assert len(data) < sum(len(photo_chain.encode_chain([pixels], "tiny")) for pixels in PICTURES)


def test_fine_latents_are_used_from_the_first_tile_on_once_the_stack_holds_bits(monkeypatch):
    monkeypatch.setattr(tiles, "estimate", lambda *arguments: 1.0 - arguments[-1])
    pictures = [render(24, 64, seed) for seed in range(4)]
    data = photo_chain.encode_chain(pictures, "tiny")
    cursor = Cursor(data, "a chain", position=4)
    flags = [photo_chain._parse_head(cursor, count_tiles(*size))[2] for size in sizes(pictures)]
    assert flags == [[True]] * 3 + [[False]]  # the last picture is coded first
    assert all(same(a, b) for a, b in zip(photo_chain.decode_chain(data, sizes(pictures), "tiny"), pictures, strict=True))


def test_nothing_is_no_picture():
    assert photo_chain.decode_chain(photo_chain.encode_chain([], "tiny"), [], "tiny") == []


def survive(data, wanted):
    """Returns whether pictures came out; any exception that is not ours ends the test."""
    try:
        found = photo_chain.decode_chain(data, wanted, "tiny")
    except HcodecError as error:
        assert str(error) and "\n" not in str(error)
        return False
    assert [pixels.shape for pixels in found] == [(*size, 3) for size in wanted]
    return True


def test_damage_is_refused_or_gives_pixels_that_checksums_tell(data):
    source, wanted = random.Random(1), sizes(PICTURES)
    for number in range(40):
        broken = bytearray(data)
        start = source.randrange(4 if number % 2 else 0, min(len(broken), 40 if number % 4 else len(broken)))
        broken[start : start + source.choice((0, 1, 4))] = source.randbytes(source.choice((1, 4)))
        survive(bytes(broken), wanted)
    for length in (0, 3, 4, 5, 9, 10, 11, 16, 40, len(data) // 2, len(data) - 4, len(data) - 1):
        assert not survive(data[:length], wanted)
    assert not survive(data + bytes(4), wanted)


def test_what_cannot_be_decoded(data):
    with pytest.raises(ModelError):
        photo_chain.decode_chain(b"none" + data[4:], sizes(PICTURES), "tiny")
    with pytest.raises(FormatError, match="level"):
        photo_chain.decode_chain(data[:4] + b"\xff" + data[5:], sizes(PICTURES), "tiny")
    with pytest.raises(FormatError):
        photo_chain.decode_chain(data, sizes(PICTURES)[:-1], "tiny")
    with pytest.raises(FormatError):
        photo_chain.decode_chain(data, [(41, 392), *sizes(PICTURES)[1:]], "tiny")
