"""The family of distributions of the lossless layers: mixtures of two discretized logistics, as integer tables.

Room: tables (made at export, stored with the weights, used by the entropy coder). numpy only. A value (a sub-pixel,
or a latent of a small picture) has a mean in eighths, a scale index and a shape index. Both logistics of a mixture share
the mean; the second is WIDE times as wide, and the shape index says how much it weighs. Steps of the mean finer than the scale
can notice share a table. Tables may be counted on real values, with the mixture as what is believed before counting.

Everything in capitals is part of the format (FORMAT.md, "The lossless layer").
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from hcodec.models.tables.symbol_tables import OFFSET_LIMIT, offset_weights

TOTAL_BITS = 24
MEAN_STEPS = 8  # a mean is given in units of 1 / MEAN_STEPS
MAX_DISTANCE = 255  # of a value from the whole part of its mean
NUM_SCALES = 48
MIN_LOG_SCALE = math.log(0.04)
LOG_SCALE_STEP = math.log(48 / 0.04) / (NUM_SCALES - 1)
NUM_SHAPES = 4
MIN_TAIL = -4.0  # logit of the weight of the wide logistic at shape index 0
TAIL_STEP = 4 / 3  # between neighboring shape indices; the last one weighs both alike
WIDE = 3.5
_BELIEF = 200.0  # how many counted values the mixture is worth

Ints = NDArray[np.int32]


def _steps(index: int) -> int:
    """Returns how many means between two integers have tables of their own at a scale index."""
    scale = math.exp(MIN_LOG_SCALE + index * LOG_SCALE_STEP)
    return next((steps for limit, steps in ((0.6, 8), (1.6, 4), (4.0, 2)) if scale < limit), 1)


STEPS = np.array([_steps(i) for i in range(NUM_SCALES)], dtype=np.int32)
_STEP_BITS = np.log2(STEPS).astype(np.int32)
_FIRST = np.concatenate([[0], STEPS.cumsum()]).astype(np.int32)  # table of each scale index at shape 0 and a whole mean
NUM_TABLES = NUM_SHAPES * int(_FIRST[-1])
OFFSET_TABLE = NUM_TABLES  # one more, the same for all models: by how much offsets differ from what is expected


def locate(mean: Ints, scale: Ints, shape: Ints) -> tuple[Ints, Ints]:
    """Returns the whole part of the mean and the table, int32, of values with means in eighths and the given indices."""
    bits = _STEP_BITS[scale]
    rounded = ((mean << (bits + 1)) + MEAN_STEPS) >> 4  # as divided by 2 * MEAN_STEPS
    whole = rounded >> bits
    return whole, _FIRST[scale] + (rounded - (whole << bits)) + shape * _FIRST[-1]


def half_width(scale: int) -> int:
    """Returns the largest distance at which tables of a scale index tell values apart by more than the least frequency."""
    return min(MAX_DISTANCE, 2 + math.ceil(14 * WIDE * math.exp(MIN_LOG_SCALE + scale * LOG_SCALE_STEP) - 1e-6))


def _cells() -> list[tuple[int, int, int]]:
    """Returns (shape, scale, step) of each table, in order."""
    return [(shape, scale, step) for shape in range(NUM_SHAPES) for scale in range(NUM_SCALES) for step in range(STEPS[scale])]


def make(counts: NDArray[np.int64] | None = None) -> Ints:
    """Returns all tables behind one another: for each, the weights of the distances -K..K, K its `half_width`.

    counts: (NUM_TABLES, 2 * MAX_DISTANCE + 1), how often each distance was seen; None believes the mixture alone. The
    coder adds one to each weight and gives one to each distance beyond K; together that makes 2^24.
    """
    parts = []
    for table, (shape, scale, step) in enumerate(_cells()):
        k = half_width(scale)
        mass = _mass(shape, scale, step, k)
        if counts is not None:
            seen = counts[table, MAX_DISTANCE - k : MAX_DISTANCE + k + 1].astype(float)
            mass = (seen + _BELIEF * mass) / (seen.sum() + _BELIEF)
        weights = np.floor(mass / mass.sum() * (2**TOTAL_BITS - 2 * MAX_DISTANCE - 1)).astype(np.int64)
        weights[weights.argmax()] += 2**TOTAL_BITS - 2 * MAX_DISTANCE - 1 - weights.sum()
        parts.append(weights)
    return np.concatenate(parts).astype(np.int32)


def split(flat: Ints) -> list[Ints]:
    """Returns the frequencies of each table, int32 (2 * MAX_DISTANCE + 1,); ValueError if they do not add up."""
    tables, position = [], 0
    for table, (_, scale, _) in enumerate(_cells()):
        k = half_width(scale)
        weights = flat[position : position + 2 * k + 1]
        position += 2 * k + 1
        frequencies = np.ones(2 * MAX_DISTANCE + 1, dtype=np.int32)
        if len(weights) != 2 * k + 1 or weights.min() < 0:
            raise ValueError(f"table {table} of the likelihood does not add up")
        frequencies[MAX_DISTANCE - k : MAX_DISTANCE + k + 1] += weights
        if int(frequencies.sum()) != 2**TOTAL_BITS:
            raise ValueError(f"table {table} of the likelihood does not add up")
        tables.append(frequencies)
    if position != len(flat):
        raise ValueError("the tables of the likelihood have the wrong size")
    return tables


def offset_frequencies() -> Ints:
    """Returns the frequencies of the offset table: `symbol_tables.offset_weights`, the least frequency beyond its limit."""
    frequencies = np.ones(2 * MAX_DISTANCE + 1, dtype=np.int32)
    frequencies[MAX_DISTANCE - OFFSET_LIMIT : MAX_DISTANCE + OFFSET_LIMIT + 1] += offset_weights().astype(np.int32)
    frequencies[MAX_DISTANCE] += 2**TOTAL_BITS - frequencies.sum()
    return frequencies


def _mass(shape: int, scale: int, step: int, k: int) -> NDArray[np.float64]:
    """Returns the mass of the unit bins around -k..k under a mixture whose mean is step / STEPS."""
    edges = np.arange(-k, k + 2) - 0.5 - step / STEPS[scale]
    spread = math.exp(MIN_LOG_SCALE + scale * LOG_SCALE_STEP)
    wide = 1 / (1 + math.exp(-(MIN_TAIL + shape * TAIL_STEP)))
    masses = [np.diff(1 / (1 + np.exp(-np.clip(edges / s, -60, 60)))) for s in (spread, WIDE * spread)]
    mixed: NDArray[np.float64] = (1 - wide) * masses[0] + wide * masses[1]
    return mixed
