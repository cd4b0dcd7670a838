"""The post filter: filters fitted to a picture, sent with its layers."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import render

from hcodec import codec, container, models
from hcodec.codec import decode, encode
from hcodec.coders import levels, scale_offsets
from hcodec.coders import post_filter as coder
from hcodec.coding.stack import Stack, stacked
from hcodec.coding.tables import SymbolTables
from hcodec.effort import encode_layers
from hcodec.errors import FormatError, HcodecWarning
from hcodec.models.photo import post_filter
from hcodec.models.photo.post_filter import Fit, PostFilter
from hcodec.pixels import picture
from hcodec.stream import StreamDecoder


def noisy(height: int, width: int, seed: int = 1) -> np.ndarray:
    """A picture such as the tiny model has never seen: soft, with noise in one color."""
    random = np.random.default_rng(seed)
    pixels = np.asarray(picture.read(render(height, width, seed)).pixels, dtype=float)
    pixels = (pixels + np.roll(pixels, 1, 0) + np.roll(pixels, 1, 1) + np.roll(pixels, (1, 1), (0, 1))) / 4
    pixels[..., 2] += 12 * random.standard_normal((height, width))
    return pixels.clip(0, 255).astype(np.uint8)


def as_tensor(pixels: np.ndarray) -> torch.Tensor:
    return picture.to_tensor(np.ascontiguousarray(pixels))


def some_post_filter(grouping: int, seed: int = 3) -> PostFilter:
    random = np.random.default_rng(seed)
    return PostFilter(grouping, 1, random.integers(-8, 9, post_filter.num_symbols(grouping)).astype(np.int32))


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return noisy(192, 160)


@pytest.fixture(scope="module")
def data(pixels: np.ndarray) -> bytes:
    return encode(pixels, model="tiny")


# The filter


@pytest.mark.parametrize("grouping", range(len(post_filter.GROUPINGS)))
def test_weights_are_shared_by_the_bands_of_a_group(grouping):
    groups, weights = post_filter.GROUPINGS[grouping], some_post_filter(grouping).weights()
    assert weights.shape == (4, 3, 14) and post_filter.num_symbols(grouping) == 42 * len(groups)
    assert sorted(band for group in groups for band in group) == list(range(4 if groups else 0))
    for group in groups:
        step = 2.0 ** (-4 - group[-1]) * 2
        for band in group:
            assert torch.equal(weights[band], weights[group[0]])
            assert ((weights[band] / step) % 1 == 0).all() and weights[band].abs().max() > 0


def test_the_filter_that_changes_nothing():
    x = as_tensor(render(40, 50))
    assert torch.equal(post_filter.apply(x, torch.zeros(4, 3, 14)), x)
    assert torch.allclose(post_filter.apply(torch.full((1, 3, 9, 9), 0.25), some_post_filter(3).weights()), torch.tensor(0.25))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 30), (2, 3), (31, 1), (50, 41)])
def test_strips_do_not_show(height, width, monkeypatch):
    x, weights = as_tensor(render(height, width)), some_post_filter(3).weights()
    whole, fit = post_filter.apply(x, weights), Fit(x, x.flip(3))
    assert whole.shape == x.shape
    monkeypatch.setattr(post_filter, "_STRIP_PIXELS", 4 * width)
    torch.testing.assert_close(post_filter.apply(x, weights), whole)
    again = Fit(x, x.flip(3))
    torch.testing.assert_close(again.products, fit.products, rtol=1e-4, atol=1)
    assert again.num_pixels == fit.num_pixels == height * width


def test_mixed():
    first, second = some_post_filter(1).weights(), some_post_filter(3, seed=4).weights()
    assert post_filter.mixed(None, None, 0.3) is None
    torch.testing.assert_close(post_filter.mixed(first, second, 0.25), 0.75 * first + 0.25 * second)
    torch.testing.assert_close(post_filter.mixed(None, second, 0.25), 0.25 * second)
    torch.testing.assert_close(post_filter.mixed(first, None, 0.25), 0.75 * first)


# The fit


def test_what_a_filter_wins_is_foretold():
    x = as_tensor(noisy(130, 130))
    blurred, x = torch.nn.functional.avg_pool2d(x, 3, 1), x[:, :, 1:-1, 1:-1]
    x_hat = (x + blurred) / 2
    fit, before, won = Fit(x_hat, x), 255**2 * (x - x_hat).square().mean().item(), []
    for candidate, promised in fit.candidates(51):
        after = 255**2 * (x - post_filter.apply(x_hat, candidate.weights())).square().mean().item()
        assert abs(before - after - promised / 3) < 0.03 * before
        assert abs(candidate.symbols).max() <= 51
        won.append((candidate.grouping, promised))
    best = [max(promised for grouping, promised in won if grouping == each) for each in (1, 2, 3)]
    assert best == sorted(best) and best[-1] / 3 > 0.2 * before  # finer groupings win more


def test_limits_hold_where_there_is_nothing_to_fit():
    flat = torch.full((1, 3, 64, 64), 0.5)
    fit = Fit(flat, torch.ones_like(flat))
    for candidate, won in fit.candidates(5):
        assert not candidate.symbols.any() and won == 0


# In files


def test_it_lowers_the_error_at_every_level_that_has_one(pixels, data):
    model = models.load("tiny")
    errors = [[], []]
    for level, (_, plain) in enumerate(levels.each_level(model, as_tensor(pixels)), 1):
        for each, shown in zip(
            errors, (picture.from_tensor(plain.render()), np.asarray(decode(data, levels=level))), strict=True
        ):
            each.append(np.square(pixels.astype(float) - shown).mean())
    assert all(after <= before for before, after in zip(*errors, strict=True)) and errors[1][2] < 0.9 * errors[0][2]


def test_prefixes_carry_it_as_the_decoder_reads_it(pixels, data):
    layers = encode_layers(models.load("tiny"), pixels, 3, 1, None)
    assert layers[-1][1].post_filter is not None
    for level, (_, prefix) in enumerate(layers, 1):
        assert (picture.from_tensor(prefix.render()) == np.asarray(decode(data, levels=level))).all()


def test_only_a_search_looks_for_it_before_the_last_levels(pixels, monkeypatch):
    monkeypatch.setattr(coder, "_SHOWN_PIXELS", 0)
    model, soft = models.load("photo"), pixels // 2 + np.roll(pixels, 1, 1) // 2
    fast, thorough = (
        [prefix.post_filter is not None for _, prefix in encode_layers(model, soft, 7, effort, None)] for effort in (1, 2)
    )
    assert not any(fast[:4]) and all(fast[5:])
    assert any(thorough[:4]) and all(thorough[5:])


@pytest.mark.parametrize(("levels_shown", "wanted"), [(0, 3), (2.9, 3), (5, 5), (5.9, 5), (100, 7)])
def test_of_small_pictures_more_levels_get_one(pixels, monkeypatch, levels_shown, wanted):
    fits = []
    monkeypatch.setattr(coder, "_SHOWN_PIXELS", round(levels_shown * 192 * 160))
    monkeypatch.setattr(post_filter, "Fit", lambda *pictures: fits.append(pictures) or Fit(*pictures))
    encode_layers(models.load("photo"), pixels, 7, 1, None)
    assert len(fits) == wanted


@pytest.mark.parametrize(("height", "step"), [(300, 1), (512, 2), (1024, 4)])
def test_some_of_the_rows_say_nearly_what_all_say(height, step, monkeypatch):
    x = as_tensor(noisy(height, 256))
    x_hat = (x + torch.nn.functional.avg_pool2d(torch.nn.functional.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)) / 2
    fit = Fit(x_hat, x)
    assert fit.step == step and fit.num_pixels == height // step * 256
    monkeypatch.setattr(post_filter, "_step", lambda x: 1)
    best, best_of_all = (max(won for _, won in each.candidates(51)) for each in (fit, Fit(x_hat, x)))
    assert abs(best - best_of_all) < 0.1 * best_of_all


def test_small_pictures_do_without():
    small, large = encode(noisy(127, 128), model="tiny"), encode(noisy(128, 128), model="tiny")
    assert [header_of(each).fitted for each in (small, large)] == [False, True]
    assert not header_of(encode(noisy(128, 128), model="tiny", lossless=True, levels=3)).fitted


def header_of(data: bytes) -> container.Header:
    reader = container.Reader()
    reader.feed(data)
    return reader.known_header()


def test_streams_and_cuts_show_the_same(pixels, data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HcodecWarning)
        start = header_of(data).prefix_bytes(2)
        for end in (start, start + 3, start + 40, (start + len(data)) // 2, len(data) - 1, len(data)):
            stream = StreamDecoder()
            for i in range(0, end, 97):
                stream.feed(data[i : min(end, i + 97)])
            shown = np.asarray(stream.image())
            assert (shown == np.asarray(decode(data[:end]))).all()
            assert (shown == np.asarray(decode(container.truncate(data, num_bytes=end)))).all()
    target = encode(pixels, model="tiny", target_psnr=picture.psnr(np.asarray(decode(data, levels=2)), pixels) + 0.5)
    assert header_of(target).fitted and header_of(target).prefix_bytes(2) < len(target) < len(data)
    assert picture.psnr(np.asarray(decode(target)), pixels) > picture.psnr(np.asarray(decode(data, levels=2)), pixels) + 0.5


def test_more_bytes_are_no_worse(pixels, data):
    start, found = header_of(data).prefix_bytes(2), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HcodecWarning)
        for share in (0, 0.25, 0.5, 0.75, 1):
            found.append(picture.psnr(np.asarray(decode(data[: round(start + share * (len(data) - start))])), pixels))
    assert found == sorted(found)


def test_the_users_defaults_change_nothing(pixels, data):
    x, weights = as_tensor(pixels), some_post_filter(3).weights()
    wanted, filtered, products = np.asarray(decode(data)), post_filter.apply(x, weights), Fit(x, x.flip(3)).products
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(post_filter.apply(x, weights), filtered) and torch.equal(Fit(x, x.flip(3)).products, products)
    torch.set_default_dtype(torch.float64)
    try:
        assert (np.asarray(decode(data)) == wanted).all() and encode(pixels, model="tiny") == data
    finally:
        torch.set_default_dtype(torch.float32)


# Hostile


def forged(data: bytes, last: bytes) -> bytes:
    reader = container.Reader()
    reader.feed(data)
    return container.write(replace(header_of(data), fitted=True), [[layer] for layer in (*reader.pieces[0][:2], last)])


@pytest.mark.parametrize(
    ("values", "line"),
    [([-1], "kind -1"), ([4], "kind 4"), ([51], "kind 51"), ([1, -1], "coarseness -1"), ([3, 6], "coarseness 6")],
)
def test_what_is_no_post_filter_is_refused(data, values, line):
    tables = SymbolTables(models.load("tiny").tables)
    if len(values) > 1:
        values = [*values, *[0] * post_filter.num_symbols(values[0])]
    layer = stacked(tables, [coder._coded(part) for part in (values[:1], values[1:]) if part])
    with pytest.raises(FormatError, match=f"a layer has a post filter of {line}"):
        coder.pop(tables, Stack(layer))
    with pytest.warns(HcodecWarning, match=f"a layer has a post filter of {line}"):
        shown = decode(forged(data, layer))
    assert (np.asarray(shown) == np.asarray(decode(data, levels=2))).all()


def test_the_wildest_post_filter_gives_a_picture(pixels, data):
    tables, random = SymbolTables(models.load("tiny").tables), np.random.default_rng(0)
    wild = PostFilter(3, 5, random.choice([-51, 51], post_filter.num_symbols(3)).astype(np.int32))
    *_, (latents, _) = levels.each_level(models.load("tiny"), as_tensor(pixels))
    with_offsets = [part for latent in latents for part in scale_offsets.parts(tables, *latent)]
    shown = np.asarray(decode(forged(data, stacked(tables, coder.parts(wild) + with_offsets)), strict=True))
    assert shown.shape == pixels.shape and shown.std() > 0


def test_layers_without_a_post_filter_are_malformed_in_a_file_that_promises_them(pixels):
    model = models.load("tiny")
    plain = [stacked(levels.tables_of(model), parts) for parts, _ in levels.each_level(model, as_tensor(pixels))]
    frame = container.Frame(width=160, height=192, model="tiny", fingerprint=model.fingerprint, fitted=True)
    data = container.write(frame, [[layer] for layer in plain])
    with pytest.raises(FormatError):
        codec.decode(data, strict=True)


@pytest.mark.parametrize("seed", range(12))
def test_random_layers_never_do_harm(data, seed):
    random = np.random.default_rng(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HcodecWarning)
        shown = decode(forged(data, random.bytes(4 * int(random.integers(1, 200)))))
    assert shown.size == (160, 192)
