"""Pictures through the lossless layer and back: every pixel, whatever the picture, the way and the machine's settings."""

from __future__ import annotations

import io
import warnings
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from conftest import TINY_STARTS, render
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

import hcodec
from hcodec import codec, container, models
from hcodec.coders import levels as level_coder
from hcodec.coders import lossless, tiles
from hcodec.coders.tiles import Source
from hcodec.coding.stack import Stack
from hcodec.container import lossless_layer
from hcodec.container.lossless_layer import BITS_BACK, DIRECT, METHODS, STORED, LosslessLayer, Tile
from hcodec.errors import FormatError, HcodecError, HcodecWarning, ModelError, TruncatedError
from hcodec.models import registry
from hcodec.models.lossless.integer import TileWalk
from hcodec.pixels.picture import Picture, to_tensor

WAYS = (False, True)  # without and with fine latents


@pytest.fixture(autouse=True)
def no_warnings():
    """Nothing may warn unless a test says so."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", HcodecWarning)
        yield


def encode_forced(pixels, with_latents, model="tiny", **options):
    """Returns file and report of a picture coded by the network, with or without fine latents, from the first start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "estimate", lambda *arguments: 2.0 if arguments[-1] and not with_latents else 1.0 - arguments[-1])
        patch.setattr(lossless, "_stored", lambda *_: None)
        return codec.encode_lossless(pixels, model=model, **options)


def source_of(pixels, start=2, gray=False):
    """Returns what the lossless layer of a picture starts from."""
    _, prefix = next(islice(level_coder.each_level(models.load("tiny"), to_tensor(pixels)), start - 1, None))
    return Source(prefix.at_finest(), start, gray)


def last_model():
    return registry.load_lossless(models.load("tiny").fingerprint)


def last_of(data):
    """Returns the parts of a file's lossless layer."""
    reader = container.Reader()
    reader.feed(data)
    return lossless_layer.parse(reader.lossless[0], reader.header.height, reader.header.width)


def decoded(data, **options):
    return np.asarray(hcodec.decode(data, **options))


def drawing(height=120, width=200):
    """Returns something like a screenshot: flat areas, lines, letters."""
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    draw.rectangle((10, 10, width // 2, 40), fill=(30, 60, 120))
    draw.text((15, 18), "lossless 0123456789", fill="white")
    for i in range(5):
        draw.line((0, 50 + 12 * i, width, 50 + 12 * i), fill=(200, 200, 205))
        draw.text((12, 52 + 12 * i), f"row {i}: {i * 37 % 101}", fill="black")
    return np.asarray(image)


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


# Every pixel

SIZES = [(1, 1), (1, 2), (1, 390), (390, 1), (7, 9), (8, 8), (9, 7), (63, 65), (130, 5), (128, 136), (17, 400)]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_round_trip_at_any_size(height, width):
    pixels = render(height, width)
    data = hcodec.encode(pixels, lossless=True, model="tiny")
    assert (decoded(data) == pixels).all()
    for with_latents in WAYS:
        assert (decoded(encode_forced(pixels, with_latents)[0]) == pixels).all()


@pytest.mark.parametrize("name", ["black", "white", "one color", "noise", "drawing", "extremes"])
def test_round_trip_of_any_content(name):
    pixels = {
        "black": np.zeros((60, 400, 3), np.uint8),
        "white": np.full((60, 400, 3), 255, np.uint8),
        "one color": np.tile(np.uint8([13, 200, 77]), (60, 400, 1)),
        "noise": noise(24, 400),
        "drawing": drawing(),
        "extremes": np.uint8(255) * (noise(24, 400) & 1),
    }[name]
    data = hcodec.encode(pixels, lossless=True, model="tiny")
    assert (decoded(data) == pixels).all()
    assert (decoded(encode_forced(pixels, True)[0]) == pixels).all()
    assert len(data) <= len(codec.encode(pixels, levels=1, model="tiny")) + pixels.size + 12


def test_noise_costs_hardly_more_than_its_samples():
    pixels = noise(512, 512)
    data, report = codec.encode_lossless(pixels, model="tiny")
    assert report.method == "stored" and (decoded(data) == pixels).all()
    assert len(data) <= 1.01 * pixels.size


def test_gray_pictures_code_one_plane():
    plane = render(40, 400)[..., 1]
    for with_latents in WAYS:
        data, report = encode_forced(plane, with_latents)
        assert container.info(data).gray and (decoded(data) == plane).all()
        assert report.method == METHODS[BITS_BACK if with_latents else DIRECT]
    assert (decoded(hcodec.encode(plane, lossless=True, model="tiny")) == plane).all()
    color = encode_forced(np.repeat(plane[..., None], 3, 2).copy(), False)[1]
    assert 1.2 * encode_forced(plane, False)[1].gross_bits < color.gross_bits


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_and_what_it_hides_are_kept(mode):
    rgba = np.dstack([drawing(40, 60), np.arange(60, dtype=np.uint8) * np.ones((40, 1), np.uint8) * 4])
    image = Image.fromarray(rgba, "RGBA").convert(mode)
    data = hcodec.encode(image, lossless=True, model="tiny")
    found = hcodec.decode(data)
    assert found.mode == mode and (np.asarray(found) == np.asarray(image)).all()


def test_metadata_stay():
    image, file, exif = Image.fromarray(drawing()), io.BytesIO(), Image.Exif()
    exif[0x010E] = "hello"
    image.save(file, "PNG", exif=exif)
    data = hcodec.encode(file.getvalue(), lossless=True, model="tiny")
    assert hcodec.decode(data).getexif()[0x010E] == "hello" and (decoded(data) == drawing()).all()


# Levels and prefixes


@pytest.mark.parametrize("with_latents", WAYS)
def test_the_levels_are_those_of_an_ordinary_file(with_latents):
    pixels = render(40, 400)
    plain = hcodec.encode(pixels, model="tiny")
    for levels in (2, 3):
        data, report = encode_forced(pixels, with_latents, levels=levels)
        assert report.start == 2 and len(container.info(data).levels) == levels
        for level in range(1, levels + 1):
            assert container.truncate(data, levels=level) == container.truncate(plain, levels=level)
            assert (decoded(data, levels=level) == decoded(plain, levels=level)).all()
        limit = container.info(plain).levels[levels - 1].prefix_bytes - 30
        assert container.truncate(data, num_bytes=limit) == container.truncate(container.truncate(plain, levels=levels),
                                                                               num_bytes=limit)  # fmt: skip
        assert container.truncate(data) == container.truncate(data, num_bytes=len(data)) == data


def test_levels_none_keeps_those_that_the_layer_needs():
    pixels = render(40, 400)
    for with_latents in WAYS:
        data, report = encode_forced(pixels, with_latents)
        assert len(container.info(data).levels) == report.start == 2
    data, report = codec.encode_lossless(np.zeros((64, 64, 3), np.uint8), model="tiny")
    assert (report.method, report.start, len(container.info(data).levels)) == ("stored", 1, 1)
    assert codec.encode_lossless(noise(32, 32), levels=3, model="tiny")[1].start == 1  # stored needs no level


def test_levels_that_cannot_be(monkeypatch):
    pixels = render(16, 16)
    with pytest.raises(HcodecError, match="builds on level 2 or"):
        hcodec.encode(pixels, lossless=True, levels=1, model="tiny")
    with pytest.raises(TruncatedError, match="4 levels were asked for, there are 3"):
        hcodec.encode(pixels, lossless=True, levels=4, model="tiny")
    for target in ("target_bpp", "target_size", "target_psnr"):
        with pytest.raises(HcodecError, match="exclude each other"):
            hcodec.encode(pixels, lossless=True, model="tiny", **{target: 5})
    data = encode_forced(pixels, False)[0]
    with pytest.raises(TruncatedError, match="3 levels were asked for, there are 2"):
        decoded(data, levels=3)
    monkeypatch.setattr(registry, "LOSSLESS", replace(registry.LOSSLESS, folder="nowhere"))
    with pytest.raises(ModelError, match="no lossless layer is installed for the model"):
        hcodec.encode(pixels, lossless=True, model="tiny")
    with pytest.warns(HcodecWarning, match="no lossless layer with the fingerprint .* it was ignored"):
        assert (decoded(data) == decoded(data, levels=2)).all()
    with pytest.raises(ModelError):
        decoded(data, strict=True)


@pytest.mark.parametrize("with_latents", WAYS)
def test_the_picture_grows_exact_as_the_file_arrives(with_latents):
    pixels = render(24, 400)
    data, _ = encode_forced(pixels, with_latents, levels=3)
    decoder, ends = hcodec.StreamDecoder(), [level.prefix_bytes for level in container.info(data).levels]
    for begin, end in zip([0, *ends, (ends[-1] + len(data)) // 2], [*ends, (ends[-1] + len(data)) // 2, len(data)], strict=True):
        decoder.feed(data[begin:end])
        level = decoder.levels_decoded
        wanted = pixels if end == len(data) else decoded(data, levels=level)
        assert (np.asarray(decoder.image()) == wanted).all()
    decoder.close()
    with pytest.warns(HcodecWarning, match="the file ends after"):
        assert (decoded(data[:-1]) == decoded(data, levels=3)).all()
    assert container.truncate(data[:-1]) == container.truncate(data, levels=3)


def test_info_tells_of_the_layer():
    pixels = render(24, 400)
    for with_latents in WAYS:
        data, report = encode_forced(pixels, with_latents)
        info = container.info(data)
        row = info.lossless
        assert (row.method, row.start, row.crc_ok) == (report.method, 2, True)
        assert row.num_bytes == row.present_bytes == len(report.data) and row.prefix_bytes == len(data)
        assert row.bpp == 8 * row.num_bytes / (24 * 400)
        cut = container.info(data[:-5]).lossless
        assert (cut.method, cut.start, cut.crc_ok, cut.present_bytes) == ("", 0, None, row.num_bytes - 5)
    assert container.info(hcodec.encode(pixels, model="tiny")).lossless is None
    assert container.info(hcodec.encode(np.zeros((9, 9, 3), np.uint8), lossless=True, model="tiny")).lossless.method == "stored"


# Tiles on the stack

LARGE = (24, 700)  # three tiles


@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("start", TINY_STARTS)
@pytest.mark.parametrize("with_latents", WAYS)
def test_the_stack_comes_out_even(with_latents, start, gray):
    pixels = render(*LARGE)
    pixels = np.repeat(pixels[..., :1], 3, 2).copy() if gray else pixels
    model, source, stack = last_model(), source_of(pixels, start, gray), Stack()
    pushed = tiles.push_picture(model, stack, source, pixels, with_latents)
    assert pushed.flags == ((True, True, False) if with_latents else (False,) * 3)
    net = pushed.gross_bits - pushed.refunded_bits
    assert abs(stack.num_bits - net) < 0.0005 * net + 64
    assert (pushed.refunded_bits > 0) == with_latents
    opened = Stack(stack.to_bytes())
    assert (tiles.pop_picture(model, opened, source, LARGE, pushed) == pixels).all()
    assert opened.is_empty


def test_memory_layout_changes_nothing():
    pixels, model = render(*LARGE), last_model()
    source = source_of(pixels)
    other = Source(source.state.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1), 2, False)
    stacks = Stack(), Stack()
    pushed = [tiles.push_picture(model, stack, s, pixels, True) for stack, s in zip(stacks, (source, other), strict=True)]
    assert stacks[0].to_bytes() == stacks[1].to_bytes() and pushed[0] == pushed[1]


@pytest.mark.parametrize("position", [(0, 0, 0), (1, 5, 7), (2, 20, 15)])
def test_one_unit_of_one_posterior_mean_is_detected(monkeypatch, position):
    data, _ = encode_forced(render(*LARGE), True)
    true = TileWalk.posterior

    def changed(walk, x, inside):
        mean, scale = true(walk, x, inside)
        mean = mean.clone()
        mean[position] += 1
        if tiles._located((mean, scale))[1][position] == tiles._located(true(walk, x, inside))[1][position]:
            mean[position] += 4  # coarse tables do not tell one unit from none: nothing would change
        return mean, scale

    lossy = decoded(data, levels=2)
    monkeypatch.setattr(TileWalk, "posterior", changed)
    with pytest.warns(HcodecWarning, match="the lossless layer"):
        assert (decoded(data) == lossy).all()
    with pytest.raises(FormatError, match="the lossless layer"):
        decoded(data, strict=True)


def test_estimates_are_near_what_is_coded():
    pixels = render(128, 128)
    model, source = last_model(), source_of(pixels)
    stack = Stack()
    tiles.push_picture(model, stack, source, pixels, False)
    assert tiles.estimate(model, source, pixels, False) == pytest.approx(stack.num_bits, rel=0.001)
    with_latents = tiles.estimate(model, source, pixels, True)
    large = np.tile(pixels, (1, 3, 1))  # three such pictures, two of them with latents
    pushed = tiles.push_picture(model, Stack(), source_of(large), large, True)
    assert sum(pushed.flags) == len(pushed.flags) - 1
    assert (pushed.gross_bits - pushed.refunded_bits) / 3 == pytest.approx(with_latents, rel=0.1)


def test_the_last_layer_follows_the_float_network():
    """The integers are near what was trained; without that, certified nonsense would pass every other test."""
    pixels = render(64, 64)
    model, source = last_model(), source_of(pixels)
    exact = TileWalk(model.network, source.state, 0)
    shown = exact.shown[0].numpy() / 8
    rendered = decoded(hcodec.encode(pixels, levels=2, model="tiny"))[..., list(model.order)]
    assert np.abs(shown - rendered).mean() < 0.1 * np.abs(rendered - 128.0).mean()


# The bytes of the layer


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 3000), st.integers(1, 3000))
def test_tiles_cover_the_picture_once_and_are_of_like_size(height, width):
    found = lossless_layer.tiles(height, width)
    assert sum(tile.height * tile.width for tile in found) == height * width
    assert all(tile.top % 8 == tile.left % 8 == 0 and tile.height > 0 < tile.width for tile in found)
    assert max(max(tile.height, tile.width) for tile in found) <= 384 + 7
    rows = sorted({tile.top for tile in found}), sorted({tile.left for tile in found})
    assert [(tile.top, tile.left) for tile in found] == [(top, left) for top in rows[0] for left in rows[1]]
    assert max(np.diff([*rows[0], height])) - min(np.diff([*rows[0], height])) <= 15


def test_the_index_of_a_tile():
    tile = Tile(8, 16, 9, 8)
    assert np.arange(40 * 40).reshape(40, 40)[tile.inside].shape == (9, 8)
    assert torch.zeros(1, 5, 5, 2)[tile.cells].shape == (1, 2, 1, 2)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_the_parts_of_a_layer_come_back(data):
    height, width = data.draw(st.integers(1, 900)), data.draw(st.integers(1, 900))
    count = len(lossless_layer.tiles(height, width))
    method = data.draw(st.sampled_from([DIRECT, BITS_BACK]))
    flags = data.draw(st.lists(st.booleans(), min_size=count, max_size=count)) if method == BITS_BACK else [False] * count
    crcs = data.draw(st.lists(st.integers(0, 2**32 - 1), min_size=count, max_size=count))
    parts = LosslessLayer(method, data.draw(st.binary(max_size=30)), data.draw(st.integers(1, 31)), b"abcd", flags, crcs)
    assert lossless_layer.parse(parts.pack(), height, width) == parts
    stored = LosslessLayer(STORED, data.draw(st.binary(max_size=30)))
    assert lossless_layer.parse(stored.pack(), height, width) == stored


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.integers(1, 900), st.integers(1, 900))
def test_any_bytes_are_a_layer_or_refused(data, height, width):
    try:
        parts = lossless_layer.parse(data, height, width)
    except FormatError:
        return
    assert parts.pack() == data


def test_a_picture_object_can_be_given():
    pixels = render(20, 30)
    data, _ = codec.encode_lossless(Picture(pixels), model="tiny")
    assert (codec.decode_picture(data).pixels == pixels).all()
