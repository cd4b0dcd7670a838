"""Scale offsets: by how many scale indices each channel of a latent is moved, fitted to one picture and sent with it.

Room: coders (encode step 9, decode step 6). Offsets stand before the latent's symbols, on the same stack. FORMAT.md,
"Scale offsets".
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hcodec.coding.stack import Part, Stack, Symbols
from hcodec.coding.tables import Indices, SymbolTables, chunks
from hcodec.errors import FormatError
from hcodec.models.tables.scales import NUM_SCALES
from hcodec.models.tables.symbol_tables import MAX_SYMBOL, OFFSET_INDEX, OFFSET_LIMIT

_SPAN = 2 * MAX_SYMBOL + 1  # of symbols


def parts(tables: SymbolTables, symbols: Symbols, indices: Indices) -> list[Part]:
    """Returns a latent, (1, H_l, W_l, C_l), after the offsets that shorten it most, and its indices moved by them."""
    offsets = choose(tables, symbols, indices)
    if offsets is None:
        return [_coded([0]), (symbols, indices)]
    return [
        _coded([1]),
        _coded(offsets.tolist()),
        (symbols, _moved(indices, offsets, tables.num_silent)),
    ]


def choose(tables: SymbolTables, symbols: Symbols, indices: Indices) -> Symbols | None:
    """Returns by how many scale indices each channel of a latent (1, H_l, W_l, C_l) is moved, (C_l,); None if it does not pay."""
    channels = symbols.shape[-1]
    place, index, symbol, count = _histogram(tables, symbols, indices)
    choices = np.arange(-OFFSET_LIMIT, OFFSET_LIMIT + 1)
    bits = np.empty((len(choices), channels))
    for row, offset in enumerate(choices):
        moved = np.clip(index + offset, tables.num_silent, NUM_SCALES - 1)
        bits[row] = np.bincount(place, count * tables.square[moved, symbol + MAX_SYMBOL], channels)
    price = tables.bits[OFFSET_INDEX]
    best = (bits + price[:, None]).argmin(0)
    spent = bits[best, np.arange(channels)].sum() + price[best].sum() + price[OFFSET_LIMIT + 1]
    return choices[best].astype(np.int32) if spent < bits[OFFSET_LIMIT].sum() + price[OFFSET_LIMIT] else None


def _histogram(tables: SymbolTables, symbols: Symbols, indices: Indices) -> Sequence[NDArray[np.intp]]:
    """Returns channel, scale index, value and number of all coded symbols that are alike."""
    channels = symbols.shape[-1]
    zeros = np.zeros(channels * NUM_SCALES, dtype=np.intp)  # most symbols are zero: those are counted without sorting
    counted = []
    for rows in chunks(symbols):
        kind = np.arange(channels, dtype=np.int32) * NUM_SCALES + indices[rows]
        zeros += np.bincount(kind[(indices[rows] >= tables.num_silent) & (symbols[rows] == 0)], minlength=len(zeros))
        moved = symbols[rows] != 0
        counted.append(np.unique(kind[moved] * _SPAN + symbols[rows][moved] + MAX_SYMBOL, return_counts=True))
    others, place = np.unique(np.concatenate([values for values, _ in counted]), return_inverse=True)
    counts = np.bincount(place, np.concatenate([numbers for _, numbers in counted]), len(others)).astype(np.intp)
    found = np.concatenate([np.flatnonzero(zeros), others // _SPAN])
    symbol = np.concatenate([np.zeros(np.count_nonzero(zeros), dtype=np.intp), others % _SPAN - MAX_SYMBOL])
    return found // NUM_SCALES, found % NUM_SCALES, symbol, np.concatenate([zeros[zeros > 0], counts])


def _moved(indices: Indices, offsets: Symbols, num_silent: int) -> Indices:
    """Returns the scale indices of a latent with its offsets; silent ones stay silent, and no others become so."""
    moved = indices + offsets.astype(np.int16)
    moved = np.clip(moved, num_silent, NUM_SCALES - 1, out=moved).astype(np.uint8)
    return np.where(indices < num_silent, indices, moved)


def pop(tables: SymbolTables, stack: Stack, indices: Indices) -> Indices:
    """Takes the offsets of the next latent; returns its scale indices moved by them. FormatError if there are no such offsets."""
    kind = int(stack.pop(tables, _indices(1))[0])
    if kind not in (0, 1):
        raise FormatError(f"a layer has scale offsets of kind {kind}")
    if not kind:
        return indices
    return _moved(indices, stack.pop(tables, _indices(indices.shape[-1])), tables.num_silent)


def _coded(values: list[int]) -> Part:
    return np.array(values, dtype=np.int32), _indices(len(values))


def _indices(count: int) -> Indices:
    return np.full(count, OFFSET_INDEX, dtype=np.uint8)
