"""Pixels of tiles on stacks of their own and back, and the bytes of the lossless layer; no files here."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from conftest import TINY_STARTS, render
from hypothesis import given, settings
from hypothesis import strategies as st

from hcodec import models
from hcodec.coders import levels, lossless, tiles
from hcodec.coders.lossless import Candidate
from hcodec.coders.tiles import Source
from hcodec.container import lossless_layer
from hcodec.container.lossless_layer import CODED, STORED, LosslessLayer, Tile
from hcodec.errors import FormatError, HcodecError
from hcodec.models import registry
from hcodec.models.photo.prefix import Prefix, posterior, sampled, synthesize
from hcodec.models.photo.walk import analyze
from hcodec.models.runtime import threads
from hcodec.models.runtime.backend import Backend

LARGE = (24, 700)  # three tiles
SIZES = [(1, 1), (1, 2), (1, 390), (390, 1), (7, 9), (8, 8), (9, 7), (63, 65), (130, 5), (128, 136), (17, 400), (390, 390)]


def prefixes(pixels, name="tiny"):
    """Yields what each level leaves of a picture."""
    model = models.load(name)
    wanted = posterior(model.walk.steps, analyze(model.config, model.walk.steps, pixels, sorted(model.config.width)))
    prefix = Prefix.empty(model.walk, *pixels.shape[:2])
    while True:
        _, prefix = levels.encoded(levels.tables_of(model), prefix, wanted)
        yield prefix


def source_of(pixels, start=2, gray=False, name="tiny"):
    """Returns what the lossless layer of a picture starts from."""
    return Source(next(islice(prefixes(pixels, name), start - 1, None)).at_finest(), start, gray)


def last_model():
    return registry.load_lossless(models.load("tiny").fingerprint)


def layer_of(pixels, start=2, gray=False):
    """Returns the lossless layer of a picture, coded by the network, and the states that it may build on."""
    source, model = source_of(pixels, start, gray), last_model()
    stacks, crcs = tiles.encode(model, source, pixels), tiles.checksums(pixels)
    return LosslessLayer(CODED, b"", start, model.fingerprint, crcs, stacks), {start: source.state}


def decoded(layer, states, size, gray=False, **options):
    data = layer.pack() if isinstance(layer, LosslessLayer) else layer
    return lossless.decode(models.load("tiny").fingerprint, data, states.__getitem__, size, gray, **options)


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


# Every pixel


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_round_trip_at_any_size(height, width):
    pixels = render(height, width)
    layer, states = layer_of(pixels)
    assert (decoded(layer, states, (height, width)) == pixels).all()


@pytest.mark.parametrize("start", TINY_STARTS)
@pytest.mark.parametrize("gray", [False, True])
def test_round_trip_from_every_start(start, gray):
    pixels = render(*LARGE)
    pixels = np.repeat(pixels[..., :1], 3, 2).copy() if gray else pixels
    layer, states = layer_of(pixels, start, gray)
    assert len(layer.stacks) == 3 and (decoded(layer, states, LARGE, gray) == pixels).all()
    if gray:
        assert 1.2 * sum(map(len, layer.stacks)) < sum(map(len, layer_of(pixels, start)[0].stacks))


@pytest.mark.parametrize("pixels", [noise(24, 400), np.uint8(255) * (noise(24, 400) & 1), np.zeros((60, 400, 3), np.uint8)])
def test_round_trip_of_any_content(pixels):
    layer, states = layer_of(pixels)
    assert (decoded(layer, states, pixels.shape[:2]) == pixels).all()


@pytest.mark.parametrize(
    ("pixels", "method"), [(render(40, 400), "coded"), (noise(64, 400), "stored"), (np.zeros((64, 64, 3), np.uint8), "stored")]
)
def test_the_shortest_way_is_found(pixels, method):
    candidates = (Candidate(i, prefix, 100.0 * i) for i, prefix in enumerate(islice(prefixes(pixels), 3), 1))
    base = models.load("tiny").fingerprint
    code = lossless.encode(base, candidates, pixels, False, lambda start: 0)
    assert code.method == method
    states = {i: prefix.at_finest() for i, prefix in enumerate(islice(prefixes(pixels), 3), 1)}
    assert (decoded(code.data, states, pixels.shape[:2]) == pixels).all()
    assert len(code.data) <= pixels.size + 12
    with pytest.raises(HcodecError, match="builds on level 2 or"):
        lossless.encode(base, [Candidate(1, next(prefixes(pixels)), 0.0)], pixels, False, lambda start: 0)


def test_estimates_are_near_what_is_coded():
    pixels = render(128, 128)
    source, model = source_of(pixels), last_model()
    (stack,) = tiles.encode(model, source, pixels)
    assert tiles.estimate(model, source, pixels) == pytest.approx(8 * len(stack), rel=0.002)


# Independent tiles


def test_neither_threads_nor_memory_layout_change_a_byte():
    pixels, source, model = render(*LARGE), source_of(render(*LARGE)), last_model()
    other = replace(source, state=np.ascontiguousarray(source.state.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1))
    wanted = tiles.encode(model, source, pixels)
    count = threads.num_processors()
    try:
        for count_now in (1, 2):
            threads.set_threads(count_now)
            assert tiles.encode(model, other, pixels) == wanted
    finally:
        threads.set_threads(count)


def test_a_region_needs_its_tiles_only():
    pixels = render(390, 390)  # two by two tiles
    layer, states = layer_of(pixels)
    tile = lossless_layer.tiles(390, 390)[1]
    state = np.full_like(states[2], np.nan)
    state[tile.cells] = states[2][tile.cells]
    broken = replace(layer, stacks=[b"", layer.stacks[1], b"abcd", b""])
    for region in (tile.inside, (slice(3, 9), slice(200, 390))):
        assert (decoded(broken, {2: state}, (390, 390), region=region) == pixels[region]).all()
    with pytest.raises(FormatError):
        decoded(broken, states, (390, 390), region=(slice(0, 9), slice(190, 390)))
    stored = bytes([STORED, 1]) + pixels.tobytes()
    assert (decoded(stored, {}, (390, 390), region=tile.inside) == pixels[tile.inside]).all()


def test_what_touches_what():
    tile = Tile(8, 16, 8, 8)
    touching, apart = [((15, 99), (23, 99)), ((0, 9), (0, 17))], [((16, 99), (16, 24)), ((0, 9), (0, 16))]
    for wanted, (rows, columns) in [(True, one) for one in touching] + [(False, one) for one in apart]:
        assert tile.touches((slice(*rows), slice(*columns))) == wanted


def test_a_damaged_tile_is_noticed():
    pixels = render(*LARGE)
    layer, states = layer_of(pixels)
    for number, stack in enumerate(layer.stacks):
        for harmed in (stack[:-4], stack + b"\1\0\0\0", stack[:-1], b"", stack[:40] + bytes([stack[40] ^ 1]) + stack[41:]):
            stacks = [harmed if i == number else other for i, other in enumerate(layer.stacks)]
            with pytest.raises(FormatError):
                decoded(replace(layer, stacks=stacks), states, LARGE)
    with pytest.raises(FormatError, match="the tile at 232,0 has a wrong checksum"):
        decoded(replace(layer, crcs=[layer.crcs[0], 1, layer.crcs[2]]), states, LARGE)
    for start in (1, 4, 31):
        with pytest.raises(FormatError, match=f"builds on level {start}, which it cannot"):
            decoded(replace(layer, start=start), states, LARGE)


@pytest.mark.parametrize("channel", [0, 2])
def test_one_unit_of_one_mean_is_detected(monkeypatch, channel):
    pixels = render(24, 24)
    layer, states = layer_of(pixels)
    true = tiles._TileCoder.prediction

    def changed(coder, site):
        prediction = true(coder, site)
        if (site.pitch, site.channel) == (1, channel):
            prediction.mean[5, 5] += 8
        return prediction

    monkeypatch.setattr(tiles._TileCoder, "prediction", changed)
    with pytest.raises(FormatError):
        decoded(layer, states, (24, 24))


# The network


def test_graphs_and_torch_give_the_same_bytes():
    pixels, base = render(40, 300), models.load("photo-1")
    source = source_of(pixels, 3, name="photo-1")
    ways = [registry.load_lossless(base.fingerprint, backend=Backend(name, "cpu")) for name in ("onnx", "torch")]
    stacks = [tiles.encode(way, source, pixels) for way in ways]
    assert stacks[0] == stacks[1]
    coded = list(zip(lossless_layer.tiles(40, 300), stacks[0], tiles.checksums(pixels), strict=True))
    for way in ways:
        (part,) = tiles.decode(way, source, coded)
        assert (part == pixels).all()


def test_the_layer_follows_the_float_network():
    """The integers are near what was trained; without that, certified nonsense would pass every other test."""
    pixels, model = render(64, 64), last_model()
    prefix = next(islice(prefixes(pixels), 1, None))
    maps = model.steps("begin", prefix.at_finest(), model.embed[0])[1].reshape(8, 8, 8, 8, 6).swapaxes(1, 2).reshape(64, 64, 6)
    shown = maps[..., :3] / 8 + 128
    rendered = 255 * synthesize(prefix.walk, prefix.completed(sampled()), 2)[..., [1, 0, 2]].clip(0, 1)
    assert np.abs(shown - rendered).mean() < 0.1 * np.abs(rendered - 128).mean()


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
    assert np.zeros((1, 5, 5, 2))[tile.cells].shape == (1, 2, 1, 2)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_the_parts_of_a_layer_come_back(data):
    height, width = data.draw(st.integers(1, 900)), data.draw(st.integers(1, 900))
    count = len(lossless_layer.tiles(height, width))
    crcs = data.draw(st.lists(st.integers(0, 2**32 - 1), min_size=count, max_size=count))
    stacks = data.draw(st.lists(st.binary(max_size=30), min_size=count, max_size=count))
    parts = LosslessLayer(CODED, b"", data.draw(st.integers(1, 31)), b"abcd", crcs, stacks)
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


@pytest.mark.parametrize(
    "length", [b"\xff\xff\xff\xff\x07", b"\xff\xff\xff\xff\x7f", b"\x80\x80\x80\x80\x80\x80", b"\x85\x00", b"\x0d", b"\x0b"]
)
def test_lengths_that_lie_take_no_memory(length):
    layer = bytes([CODED, 3]) + b"abcd" + length + bytes(4) + bytes(12)
    assert lossless_layer.parse(layer.replace(length, b"\x0c"), 8, 8).stacks == [bytes(12)]
    with pytest.raises(FormatError):
        lossless_layer.parse(layer, 8, 8)
    with pytest.raises(FormatError):
        lossless_layer.parse(layer, 1 << 24, 128)
