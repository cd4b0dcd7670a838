"""Scale offsets: scale indices moved channel by channel, as a picture wants them."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from conftest import layers_of, render, rewritten
from hypothesis import given
from hypothesis import strategies as st

from hcodec import models
from hcodec.codec import decode, encode
from hcodec.coders import levels, scale_offsets
from hcodec.coding.stack import Stack, stacked
from hcodec.coding.tables import SymbolTables
from hcodec.errors import FormatError, HcodecWarning
from hcodec.models.tables import symbol_tables
from hcodec.models.tables.scales import NUM_SCALES
from hcodec.models.tables.symbol_tables import OFFSET_INDEX, OFFSET_LIMIT
from hcodec.session import Encoder
from hcodec.stream import StreamDecoder

TABLES = SymbolTables(
    symbol_tables.make(np.zeros((NUM_SCALES, 2 * symbol_tables.MAX_SYMBOL + 1), dtype=np.int64))
)  # logistic ones


def latent(seed: int, wrong: int = 0, shape: tuple[int, ...] = (1, 9, 7, 5)) -> tuple[np.ndarray, np.ndarray]:
    """Symbols such as their tables foretell, and indices that are wrong by so much in the second channel."""
    random = np.random.default_rng(seed)
    true = random.integers(0, NUM_SCALES - 14, shape)
    symbols = np.zeros(shape, dtype=np.int32)
    for i in range(TABLES.num_silent, NUM_SCALES):
        here = true == i
        symbols[here] = random.choice(len(TABLES.bits[i]), here.sum(), p=2.0 ** -TABLES.bits[i]) - TABLES.largest[i]
    said = true.copy()
    said[..., 1] = np.where(true[..., 1] < TABLES.num_silent, true[..., 1], np.clip(true[..., 1] - wrong, TABLES.num_silent, 79))
    return TABLES.clamp(symbols, said.astype(np.uint8)), said.astype(np.uint8)


def bits(parts: list[tuple[np.ndarray, np.ndarray]]) -> float:
    return sum(TABLES.estimate(*part) for part in parts)


def test_its_table_is_the_one_in_the_format():
    frequencies = 2.0 ** (24 - TABLES.bits[OFFSET_INDEX])
    wanted = [2.0 ** (21 - abs(d)) for d in range(-OFFSET_LIMIT, OFFSET_LIMIT + 1)]
    wanted[OFFSET_LIMIT] = 2**24 - sum(wanted) + 2**21
    np.testing.assert_allclose(frequencies, wanted, rtol=1e-12)
    assert len(TABLES.bits) == NUM_SCALES + 1 == OFFSET_INDEX + 1 and frequencies.sum() == pytest.approx(2**24)


@pytest.mark.parametrize("wrong", [-12, -5, 0, 5, 12])
def test_the_shortest_trim_is_chosen(wrong):
    """Tried one by one: every offset of every channel, and none at all."""
    symbols, indices = latent(3, wrong, (1, 12, 12, 3))
    offsets = scale_offsets.choose(TABLES, symbols, indices)
    best = []
    for channel in range(3):
        prices = {}
        for offset in range(-OFFSET_LIMIT, OFFSET_LIMIT + 1):
            moved = scale_offsets._moved(indices[..., channel], np.int32(offset), TABLES.num_silent)
            if (abs(symbols[..., channel]) <= TABLES.largest[moved]).all():
                prices[offset] = TABLES.estimate(symbols[..., channel], moved) + TABLES.bits[OFFSET_INDEX][offset + OFFSET_LIMIT]
        best.append((min(prices, key=prices.__getitem__), min(prices.values())))
    without = TABLES.estimate(symbols, indices)
    if offsets is None:
        assert sum(price for _, price in best) + 4 >= without + 0.4 and not wrong
    else:
        assert offsets.tolist() == [offset for offset, _ in best]
        assert bits(scale_offsets.parts(TABLES, symbols, indices)) == pytest.approx(sum(price for _, price in best) + 4)
    assert abs(best[1][0] - wrong) <= 2  # which is found out
    assert bits(scale_offsets.parts(TABLES, symbols, indices)) <= without + 0.42


@given(st.integers(0, 1000), st.integers(-12, 12), st.sampled_from([(1, 1, 1, 1), (1, 5, 3, 4), (1, 16, 9, 2)]))
def test_there_and_back(seed, wrong, shape):
    if shape[-1] < 2:
        wrong, shape = 0, (1, 1, 1, 2)
    symbols, indices = latent(seed, wrong, shape)
    layer = stacked(TABLES, scale_offsets.parts(TABLES, symbols, indices))
    stack = Stack(layer)
    moved = scale_offsets.pop(TABLES, stack, indices)
    assert (stack.pop(TABLES, moved) == symbols).all()
    stack.close()
    silent = indices < TABLES.num_silent
    assert moved.dtype == np.uint8 and (moved[silent] == indices[silent]).all()
    assert (moved[~silent] >= TABLES.num_silent).all() and (moved < NUM_SCALES).all()


def test_the_widest_symbols_and_nothing_but_zeros():
    for symbols, indices in (
        (
            np.full((1, 4, 4, 2), TABLES.largest[NUM_SCALES - 1], dtype=np.int32),
            np.full((1, 4, 4, 2), NUM_SCALES - 1, dtype=np.uint8),
        ),
        (np.zeros((1, 4, 4, 2), dtype=np.int32), np.full((1, 4, 4, 2), NUM_SCALES - 1, dtype=np.uint8)),
        (np.zeros((1, 4, 4, 2), dtype=np.int32), np.zeros((1, 4, 4, 2), dtype=np.uint8)),
    ):
        layer = stacked(TABLES, scale_offsets.parts(TABLES, symbols, indices))
        stack = Stack(layer)
        assert (stack.pop(TABLES, scale_offsets.pop(TABLES, stack, indices)) == symbols).all()
        stack.close()


def test_files_get_shorter_and_show_the_same(monkeypatch):
    """A gray picture: channels that carry color have less to say than their scales expect."""
    pixels = np.repeat(render(192, 256).mean(2, keepdims=True).astype(np.uint8), 3, 2)
    with_offsets = encode(pixels, model="tiny")
    monkeypatch.setattr(scale_offsets, "choose", lambda *_: None)
    plain = encode(pixels, model="tiny")
    assert len(with_offsets) < 0.98 * len(plain)
    assert (np.asarray(decode(with_offsets)) == np.asarray(decode(plain))).all()


@pytest.mark.parametrize("kind", [-12, -1, 2, 12])
def test_what_is_no_trim_is_refused(kind):
    offsets = [scale_offsets._coded([kind])]
    with pytest.raises(FormatError, match=f"a layer has scale offsets of kind {kind}"):
        scale_offsets.pop(TABLES, Stack(stacked(TABLES, offsets)), np.zeros((1, 1, 1, 1), dtype=np.uint8))
    data = encode(render(128, 128), model="tiny", levels=1)
    tables = SymbolTables(models.load("tiny").tables)
    forged = rewritten(data, [*layers_of(data), [stacked(tables, offsets)]])
    with pytest.warns(HcodecWarning, match=f"level 2 is malformed, it was ignored: a layer has scale offsets of kind {kind}"):
        shown = decode(forged)
    assert (np.asarray(shown) == np.asarray(decode(data))).all()


@pytest.mark.parametrize("kind", [0, 2])
def test_a_beginning_of_a_layer_with_no_trim_leaves_the_levels_before(kind):
    """It is found out when the state has already been refined for the latent."""
    data = encode(render(128, 160), model="tiny", levels=2)
    offsets = scale_offsets._coded([kind])
    begun = stacked(levels.tables_of(models.load("tiny")), [offsets, latent_of(render(128, 160), 3)])
    forged = rewritten(data, [*layers_of(data), [begun[: len(begun) - 2]]], cut=True)
    wanted = np.asarray(decode(data))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        stream = StreamDecoder()
        stream.feed(forged)
        shown = [np.asarray(decode(forged)), np.asarray(stream.image()), np.asarray(stream.image())]
    assert [(each == wanted).all() for each in shown] == [bool(kind)] * 3
    assert sum("a layer has scale offsets of kind 2" in str(one.message) for one in said) == (2 if kind else 0)


def latent_of(pixels: np.ndarray, level: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns symbols and indices of the last latent of a level of the tiny model; levels 1 and 2 are coarse."""
    encoder = Encoder(models.load("tiny"), pixels)
    kept, own = [], encoder.pack
    encoder.pack = lambda found: kept.append(found[0][-1]) or own(found)
    encoder.layers(level, lambda share: None)
    return kept[-1]


def test_a_layer_cut_anywhere_inside_its_trim_still_decodes():
    symbols, indices = latent_of(render(128, 160), 1)
    symbols = TABLES.clamp(symbols, indices)
    layer = stacked(TABLES, scale_offsets.parts(TABLES, symbols, indices))
    shown = []
    for length in range(0, 64):
        stack = Stack(layer[:length], cut=True)
        found = stack.pop(TABLES, scale_offsets.pop(TABLES, stack, indices))
        assert found.shape == symbols.shape and ((found == symbols) | (found == 0)).all()
        shown.append(stack.num_popped)
    assert shown == sorted(shown)
