"""Trims of the lossless layer: what the network foretold, corrected for one tile."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import render
from test_lossless import encode_forced, last_model, source_of

from hcodec import trimming
from hcodec.codec import decode
from hcodec.entropy import Likelihood, Stack
from hcodec.errors import FormatError
from hcodec.models import likelihood
from hcodec.models.kernels import exact_products
from hcodec.models.last_exact import LastWalk, Spot
from hcodec.models.likelihood import MAX_DISTANCE, TRIM_TABLE
from hcodec.trimming import Told, Trim

TABLES = Likelihood(likelihood.make())


def foretold(seed: int, size: tuple[int, int] = (24, 40), num_terms: int = 4) -> Told:
    random = np.random.default_rng(seed)
    mean, scale = random.integers(400, 1600, size), random.integers(15, 30, size)
    terms = 4 * random.integers(-30, 31, (num_terms, *size))
    return Told(*(x.astype(np.int32) for x in (mean, scale, np.ones(size), terms)))


def drawn(told: Told, weights: list[int], width: float, seed: int) -> np.ndarray:
    """Values whose means are moved by so many 64ths of the terms, and whose scales are so many times as wide."""
    random = np.random.default_rng(seed)
    mean = told.mean / 8 + np.tensordot(weights, told.terms, 1) / (64 * 32)
    scale = 0.04 * 1200 ** (told.scale / 47)
    return np.clip(np.rint(mean + width * scale * random.logistic(size=mean.shape)), 0, 255).astype(np.int32)


def bits(told: Told, values: np.ndarray, trims: tuple[Trim, ...]) -> float:
    return TABLES.estimate(values, *trimming.located(told, trims)) + sum(
        TABLES.estimate(*part) for part in trimming.coded(trims, values.size)
    )


def test_its_table_is_the_one_in_the_format():
    frequencies = likelihood.trim_frequencies()
    assert frequencies.sum() == 2**24 and frequencies.min() == 1 and len(frequencies) == 511
    for d in range(1, 256):
        assert frequencies[255 + d] == frequencies[255 - d] == (2 ** (21 - d) if d <= 12 else 1)
    assert TABLES.bits.shape == (TRIM_TABLE + 1, 511) and TABLES.bits[TRIM_TABLE, MAX_DISTANCE] < 0.42


@pytest.mark.parametrize("width", [0.4, 1.0, 2.5])
@pytest.mark.parametrize("weights", [[0, 0, 0, 0], [20, -9, 0, 40]])
def test_what_is_wrong_is_found(weights, width):
    told = foretold(1)
    values = drawn(told, weights, width, 2)
    trims = trimming.choose(TABLES, values, told)
    without = bits(told, values, ())
    assert bits(told, values, trims) <= without
    if any(weights) or width != 1:
        truth = Trim(round(np.log(width) / likelihood.LOG_SCALE_STEP), 0, np.array(weights, dtype=np.int32))
        assert bits(told, values, trims) < 1.01 * bits(told, values, (truth,)) < 0.99 * without
        assert all(abs(trim.weights - weights).max() <= 8 for trim in trims)
    else:
        assert trims == ()


def test_classes_are_as_large_as_each_other_and_may_differ():
    told = foretold(3)
    classes = trimming._classes(told.scale, 3)
    assert set(classes.ravel()) == {0, 1, 2} and np.bincount(classes.ravel()).min() > 0.25 * classes.size
    assert told.scale[classes == 0].max() < told.scale[classes == 1].min() and (trimming._classes(told.scale * 0, 4) == 0).all()
    calm = classes == 0
    values = np.where(calm, drawn(told, [40, 0, 0, 0], 1, 4), drawn(told, [-40, 0, 0, 0], 1, 5)).astype(np.int32)
    assert len(trimming.choose(TABLES, values, told)) == 3


def test_few_values_have_no_trims():
    told = foretold(1, (15, 17))
    assert trimming.choose(TABLES, drawn(told, [60, 0, 0, 0], 3, 2), told) == ()
    assert trimming.coded((), 255) == [] and len(trimming.coded((), 256)) == 1
    assert trimming.pop(TABLES, Stack(), told) == ()


@pytest.mark.parametrize("count", range(5))
def test_there_and_back(count):
    random, told = np.random.default_rng(count), foretold(count)
    trims = tuple(
        Trim(*random.integers(-12, 13, 2).tolist(), random.integers(-255, 256, 4).astype(np.int32)) for _ in range(count)
    )
    values, stack = drawn(told, [9, 9, 9, 9], 1, 3), Stack()
    for part in reversed([*trimming.coded(trims, values.size), (values, *trimming.located(told, trims))]):
        stack.push(TABLES, *part)
    popped = trimming.pop(TABLES, stack, told)
    assert [(t.scale, t.shape, t.weights.tolist()) for t in popped] == [(t.scale, t.shape, t.weights.tolist()) for t in trims]
    assert (stack.pop(TABLES, *trimming.located(told, popped)) == values).all() and stack.is_empty


@pytest.mark.parametrize("count", [-255, -1, 5, 255])
def test_what_are_no_trims_is_refused(count):
    stack = Stack()
    stack.push(TABLES, *trimming._symbols([count], TRIM_TABLE))
    with pytest.raises(FormatError, match=f"holds {count} trims for a spot"):
        trimming.pop(TABLES, stack, foretold(1))


def test_the_widest_trims_stay_in_range():
    told = foretold(2)
    for sign in (-1, 1):
        trim = Trim(sign * 255, sign * 255, np.full(4, sign * 255, dtype=np.int32))
        whole, table = trimming.located(told, (trim, trim))
        assert whole.min() >= 0 and whole.max() <= 255 and table.min() >= 0 and table.max() < TRIM_TABLE


def test_terms_are_what_the_pixels_around_say():
    """At the last stage, for a pixel in the middle of four known ones: recomputed from the picture."""
    pixels = render(32, 48).astype(np.float64)[..., [1, 0, 2]]
    model, spots = last_model(), dict[tuple[int, int], Spot]()
    with exact_products():
        walk = LastWalk(model.network, source_of(render(32, 48), 2).state, 0)
        walk.enter(None)
        steps = walk.pixels()
        spot: Spot | None = next(steps)
        while spot is not None:
            if spot.pitch == 1 and spot.offset == (1, 1):
                spots[spot.pitch, spot.channel] = spot
            try:
                spot = steps.send(spot.mean.new_tensor(pixels[spot.where]))
            except StopIteration:
                spot = None
    corner = np.pad(pixels[::2, ::2], ((0, 1), (0, 1), (0, 0)), mode="edge")
    first, second = (corner[:-1, :-1] + corner[1:, 1:]) / 2, (corner[:-1, 1:] + corner[1:, :-1]) / 2
    own = pixels[1::2, 1::2]
    for channel in range(3):
        terms, mean = spots[1, channel].terms.double().numpy(), spots[1, channel].mean.double().numpy()
        assert len(terms) == 3 + 2 * channel
        assert (terms[0] == 4 * (first + second)[..., channel] - mean).all()
        assert (terms[2] == 4 * (first - second)[..., channel]).all()
        for before in range(channel):
            its = spots[1, before].mean.double().numpy()
            assert (terms[3 + before] == 8 * own[..., before] - its).all()
            assert (terms[3 + channel + before] == 4 * (first + second)[..., before] - its).all()


def test_files_get_shorter_and_stay_exact(monkeypatch):
    """Noise that is alike in all colors, as no picture has it from which the tiny model learned."""
    random = np.random.default_rng(0)
    noise = 9 * random.standard_normal((120, 136, 1))
    pixels = np.clip(render(120, 136) + noise, 0, 255).astype(np.uint8)
    trimmed = encode_forced(pixels, False)[0]
    monkeypatch.setattr(trimming, "choose", lambda *_: ())
    plain = encode_forced(pixels, False)[0]
    assert len(trimmed) < 0.97 * len(plain)
    assert (np.asarray(decode(trimmed, strict=True)) == pixels).all() and (np.asarray(decode(plain, strict=True)) == pixels).all()
