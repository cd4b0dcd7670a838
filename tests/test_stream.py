"""StreamDecoder: pictures while the bytes arrive."""

from __future__ import annotations

import random
import warnings

import numpy as np
import pytest
from conftest import layers_of, render, rewritten

from hcodec import container, memory, stream
from hcodec.codec import decode, encode
from hcodec.errors import FormatError, HcodecWarning, ModelError, PictureError, TruncatedError
from hcodec.models.photo.walk import LatentSteps
from hcodec.pixels.picture import psnr
from hcodec.stream import StreamDecoder


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error", HcodecWarning)
        yield


@pytest.fixture(scope="module")
def data(picture) -> bytes:
    alpha = render(96, 128, 7)[..., 0]
    return encode(np.dstack([picture, alpha]), model="tiny")


@pytest.fixture(scope="module")
def ends(data) -> list[int]:
    return [level.prefix_bytes for level in container.info(data).levels]


def pixels(decoder):
    return np.asarray(decoder.image())


def test_pieces_of_any_size_give_the_same(data):
    wanted = np.asarray(decode(data))
    for seed in range(4):
        source, decoder, position, completed = random.Random(seed), StreamDecoder(), 0, 0
        while position < len(data):
            piece = data[position : position + source.choice((0, 1, 3, 50, 700))]
            completed += decoder.feed(piece)
            position += len(piece)
        assert completed == decoder.levels_decoded == 3 and (pixels(decoder) == wanted).all()
        decoder.close()


def test_feed_tells_which_levels_became_whole(data, ends):
    decoder = StreamDecoder()
    assert decoder.header is None and decoder.levels_decoded == 0
    assert decoder.feed(data[: ends[0] - 1]) == 0 and decoder.header.width == 128
    assert decoder.feed(data[ends[0] - 1 : ends[0]]) == 1
    assert decoder.feed(data[ends[0] : ends[2]]) == 2 and decoder.levels_decoded == 3
    assert decoder.feed(data[ends[2] :]) == 0


def test_no_picture_before_the_first_level(data, ends):
    decoder = StreamDecoder()
    for begin, end in ((0, 0), (0, 5), (5, 50), (50, ends[0] - 1)):
        decoder.feed(data[begin:end])
        with pytest.raises(TruncatedError, match="the first level has not arrived yet"):
            decoder.image()


def test_looking_does_not_disturb(data, ends):
    """A picture with half a layer in it, however often it is asked for, leaves no trace in the next."""
    looking, waiting = StreamDecoder(), StreamDecoder()
    for begin in range(0, len(data), 100):
        looking.feed(data[begin : begin + 100])
        waiting.feed(data[begin : begin + 100])
        if begin > ends[0]:
            assert (pixels(looking) == pixels(looking)).all()
            assert looking.levels_decoded == waiting.levels_decoded
    assert (pixels(looking) == pixels(waiting)).all() and (pixels(waiting) == np.asarray(decode(data))).all()


def test_a_level_is_decoded_once(data, ends, monkeypatch):
    """State is kept: what a new layer costs does not depend on those before it."""
    advanced = []
    true = LatentSteps.advance
    monkeypatch.setattr(LatentSteps, "advance", lambda latent, *given: advanced.append(latent.level) or true(latent, *given))
    decoder = StreamDecoder()
    for begin, end in zip([0, *ends], [*ends, len(data)], strict=True):
        decoder.feed(data[begin:end])
    assert advanced == [1, 1, 2, 3]


def test_what_was_foreseen_for_a_picture_serves_the_next_level(data, ends, monkeypatch):
    foreseen, true = [], LatentSteps.prior
    monkeypatch.setattr(LatentSteps, "prior", lambda latent, state: foreseen.append(latent.index) or true(latent, state))
    decoder, shown = StreamDecoder(), []
    for begin, end in zip([0, *ends], [*ends, len(data)], strict=True):
        decoder.feed(data[begin:end])
        shown += [pixels(decoder), pixels(decoder)]
    assert foreseen == [0, 1, 2, 3, 3, 3]  # the last latent twice for level 1, whose picture is asked for twice
    for level in (1, 2, 3):
        assert all((one == np.asarray(decode(data, levels=level))).all() for one in shown[2 * level - 2 : 2 * level])


def test_the_first_pictures_are_quick(picture, monkeypatch):
    """As long as more is to come they are nearly as good as those that take longer, which close a stream."""
    monkeypatch.setattr(stream, "_SLOW", 0)
    data = encode(picture, lossless=False)
    decoder, start = StreamDecoder(), 0
    for level, end in enumerate(container.info(data).levels, 1):
        decoder.feed(data[start : end.prefix_bytes])
        start = end.prefix_bytes
        quick, long = pixels(decoder), np.asarray(decode(data, levels=level))
        assert psnr(quick, picture) > psnr(long, picture) - 0.2
        assert (quick == long).all() == (level == 7)
    early = StreamDecoder()
    early.feed(data[: container.info(data).levels[1].prefix_bytes])
    with pytest.raises(TruncatedError):
        early.close()
    assert (pixels(early) == np.asarray(decode(data, levels=2))).all()


def test_alpha_comes_with_the_first_level(data, ends):
    decoder = StreamDecoder()
    decoder.feed(data[: ends[0]])
    assert decoder.image().mode == "RGBA"
    assert (pixels(decoder)[..., 3] == np.asarray(decode(data))[..., 3]).all()


def test_close_says_what_is_missing(data, ends):
    decoder = StreamDecoder()
    with pytest.raises(TruncatedError, match="inside its header"):
        decoder.close()
    decoder.feed(data[: ends[1] + 3])
    with pytest.raises(TruncatedError, match="with 2 of 3 layers"):
        decoder.close()
    decoder.feed(data[ends[1] + 3 :])
    decoder.close()


def test_a_damaged_layer_ends_decoding_with_one_warning(data, ends):
    broken = bytearray(data)
    broken[ends[1] - 1] ^= 0x10
    decoder = StreamDecoder()
    with pytest.warns(HcodecWarning, match="layer 2 is damaged") as caught:
        completed = sum(decoder.feed(bytes(broken[begin : begin + 60])) for begin in range(0, len(broken), 60))
    assert len(caught) == 1 and completed == decoder.levels_decoded == 1
    assert (pixels(decoder) == np.asarray(decode(data, levels=1))).all()
    decoder.close()  # nothing is missing


def test_a_damaged_first_layer_is_told_apart_from_a_missing_one(data, ends):
    broken = bytearray(data)
    broken[ends[0] - 1] ^= 1
    decoder = StreamDecoder()
    with pytest.warns(HcodecWarning, match="layer 1 is damaged"):
        decoder.feed(bytes(broken))
    with pytest.raises(FormatError, match="layer 1 is damaged"):
        decoder.image()


def test_a_malformed_layer_ends_decoding_with_one_warning(data):
    layers = layers_of(data)
    broken = rewritten(data, [layers[0], [layers[1][0] + b"\1\0\0\0"], layers[2]])
    decoder = StreamDecoder()
    with pytest.warns(HcodecWarning, match="level 2 is malformed") as caught:
        assert sum(decoder.feed(broken[begin : begin + 60]) for begin in range(0, len(broken), 60)) == 1
    assert len(caught) == 1 and (pixels(decoder)[..., :3] == np.asarray(decode(data, levels=1))[..., :3]).all()


def test_the_beginning_of_a_malformed_layer_does_no_harm(data):
    layers = layers_of(data)
    broken = rewritten(data, [layers[0], [bytes(8) + layers[1][0]]])
    end = container.info(broken).levels[0].prefix_bytes
    decoder = StreamDecoder()
    decoder.feed(broken[: end + 12])
    with pytest.warns(HcodecWarning, match="level 2 is malformed") as caught:
        for _ in range(2):
            assert (pixels(decoder) == np.asarray(decode(data, levels=1))[..., :3]).all()
    assert len(caught) == 1 and decoder.feed(broken[end + 12 :]) == 0


def test_a_cut_layer(data):
    cut = container.truncate(data, num_bytes=len(data) - 200)
    decoder = StreamDecoder()
    assert decoder.feed(cut) == 2 and decoder.header.cut
    assert (pixels(decoder) == np.asarray(decode(cut))).all()
    decoder.close()


def test_strangers_are_refused(data, monkeypatch):
    with pytest.raises(FormatError, match="not an hcodec file"):
        StreamDecoder().feed(b"GIF89a")
    layers = layers_of(data)
    unknown, many = rewritten(data, layers, fingerprint=b"none"), rewritten(data, [*layers, [b""], [b""]])
    for broken, error, match in (
        (unknown, ModelError, "fingerprint"),
        (many, FormatError, "5 levels, 2 coarse; its model has others"),
    ):
        decoder = StreamDecoder()
        with pytest.raises(error, match=match):
            decoder.feed(broken)
        with pytest.raises(TruncatedError):
            decoder.image()
    with pytest.raises(ModelError, match="unknown device"):
        StreamDecoder("abacus").feed(data)
    monkeypatch.setattr(memory, "free_bytes", lambda: 1000)
    with pytest.raises(PictureError, match="megapixels need"):
        StreamDecoder().feed(data)
