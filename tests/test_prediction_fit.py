"""Corrections of the lossless layer: what the network predicted, corrected for one tile."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import render
from test_tiles import decoded, last_model, layer_of, source_of

from hcodec.coders import prediction_fit
from hcodec.coders.prediction_fit import Correction, Prediction
from hcodec.coding.stack import Stack
from hcodec.coding.tables import PixelTables
from hcodec.errors import FormatError
from hcodec.models.lossless.walk import Site, following
from hcodec.models.tables import likelihood
from hcodec.models.tables.likelihood import MAX_DISTANCE, OFFSET_TABLE

TABLES = PixelTables(likelihood.make())


def predicted(seed: int, size: tuple[int, int] = (24, 40), num_terms: int = 4) -> Prediction:
    random = np.random.default_rng(seed)
    mean, scale = random.integers(400, 1600, size), random.integers(15, 30, size)
    terms = 4 * random.integers(-30, 31, (num_terms, *size))
    return Prediction(*(x.astype(np.int32) for x in (mean, scale, np.ones(size), terms)))


def drawn(prediction: Prediction, weights: list[int], width: float, seed: int) -> np.ndarray:
    """Values whose means are moved by so many 64ths of the terms, and whose scales are so many times as wide."""
    random = np.random.default_rng(seed)
    mean = prediction.mean / 8 + np.tensordot(weights, prediction.terms, 1) / (64 * 32)
    scale = 0.04 * 1200 ** (prediction.scale / 47)
    return np.clip(np.rint(mean + width * scale * random.logistic(size=mean.shape)), 0, 255).astype(np.int32)


def bits(prediction: Prediction, values: np.ndarray, corrections: tuple[Correction, ...]) -> float:
    return TABLES.estimate(values, *prediction_fit.located(prediction, corrections)) + sum(
        TABLES.estimate(*part) for part in prediction_fit.coded(corrections, values.size)
    )


def test_its_table_is_the_one_in_the_format():
    frequencies = likelihood.offset_frequencies()
    assert frequencies.sum() == 2**24 and frequencies.min() == 1 and len(frequencies) == 511
    for d in range(1, 256):
        assert frequencies[255 + d] == frequencies[255 - d] == (2 ** (21 - d) if d <= 12 else 1)
    assert TABLES.bits.shape == (OFFSET_TABLE + 1, 511) and TABLES.bits[OFFSET_TABLE, MAX_DISTANCE] < 0.42


@pytest.mark.parametrize("width", [0.4, 1.0, 2.5])
@pytest.mark.parametrize("weights", [[0, 0, 0, 0], [20, -9, 0, 40]])
def test_what_is_wrong_is_found(weights, width):
    prediction = predicted(1)
    values = drawn(prediction, weights, width, 2)
    corrections = prediction_fit.choose(TABLES, values, prediction)
    without = bits(prediction, values, ())
    assert bits(prediction, values, corrections) <= without
    if any(weights) or width != 1:
        truth = Correction(round(np.log(width) / likelihood.LOG_SCALE_STEP), 0, np.array(weights, dtype=np.int32))
        assert bits(prediction, values, corrections) < 1.01 * bits(prediction, values, (truth,)) < 0.99 * without
        assert all(abs(correction.weights - weights).max() <= 8 for correction in corrections)
    else:
        assert corrections == ()


def test_classes_are_as_large_as_each_other_and_may_differ():
    prediction = predicted(3)
    classes = prediction_fit._classes(prediction.scale, 3)
    assert set(classes.ravel()) == {0, 1, 2} and np.bincount(classes.ravel()).min() > 0.25 * classes.size
    assert (
        prediction.scale[classes == 0].max() < prediction.scale[classes == 1].min()
        and (prediction_fit._classes(prediction.scale * 0, 4) == 0).all()
    )
    calm = classes == 0
    values = np.where(calm, drawn(prediction, [40, 0, 0, 0], 1, 4), drawn(prediction, [-40, 0, 0, 0], 1, 5)).astype(np.int32)
    assert len(prediction_fit.choose(TABLES, values, prediction)) == 3


def test_few_values_have_no_corrections():
    prediction = predicted(1, (15, 17))
    assert prediction_fit.choose(TABLES, drawn(prediction, [60, 0, 0, 0], 3, 2), prediction) == ()
    assert prediction_fit.coded((), 255) == [] and len(prediction_fit.coded((), 256)) == 1
    assert prediction_fit.pop(TABLES, Stack(), prediction) == ()


@pytest.mark.parametrize("count", range(5))
def test_there_and_back(count):
    random, prediction = np.random.default_rng(count), predicted(count)
    corrections = tuple(
        Correction(*random.integers(-12, 13, 2).tolist(), random.integers(-255, 256, 4).astype(np.int32)) for _ in range(count)
    )
    values, stack = drawn(prediction, [9, 9, 9, 9], 1, 3), Stack()
    for part in reversed(
        [*prediction_fit.coded(corrections, values.size), (values, *prediction_fit.located(prediction, corrections))]
    ):
        TABLES.push(stack, *part)
    popped = prediction_fit.pop(TABLES, stack, prediction)
    assert [(t.scale, t.shape, t.weights.tolist()) for t in popped] == [
        (t.scale, t.shape, t.weights.tolist()) for t in corrections
    ]
    assert (TABLES.pop(stack, *prediction_fit.located(prediction, popped)) == values).all() and stack.is_empty


@pytest.mark.parametrize("count", [-255, -1, 5, 255])
def test_what_are_no_corrections_is_refused(count):
    stack = Stack()
    TABLES.push(stack, *prediction_fit._symbols([count], OFFSET_TABLE))
    with pytest.raises(FormatError, match=f"holds {count} corrections for a site"):
        prediction_fit.pop(TABLES, stack, predicted(1))


def test_the_widest_corrections_stay_in_range():
    prediction = predicted(2)
    for sign in (-1, 1):
        correction = Correction(sign * 255, sign * 255, np.full(4, sign * 255, dtype=np.int32))
        whole, table = prediction_fit.located(prediction, (correction, correction))
        assert whole.min() >= 0 and whole.max() <= 255 and table.min() >= 0 and table.max() < OFFSET_TABLE


def test_terms_are_what_the_pixels_around_say():
    """At the last stage, for a pixel in the middle of four known ones: recomputed from the picture."""
    pixels = render(32, 48).astype(np.float64)[..., [1, 0, 2]]
    sites, found = last_model().walk(source_of(render(32, 48), 2).state, 2), dict[int, Site]()
    site = next(sites, None)
    while site is not None:
        if site.pitch == 1 and site.offset == (1, 1):
            found[site.channel] = site
        site = following(sites, pixels[site.where].astype(np.float32))
    corner = np.pad(pixels[::2, ::2], ((0, 1), (0, 1), (0, 0)), mode="edge")
    first, second = (corner[:-1, :-1] + corner[1:, 1:]) / 2, (corner[:-1, 1:] + corner[1:, :-1]) / 2
    own = pixels[1::2, 1::2]
    for channel in range(3):
        terms, mean = (x.astype(np.float64) for x in (found[channel].terms.transpose(2, 0, 1), found[channel].mean))
        assert len(terms) == 3 + 2 * channel
        assert (terms[0] == 4 * (first + second)[..., channel] - mean).all()
        assert (terms[2] == 4 * (first - second)[..., channel]).all()
        for before in range(channel):
            its = found[before].mean.astype(np.float64)
            assert (terms[3 + before] == 8 * own[..., before] - its).all()
            assert (terms[3 + channel + before] == 4 * (first + second)[..., before] - its).all()


def test_layers_get_shorter_and_stay_exact(monkeypatch):
    """Noise that is alike in all colors, as no picture has it from which the tiny model learned."""
    random = np.random.default_rng(0)
    noise = 9 * random.standard_normal((120, 136, 1))
    pixels = np.clip(render(120, 136) + noise, 0, 255).astype(np.uint8)
    corrected, states = layer_of(pixels)
    monkeypatch.setattr(prediction_fit, "choose", lambda *_: ())
    plain, _ = layer_of(pixels)
    assert len(corrected.stacks[0]) < 0.97 * len(plain.stacks[0])
    assert all((decoded(layer, states, (120, 136)) == pixels).all() for layer in (corrected, plain))
