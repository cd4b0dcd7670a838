"""The coding tables of models, ready for the stack: which symbols each holds, their bits, and the order of coding."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcodec.coding.stack import Run, Stack, Symbols, categorical
from hcodec.models.tables import likelihood, symbol_tables
from hcodec.models.tables.scales import NUM_SCALES

Indices = NDArray[np.uint8]
_TOTAL = float(1 << symbol_tables.TOTAL_BITS)
_FAR = 2**20  # beyond any symbol, and within int32
_CHUNK = 2**18  # values of a map, about, that are worked on at once: few enough for the cache


def chunks(values: NDArray[Any]) -> list[tuple[slice, slice]]:
    """Returns the indices of a map (1, H, W, C) that take it some rows at a time."""
    height = values.shape[1]
    step = max(_CHUNK * height // max(values.size, 1), 1)
    return [(slice(None), slice(top, top + step)) for top in range(0, height, step)]


class SymbolTables:
    """The tables of a model's latents, by scale index, and behind them that of scale offsets.

    flat: as `models.tables.symbol_tables.make` returns them. Symbols of one latent are coded in the order of falling scale index,
    and within one index in raster order, channels last: both sides know the indices, and a layer that is cut anywhere still
    gives its most valuable symbols. Below `num_silent` nothing is coded.
    """

    def __init__(self, flat: NDArray[np.int32]) -> None:
        self.num_silent, weights = symbol_tables.split(flat)
        weights.append(symbol_tables.offset_weights())
        self.largest = np.array([len(w) // 2 for w in weights], dtype=np.int32)
        self.largest[: self.num_silent] = 0
        self.models = [categorical(w) for w in weights]
        self.bits = [-np.log2((w.astype(np.float64) + 1) / _TOTAL) for w in weights]
        self.mean_bits = np.array([(2.0**-bits) @ bits for bits in self.bits])

    @cached_property
    def square(self) -> NDArray[np.float64]:
        """Bits by scale index and symbol, from -MAX_SYMBOL on; infinity where a table does not hold the symbol."""
        middle = symbol_tables.MAX_SYMBOL
        bits = np.full((NUM_SCALES, 2 * middle + 1), np.inf)
        for row, known in zip(bits, self.bits, strict=False):
            row[middle - len(known) // 2 : middle + len(known) // 2 + 1] = known
        return bits

    def nearest(self, wanted: NDArray[np.float32], indices: Indices) -> Symbols:
        """Returns what is wanted of the symbols of a latent (1, H_l, W_l, C_l), rounded and clamped."""
        symbols = np.empty(wanted.shape, dtype=np.int32)
        for rows in chunks(wanted):
            whole = np.rint(wanted[rows])
            symbols[rows] = self.clamp(np.clip(whole, -_FAR, _FAR, out=whole).astype(np.int32), indices[rows])
        return symbols

    def clamp(self, symbols: Symbols, indices: Indices) -> Symbols:
        """Returns the symbols (any shape) limited to what the tables of their indices hold; silent ones become 0."""
        limit = self.largest[indices]
        clamped = np.minimum(symbols, limit)
        return np.maximum(clamped, np.negative(limit, out=limit), out=clamped)

    def estimate(self, symbols: Symbols, indices: Indices) -> float:
        """Returns the information content of the symbols, in bits."""
        order, runs = self.ordered(indices)
        ordered = symbols.ravel()[order]
        return float(sum(self.bits[i][ordered[a:b] + self.largest[i]].sum() for i, a, b in runs))

    def ordered(self, indices: NDArray[Any]) -> tuple[NDArray[np.intp], list[Run]]:
        """Returns the positions of all coded symbols in coding order, and the runs of one scale index in it."""
        flat = indices.ravel()
        loud = np.flatnonzero(flat >= self.num_silent)  # of a photograph at most half
        order = loud[np.argsort(255 - flat[loud], kind="stable")]
        counts = np.bincount(flat, minlength=256)
        runs, begin = [], 0
        for index in range(255, self.num_silent - 1, -1):
            if counts[index]:
                runs.append((index, begin, begin + int(counts[index])))
                begin += int(counts[index])
        return order, runs


class PixelTables:
    """The tables of a lossless model: of distances from the whole part of a mean, in raster order, and that of offsets.

    flat: as `models.tables.likelihood.make` returns them.
    """

    def __init__(self, flat: NDArray[np.int32]) -> None:
        frequencies = [*likelihood.split(flat), likelihood.offset_frequencies()]
        self.models = [categorical(f - 1) for f in frequencies]
        self.largest = np.full(len(frequencies), likelihood.MAX_DISTANCE, dtype=np.int32)
        self.bits = likelihood.TOTAL_BITS - np.log2(np.stack(frequencies).astype(np.float64))
        self.mean_bits = (np.exp2(-self.bits) * self.bits).sum(1)

    def estimate(self, values: Symbols, whole: Symbols, table: Symbols) -> float:
        """Returns the information content of the values, in bits."""
        return float(self.bits[table.ravel(), (values - whole).ravel() + likelihood.MAX_DISTANCE].sum())

    def push(self, stack: Stack, values: Symbols, whole: Symbols, table: Symbols) -> None:
        """Puts int32 values on the stack; whole and table, of the same shape, as from `likelihood.locate`."""
        stack.push(self, values - whole, table)

    def pop(self, stack: Stack, whole: Symbols, table: Symbols) -> Symbols:
        """Takes what `push` put there: int32 values in the shape of `whole`."""
        return stack.pop(self, table) + whole

    def ordered(self, indices: NDArray[Any]) -> tuple[NDArray[np.intp], list[Run]]:
        """Returns the positions of all values in coding order, and the runs of one table in it."""
        flat = indices.ravel().astype(np.uint16)
        order = np.argsort(flat, kind="stable")  # a radix sort, of this type
        counts = np.bincount(flat)
        present = np.flatnonzero(counts)
        ends = counts[present].cumsum().tolist()
        return order, list(zip(present.tolist(), [0, *ends], ends, strict=False))
