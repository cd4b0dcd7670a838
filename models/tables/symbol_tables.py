"""Coding tables: for each scale index, integer weights of the symbols -K..K.

Room: tables (made at export, stored with the weights, used by the entropy coder). numpy only. The tables are counted
on real symbols, with the logistic distribution of the scale as what is believed before counting, so they absorb
whatever the training objective got wrong about rounded symbols. They are integers: files never depend on an exp or
erf.
"""

from __future__ import annotations

import math

import numpy as np

from hcodec.models.tables.scales import LOG_SCALE_STEP, MIN_LOG_SCALE, NUM_SCALES

TOTAL_BITS = 24  # format: constriction's probability precision
MAX_SYMBOL = 1023
OFFSET_INDEX = NUM_SCALES  # of a table that is the same for all models: by how many indices a picture wants a channel moved
OFFSET_LIMIT = 12
_BELIEF = 50.0  # how many counted symbols the logistic distribution is worth
_SILENT = 2e-4  # indices whose symbols differ from zero less often than this are not coded at all


def half_width(index: int) -> int:
    """Returns K, the largest magnitude that the table of a scale index holds."""
    scale = math.exp(MIN_LOG_SCALE + index * LOG_SCALE_STEP)
    return min(MAX_SYMBOL, 2 + math.ceil(14 * scale - 1e-6))  # the last scale is 64, give or take what exp rounds to here


def num_silent(counts: np.ndarray) -> int:
    """Returns how many of the lowest indices are silent: their symbols are always zero and cost nothing."""
    total = counts.sum(1) + _BELIEF
    moved = total - counts[:, MAX_SYMBOL] - _BELIEF * np.array([_logistic_mass(i, 0)[0] for i in range(NUM_SCALES)])
    loud = np.flatnonzero(moved / total > _SILENT)
    return int(loud[0]) if len(loud) else NUM_SCALES


def make(counts: np.ndarray) -> np.ndarray:
    """Returns all tables behind one another, int32: first the number of silent indices, then 2K+1 weights for each index.

    counts: (NUM_SCALES, 2 * MAX_SYMBOL + 1), how often each symbol was seen at each index.
    Weights of one table sum to 2^24 - (2K + 1); the coder adds one to each, so none is ever impossible.
    """
    parts = [np.array([num_silent(counts)], dtype=np.int64)]
    for index in range(NUM_SCALES):
        k = half_width(index)
        seen = counts[index, MAX_SYMBOL - k : MAX_SYMBOL + k + 1].astype(float)
        seen = (seen + seen[::-1]) / 2
        share = (seen + _BELIEF * _logistic_mass(index, k)) / (seen.sum() + _BELIEF)
        weights = np.floor(share / share.sum() * (2**TOTAL_BITS - (2 * k + 1))).astype(np.int64)
        weights[k] += 2**TOTAL_BITS - (2 * k + 1) - weights.sum()
        parts.append(weights)
    return np.concatenate(parts).astype(np.int32)


def offset_weights() -> np.ndarray:
    """Returns the weights of the table for offsets, -12..12: three quarters for 0, 2^-(3 + |d|) for d."""
    distance = np.abs(np.arange(-OFFSET_LIMIT, OFFSET_LIMIT + 1))
    weights = 2 ** (TOTAL_BITS - 3 - distance) - 1
    weights[OFFSET_LIMIT] += 2**TOTAL_BITS - (2 * OFFSET_LIMIT + 1) - weights.sum()
    return weights


def split(flat: np.ndarray) -> tuple[int, list[np.ndarray]]:
    """Returns the number of silent indices and the weights of each table; ValueError if they do not add up."""
    tables, position = [], 1
    for index in range(NUM_SCALES):
        size = 2 * half_width(index) + 1
        tables.append(flat[position : position + size])
        position += size
        if len(tables[-1]) != size or tables[-1].min() < 0 or int(tables[-1].sum()) != 2**TOTAL_BITS - size:
            raise ValueError(f"the table of scale index {index} does not add up")
    if position != len(flat) or not 0 <= flat[0] <= NUM_SCALES:
        raise ValueError("the coding tables have the wrong size")
    return int(flat[0]), tables


def _logistic_mass(index: int, k: int) -> np.ndarray:
    """Returns the mass of the unit bins around -k..k under the logistic distribution of a scale index."""
    edges = (np.arange(-k, k + 2) - 0.5) / np.exp(MIN_LOG_SCALE + index * LOG_SCALE_STEP)
    return np.diff(1 / (1 + np.exp(-np.clip(edges, -60, 60))))
