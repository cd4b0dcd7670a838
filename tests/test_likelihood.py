"""The distributions of the lossless layers as integer tables, and the stack that codes by them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hcodec.coding.stack import Stack
from hcodec.coding.tables import PixelTables
from hcodec.errors import FormatError
from hcodec.models.rates import mixture_bits
from hcodec.models.tables import likelihood
from hcodec.models.tables.likelihood import (
    LOG_SCALE_STEP,
    MAX_DISTANCE,
    MIN_LOG_SCALE,
    MIN_TAIL,
    NUM_SCALES,
    NUM_SHAPES,
    NUM_TABLES,
    OFFSET_TABLE,
    STEPS,
    TAIL_STEP,
    locate,
)

FLAT = likelihood.make()


@pytest.fixture(scope="module")
def model():
    return PixelTables(FLAT)


def everywhere(means):
    """Returns every scale and shape at each of the means, as three flat arrays."""
    grid = np.meshgrid(np.asarray(means), np.arange(NUM_SCALES), np.arange(NUM_SHAPES), indexing="ij")
    return [part.ravel().astype(np.int32) for part in grid]


# Tables


def test_frequencies_are_positive_and_add_up():
    tables = likelihood.split(FLAT)
    assert len(tables) == NUM_TABLES == NUM_SHAPES * STEPS.sum()
    for table in tables:
        assert table.shape == (2 * MAX_DISTANCE + 1,) and table.min() >= 1 and int(table.sum()) == 2**24


def test_every_table_has_one_place_and_every_place_a_table():
    whole, table = locate(*everywhere(range(8)))
    assert set(table.tolist()) == set(range(NUM_TABLES))
    assert set(whole.tolist()) == {0, 1}


@pytest.mark.parametrize("low", [-2100, -9, 0, 2031])
def test_whole_and_table_are_near_the_mean(low):
    mean, scale, shape = everywhere(range(low, low + 18))
    whole, table = locate(mean, scale, shape)
    steps = STEPS[scale]
    first = np.concatenate([[0], STEPS.cumsum()])
    step = table - shape * first[-1] - first[scale]
    assert ((step >= 0) & (step < steps)).all()
    assert np.abs(whole + step / steps - mean / 8).max() <= 0.5
    assert (np.abs(whole + step / steps - mean / 8) <= 0.5 / steps).all()
    moved = locate(mean + 8 * 100, scale, shape)
    assert (moved[0] == whole + 100).all() and (moved[1] == table).all()


def test_tables_are_the_mixtures_that_training_believes_in(model):
    """Where a value costs less than 15 bits; beyond, the least frequency holds."""
    shape, scale, step = np.array(likelihood._cells()).T
    distance = np.arange(-MAX_DISTANCE, MAX_DISTANCE + 1)
    wanted = mixture_bits(
        torch.from_numpy(distance[None].astype(float)),
        torch.from_numpy((step / STEPS[scale])[:, None]),
        torch.from_numpy((MIN_LOG_SCALE + LOG_SCALE_STEP * scale)[:, None]),
        torch.from_numpy((MIN_TAIL + TAIL_STEP * shape)[:, None]),
    ).numpy()
    common = (wanted < 15) & (scale < NUM_SCALES - 8)[:, None]  # the widest reach beyond what a table holds
    assert np.abs(model.bits[:OFFSET_TABLE] - wanted)[common].max() < 0.02
    assert common.sum() > 10_000


def test_counts_move_tables_and_nothing_else():
    counts = np.zeros((NUM_TABLES, 2 * MAX_DISTANCE + 1), dtype=np.int64)
    counts[5, MAX_DISTANCE + 2] = 10**6
    before, after = likelihood.split(FLAT), likelihood.split(likelihood.make(counts))
    assert after[5][MAX_DISTANCE + 2] > 0.99 * 2**24
    assert all((a == b).all() for i, (a, b) in enumerate(zip(after, before, strict=True)) if i != 5)


def changed(position, by):
    flat = FLAT.copy()
    flat[position] += by
    return flat


def exchanged():
    flat = FLAT.copy()
    peak = int(flat[:50].argmax())
    flat[0], flat[peak] = -1, flat[peak] + flat[0] + 1
    return flat


@pytest.mark.parametrize("flat", [changed(0, 1), changed(-1, -1), exchanged(), FLAT[:-1], FLAT[1:], np.append(FLAT, 0), FLAT[:0]])
def test_tables_that_do_not_add_up_are_refused(flat):
    with pytest.raises(ValueError, match="likelihood"):
        likelihood.split(flat.astype(np.int32))


def test_a_table_is_wide_enough_for_its_scale():
    for scale in range(NUM_SCALES):
        spread = math.exp(MIN_LOG_SCALE + scale * LOG_SCALE_STEP)
        assert likelihood.half_width(scale) >= min(MAX_DISTANCE, 14 * 3.5 * spread)


# The stack

PLACES = st.tuples(st.integers(-1000, 3000), st.integers(0, NUM_SCALES - 1), st.integers(0, NUM_SHAPES - 1))
VALUES = st.lists(st.tuples(PLACES, st.integers(-MAX_DISTANCE, MAX_DISTANCE)), max_size=40)


def arrays(drawn):
    """Returns values, whole and table of drawn places and distances."""
    parameters = np.array([place for place, _ in drawn], dtype=np.int32).reshape(-1, 3).T
    whole, table = locate(*parameters)
    return whole + np.array([distance for _, distance in drawn], dtype=np.int32), whole, table


@settings(max_examples=60, deadline=None)
@given(st.lists(VALUES, max_size=4))
def test_what_was_pushed_last_is_popped_first(model, batches):
    stack, pushed = Stack(), [arrays(batch) for batch in batches]
    bits = 0.0
    for part in pushed:
        model.push(stack, *part)
        bits += model.estimate(*part)
    assert abs(stack.num_bits - bits) < 0.01 * bits + 66  # an empty stack takes its first bits for nothing
    stack = Stack(stack.to_bytes())
    for values, whole, table in reversed(pushed):
        assert (model.pop(stack, whole, table) == values).all()
    assert stack.is_empty


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=1600, max_size=1600), VALUES)
def test_what_was_popped_can_be_pushed_back(model, data, drawn):
    """The identity that bits back rests on, in the other direction."""
    data = b"\1" + data[1:]
    _, whole, table = arrays(drawn)
    stack = Stack(data)
    values = model.pop(stack, whole, table)
    assert (np.abs(values - whole) <= MAX_DISTANCE).all()
    model.push(stack, values, whole, table)
    assert stack.to_bytes() == data


def test_shapes_are_kept_and_order_is_that_of_tables(model):
    mean, scale, shape = (part.reshape(4, -1) for part in everywhere(range(8)))
    whole, table = locate(mean, scale, shape)
    values = whole + (np.arange(whole.size, dtype=np.int32) % 7 - 3).reshape(whole.shape)
    stack = Stack()
    model.push(stack, values, whole, table)
    assert (model.pop(stack, whole, table) == values).all()
    order = np.argsort(table.ravel(), kind="stable")  # as FORMAT.md says: by table, then in raster order
    model.push(stack, values, whole, table)
    for position in order:
        place = whole.ravel()[position : position + 1], table.ravel()[position : position + 1]
        assert model.pop(stack, *place)[0] == values.ravel()[position]
    assert stack.is_empty


def test_nothing_costs_nothing(model):
    stack, none = Stack(), np.zeros((0, 3), dtype=np.int32)
    model.push(stack, none, none, none)
    assert stack.is_empty and stack.num_bits == 0 and stack.to_bytes() == b""
    assert model.pop(stack, none, none).shape == (0, 3)


@pytest.mark.parametrize("data", [b"a", b"abc", bytes(4), bytes(4) + b"abcd", b"abcde"])
def test_what_no_stack_looks_like(data):
    with pytest.raises(FormatError, match="stack"):
        Stack(data)
