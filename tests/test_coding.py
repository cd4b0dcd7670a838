"""Symbols to stacks and back: round trips, cut stacks, rate, and the traps of the coder below."""

from __future__ import annotations

import math

import constriction
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hcodec import models
from hcodec.coding.stack import Stack, stacked
from hcodec.coding.tables import SymbolTables
from hcodec.errors import FormatError
from hcodec.models.tables import symbol_tables
from hcodec.models.tables.scales import LOG_SCALE_STEP, MIN_LOG_SCALE, NUM_SCALES

STATE_BYTES = 8


@pytest.fixture(scope="module")
def model() -> SymbolTables:
    return SymbolTables(models.load("tiny").tables)


@pytest.fixture(scope="module")
def logistic() -> SymbolTables:
    """Tables made of the logistic distribution alone, with nothing counted."""
    return SymbolTables(symbol_tables.make(np.zeros((NUM_SCALES, 2 * symbol_tables.MAX_SYMBOL + 1), dtype=np.int64)))


def draw(model, shape, seed, low=0, high=NUM_SCALES - 1):
    """Returns symbols and scale indices as a model's would be: logistic, and within the tables."""
    random = np.random.default_rng(seed)
    indices = random.integers(low, high + 1, shape).astype(np.uint8)
    scale = np.exp(MIN_LOG_SCALE + indices * LOG_SCALE_STEP)
    symbols = np.round(random.logistic(0, 1, shape) * scale)
    return model.clamp(symbols.astype(np.int32), indices), indices


def take(model, data, latents, whole=True):
    stack = Stack(data, cut=not whole)
    return stack, [stack.pop(model, indices) for _, indices in latents]


def check_round_trip(model, latents):
    data = stacked(model, latents)
    stack, found = take(model, data, latents)
    stack.close()
    for (symbols, _), back in zip(latents, found, strict=True):
        assert back.dtype == np.int32 and back.shape == symbols.shape
        assert (back == symbols).all()
    return data


# Round trips


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 1, 7, 3), (1, 12, 16, 24)])
def test_round_trip(model, shape):
    for seed in range(5):
        check_round_trip(model, [draw(model, shape, seed), draw(model, (1, 3, 5, 8), seed + 100)])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(-2000, 2000), st.integers(0, NUM_SCALES - 1)), max_size=30), max_size=4))
def test_any_symbols_at_any_indices_come_back_clamped(model, pairs):
    latents = []
    for latent in pairs:
        symbols = np.array([symbol for symbol, _ in latent], dtype=np.int32)
        indices = np.array([index for _, index in latent], dtype=np.uint8)
        latents.append((model.clamp(symbols, indices), indices))
    check_round_trip(model, latents)


@pytest.mark.parametrize("index", [0, 6, 7, 8, NUM_SCALES - 2, NUM_SCALES - 1])
def test_the_ends_of_each_table(model, index):
    k = int(model.largest[index])
    symbols = np.array([k, -k, 0, k, -k] * 40, dtype=np.int32)
    data = check_round_trip(model, [(symbols, np.full(200, index, dtype=np.uint8))])
    assert len(data) <= 200 * 4 + STATE_BYTES  # at worst 24 bits a symbol


def test_nothing_costs_nothing(model):
    empty = np.zeros((1, 0, 3, 4), dtype=np.int32), np.zeros((1, 0, 3, 4), dtype=np.uint8)
    silent = np.zeros((1, 9, 9, 4), dtype=np.int32), np.full((1, 9, 9, 4), model.num_silent - 1, dtype=np.uint8)
    for latents in ([], [empty], [silent], [silent, empty, silent]):
        assert check_round_trip(model, latents) == b""
        stack, found = take(model, b"", latents, whole=False)
        assert not any(symbols.any() for symbols in found) and stack.num_popped == stack.share == 0
    assert model.num_silent > 0


def test_a_model_without_silent_indices_and_one_with_nothing_else(model):
    flat = models.load("tiny").tables.copy()
    for silent in (0, NUM_SCALES):
        flat[0] = silent
        other = SymbolTables(flat)
        latents = [draw(other, (1, 4, 4, 8), 3)]
        assert bool(check_round_trip(other, latents)) == (silent == 0)


def test_clamp(model):
    indices = np.arange(NUM_SCALES, dtype=np.uint8)
    for sign in (-1, 1):
        limited = model.clamp(np.full(NUM_SCALES, sign * 2**20, dtype=np.int32), indices)
        assert (limited == sign * model.largest[:NUM_SCALES]).all()
    assert (model.largest[: model.num_silent] == 0).all()
    assert [model.largest[i] for i in range(model.num_silent, NUM_SCALES)] == [
        symbol_tables.half_width(i) for i in range(model.num_silent, NUM_SCALES)
    ]
    small = np.array([[1, -1]], dtype=np.int32)
    assert (model.clamp(small, np.full((1, 2), 79, dtype=np.uint8)) == small).all()


# Order and cuts


def test_symbols_come_by_falling_scale_and_then_in_raster_order(model):
    """Put together from the order that is promised and one coder call for each symbol, last first."""
    latents = [draw(model, (1, 3, 4, 5), 1), draw(model, (1, 6, 8, 2), 2)]
    coder = constriction.stream.stack.AnsCoder()
    for symbols, indices in reversed(latents):
        flat = list(zip(-indices.ravel().astype(int), range(indices.size), symbols.ravel(), strict=True))
        for negative, _, symbol in sorted(flat, reverse=True):
            if -negative >= model.num_silent:
                coder.encode_reverse(int(symbol) + int(model.largest[-negative]), model.models[-negative])
    assert stacked(model, latents) == coder.get_compressed()[::-1].astype("<u4").tobytes()


def coding_order(model, latents):
    """Returns the symbols of all latents in coding order."""
    parts = []
    for symbols, indices in latents:
        order = np.argsort(-indices.ravel().astype(int), kind="stable")
        order = order[indices.ravel()[order] >= model.num_silent]
        parts.append(symbols.ravel()[order])
    return np.concatenate(parts)


@pytest.mark.parametrize("range_of_indices", [(0, 79), (7, 16), (79, 79)])
def test_every_cut_gives_the_first_symbols_and_zeros_after_them(model, range_of_indices):
    latents = [draw(model, (1, 2, 3, 8), 5, *range_of_indices), draw(model, (1, 4, 6, 12), 6, *range_of_indices)]
    whole, data = coding_order(model, latents), stacked(model, latents)
    before = 0
    for length in range(len(data) + 1):
        stack, found = take(model, data[:length], latents, whole=False)
        count = stack.num_popped
        part = coding_order(model, [(symbols, indices) for symbols, (_, indices) in zip(found, latents, strict=True)])
        assert (part[:count] == whole[:count]).all() and not part[count:].any()
        assert sum(np.count_nonzero(symbols) for symbols in found) == np.count_nonzero(part)  # silent ones are 0 too
        assert count >= before and (stack.share == pytest.approx(1)) == (count == len(whole))
        # what is held back is less than what the coder's state can still hide
        bits = sum(model.bits[index][symbol + model.largest[index]] for symbol, index in first(model, latents, count))
        assert count == len(whole) or bits > 8 * (length - STATE_BYTES - 4) - 1
        before = count
        stack.close()  # a cut layer never complains of its end
    # even with all bytes a few symbols may be held back: a cut layer cannot know that no word is missing


def first(model, latents, count):
    pairs = []
    for symbols, indices in latents:
        order = np.argsort(-indices.ravel().astype(int), kind="stable")
        pairs += [(symbols.ravel()[i], indices.ravel()[i]) for i in order if indices.ravel()[i] >= model.num_silent]
    return pairs[:count]


def test_a_cut_among_the_dearest_symbols_gives_no_junk(logistic):
    """24 bits each: nothing may be read ahead of the words that are there."""
    k = int(logistic.largest[20])
    symbols = np.full(3000, k, dtype=np.int32)
    symbols[::2] = -k
    latents = [(symbols, np.full(3000, 20, dtype=np.uint8))]
    data = stacked(logistic, latents)
    assert logistic.bits[20][0] > 23.9
    for length in (*range(0, 100), 4000, len(data) - 1, len(data)):
        stack, (found,) = take(logistic, data[:length], latents, whole=False)
        assert (found[: stack.num_popped] == symbols[: stack.num_popped]).all()
        assert not found[stack.num_popped :].any()
    assert stack.num_popped >= 2999


# Rate


@pytest.mark.parametrize("range_of_indices", [(0, 79), (5, 12), (30, 60), (79, 79)])
def test_the_layer_is_as_long_as_estimated(model, range_of_indices):
    latents = [draw(model, (1, 40, 60, 32), 9, *range_of_indices)]
    estimated = model.estimate(*latents[0])
    bits = 8 * len(stacked(model, latents))
    assert abs(bits - estimated) <= 0.01 * estimated + 8 * STATE_BYTES
    assert abs(bits - estimated) <= 0.0005 * estimated + 8 * STATE_BYTES  # really


def test_estimate_is_the_sum_of_information(model):
    symbols, indices = draw(model, (1, 3, 3, 4), 4)
    total = 0.0
    flat = models.load("tiny").tables
    num_silent, weights = symbol_tables.split(flat)
    for symbol, index in zip(symbols.ravel(), indices.ravel(), strict=True):
        if index >= num_silent:
            table = weights[index]
            total -= math.log2((int(table[symbol + len(table) // 2]) + 1) / 2**24)
    assert model.estimate(symbols, indices) == pytest.approx(total)


def test_the_first_symbols_are_dearer_than_the_last(model):
    latents = [draw(model, (1, 20, 20, 16), 8)]
    data = stacked(model, latents)
    stack, _ = take(model, data[: len(data) // 2], latents, whole=False)
    assert stack.num_popped < 0.45 * len(coding_order(model, latents))
    assert stack.share == pytest.approx(0.5, abs=0.03)  # half of the bytes are about half of the expected bits


# Layers that no encoder wrote


def test_a_layer_that_is_too_long_or_too_short_is_refused(model):
    latents = [draw(model, (1, 4, 4, 16), 2)]
    data = stacked(model, latents)
    for broken in (data + bytes(3) + b"\1", data + b"\1\0\0\0", data[:-4], data[4:], data * 2):
        stack, _ = take(model, broken, latents)
        with pytest.raises(FormatError, match="does not end where its symbols end"):
            stack.close()
    for broken in (data[:-1], data + b"\0"):
        with pytest.raises(FormatError, match="32-bit words"):
            Stack(broken)


@pytest.mark.parametrize("whole", [True, False])
def test_a_first_word_of_zero_is_refused(whole):
    for data in (bytes(4), bytes(4) + b"\1\2\3\4" * 3):
        with pytest.raises(FormatError, match="zero word"):
            Stack(data, cut=not whole)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=120), st.booleans(), st.integers(0, 2**32 - 1))
def test_noise_gives_symbols_within_the_tables_or_our_exception(model, data, whole, seed):
    indices = np.random.default_rng(seed).integers(0, NUM_SCALES, 60).astype(np.uint8)
    try:
        stack, (symbols,) = take(model, data, [(None, indices)], whole)
        assert (abs(symbols) <= model.largest[indices]).all()
        stack.close()
    except FormatError:
        pass


# The coder below


def test_frequencies_are_exactly_the_stored_weights_plus_one(model):
    """At both edges of every interval of every table, as the coder really uses it; files depend on nothing else."""
    _, weights = symbol_tables.split(models.load("tiny").tables)
    for index, table in enumerate(weights):
        ends = np.cumsum(table.astype(np.int64) + 1)
        assert ends[-1] == 2**24
        edges = np.stack([np.concatenate([[0], ends[:-1]]), ends - 1])
        for quantiles in edges:
            found = [popped(model.models[index], int(quantile)) for quantile in quantiles]
            assert found == list(range(len(table))), index


def popped(table, quantile):
    """Returns the symbol whose interval holds the quantile: the low 24 bits of the coder's state."""
    coder = constriction.stream.stack.AnsCoder(np.array([quantile, 1], dtype=np.uint32))
    return int(coder.decode(table))


def test_the_exact_words_of_a_small_layer():
    """Any change here is a change of the format. The tables are made of integers only."""
    parts = [np.array([5], dtype=np.int32)]
    for index in range(NUM_SCALES):
        k = symbol_tables.half_width(index)
        ramp = k + 1 - np.abs(np.arange(-k, k + 1, dtype=np.int64))
        weights = (2**24 - (2 * k + 1)) * ramp // (k + 1) ** 2
        weights[k] += 2**24 - (2 * k + 1) - weights.sum()
        parts.append(weights.astype(np.int32))
    model = SymbolTables(np.concatenate(parts))
    indices = np.arange(80, dtype=np.uint8).reshape(1, 4, 4, 5)
    symbols = model.clamp(((np.arange(80) * 7919) % 41 - 20).astype(np.int32).reshape(1, 4, 4, 5), indices)
    assert stacked(model, [(symbols, indices)]).hex() == (
        "8e11000028c7809e94f07c362781868da0607919b83a8b912d5f71c90bc47fe2"
        "9f98af4ca38849268e7143864da8a3f50c89ecaa52abfe0e4b9b00cc911507ad"
    )


def test_the_widths_of_the_tables():
    """Part of the format, though made with exp: the last must not depend on how 14 * 64 happens to be rounded."""
    widths = [symbol_tables.half_width(index) for index in range(NUM_SCALES)]
    assert widths[:10] == [3] * 9 + [4] and widths[-3:] == [740, 816, 898]
    assert sum(width * (index + 1) for index, width in enumerate(widths)) == 688247
    for index in range(NUM_SCALES - 1):
        exact = 14 * 0.03 * (64 / 0.03) ** (index / 79)
        assert 1e-5 < exact % 1 < 1 - 1e-5, index
