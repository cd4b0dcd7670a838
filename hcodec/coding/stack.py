"""Symbols and tables to layer bytes and back: one ANS stack per layer.

Room: coding (encode step 9, decode step 6), the only importer of constriction; no torch. Symbols of one latent are
coded in the order of falling scale index, and within one index in raster order, channels last: both sides know the
indices, and a layer that is cut anywhere still gives its most valuable symbols. Written down in FORMAT.md, "Layers".
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import constriction
import numpy as np
from numpy.typing import NDArray

from hcodec.errors import FormatError
from hcodec.models.tables import likelihood, symbol_tables
from hcodec.models.tables.scales import NUM_SCALES

_STATE_WORDS = 2  # of constriction's coder
_PAD_WORDS = 4  # stand-ins below a cut stack, so that running dry shows

Symbols = NDArray[np.int32]
Indices = NDArray[np.uint8]


class EntropyModel:
    """The coding tables of a model, ready for constriction. flat: as `symbol_tables.make` returns them."""

    def __init__(self, flat: NDArray[np.int32]) -> None:
        self.num_silent, weights = symbol_tables.split(flat)
        weights.append(symbol_tables.offset_weights())
        self.half_width = np.array([len(w) // 2 for w in weights], dtype=np.int32)
        self.half_width[: self.num_silent] = 0
        # integer weights whose sum leaves one for each symbol make constriction's table exactly weight + 1
        self.models = [constriction.stream.model.Categorical(w.astype(np.float64), perfect=False) for w in weights]
        total = float(1 << symbol_tables.TOTAL_BITS)
        self.bits = [-np.log2((w.astype(np.float64) + 1) / total) for w in weights]
        self.mean_bits = [float((2.0**-bits) @ bits) for bits in self.bits]

    @cached_property
    def square(self) -> NDArray[np.float64]:
        """Bits by scale index and symbol, from -MAX_SYMBOL on; infinity where a table does not hold the symbol."""
        bits = np.full((NUM_SCALES, 2 * symbol_tables.MAX_SYMBOL + 1), np.inf)
        for row, known in zip(bits, self.bits, strict=False):
            row[symbol_tables.MAX_SYMBOL - len(known) // 2 : symbol_tables.MAX_SYMBOL + len(known) // 2 + 1] = known
        return bits

    def clamp(self, symbols: Symbols, indices: Indices) -> Symbols:
        """Returns the symbols (any shape) limited to what the tables of their indices hold; silent ones become 0."""
        limit = self.half_width[indices]
        return np.clip(symbols, -limit, limit)

    def estimate(self, symbols: Symbols, indices: Indices) -> float:
        """Returns the information content of the symbols, in bits."""
        order, bounds = _by_falling_scale(indices, self.num_silent)
        values = symbols.ravel()[order]
        return float(sum(self.bits[i][values[a:b] + self.half_width[i]].sum() for i, a, b in bounds))


def _by_falling_scale(indices: Indices, num_silent: int) -> tuple[NDArray[np.intp], list[tuple[int, int, int]]]:
    """Returns the positions of all coded symbols in coding order, and (index, begin, end) of each run in it."""
    flat = indices.ravel()
    order = np.argsort(255 - flat, kind="stable")
    counts = np.bincount(flat, minlength=256)
    bounds, begin = [], 0
    for index in range(255, num_silent - 1, -1):
        if counts[index]:
            bounds.append((index, begin, begin + int(counts[index])))
            begin += int(counts[index])
    return order[:begin], bounds


def encode_layer(model: EntropyModel, latents: Sequence[tuple[Symbols, Indices]]) -> bytes:
    """Returns the layer that holds the latents' symbols (clamped, int32) in the order given, first ones first."""
    stack = Stack()
    for symbols, indices in reversed(latents):
        stack.push_symbols(model, symbols, indices)
    return stack.to_bytes()


class LayerDecoder:
    """Pops the symbols of one layer, latent after latent.

    data: the layer's bytes; whole: whether they are all there. `exhausted` says that symbols were missing; those are 0.
    num_decoded: how many were there.
    """

    def __init__(self, model: EntropyModel, data: bytes, whole: bool) -> None:
        self.model, self.whole = model, whole
        if whole and len(data) % 4:
            raise FormatError(f"a layer of {len(data)} bytes is not made of 32-bit words")
        words = np.frombuffer(data[: len(data) // 4 * 4], dtype="<u4").astype(np.uint32)[::-1]
        if len(words) and not words[-1]:
            raise FormatError("a layer begins with a zero word")
        self.exhausted = not whole and len(words) < _STATE_WORDS
        if not whole:
            words = np.concatenate([np.ones(_PAD_WORDS, dtype=np.uint32), words])
        self._coder = constriction.stream.stack.AnsCoder(np.ascontiguousarray(words))
        self.num_decoded = 0
        self._bits_decoded = self._bits_expected = 0.0

    @property
    def share(self) -> float:
        """The share of the latents so far that was there, by the bits that their symbols can be expected to take."""
        return self._bits_decoded / self._bits_expected if self._bits_expected else 0.0

    def decode(self, indices: Indices) -> Symbols:
        """Returns the next latent's symbols, int32, in the shape of its scale indices (uint8)."""
        order, bounds = _by_falling_scale(indices, self.model.num_silent)
        values = np.zeros(len(order), dtype=np.int32)
        for index, begin, end in bounds:
            self._bits_expected += (end - begin) * self.model.mean_bits[index]
            if self.exhausted:
                continue
            popped = self._pop(index, end - begin)
            values[begin : begin + len(popped)] = popped - self.model.half_width[index]
            self.num_decoded += len(popped)
            self._bits_decoded += len(popped) * self.model.mean_bits[index]
        symbols = np.zeros(indices.size, dtype=np.int32)
        symbols[order] = values
        return symbols.reshape(indices.shape)

    def close(self) -> None:
        """Raises FormatError if a whole layer held more than its symbols, which no encoder writes."""
        if self.whole and not self._coder.is_empty():
            raise FormatError("a layer does not end where its symbols end")

    def _pop(self, index: int, count: int) -> Symbols:
        """Pops `count` symbols, of a cut layer only as many as do not need a stand-in word."""
        model = self.model.models[index]
        if self.whole:
            return self._coder.decode(model, count)
        popped = [np.zeros(0, dtype=np.int32)]
        while count and not self.exhausted:
            spare = self._coder.num_words() - _STATE_WORDS - _PAD_WORDS
            popped.append(self._coder.decode(model, max(1, min(count, spare))))  # a symbol refills one word at most
            count -= len(popped[-1])
            # the symbol that needed the refill was still read from true bits, the next one would not be
            self.exhausted = self._coder.num_words() < _STATE_WORDS + _PAD_WORDS
        return np.concatenate(popped)


class Likelihood:
    """The tables of a lossless model, ready for constriction. flat: as `likelihood.make` returns them."""

    def __init__(self, flat: NDArray[np.int32]) -> None:
        frequencies = [*likelihood.split(flat), likelihood.offset_frequencies()]
        self.models = [constriction.stream.model.Categorical((f - 1).astype(np.float64), perfect=False) for f in frequencies]
        self.bits = likelihood.TOTAL_BITS - np.log2(np.stack(frequencies).astype(np.float64))

    def estimate(self, values: Symbols, whole: Symbols, table: Symbols) -> float:
        """Returns the information content of the values, in bits."""
        return float(self.bits[table.ravel(), (values - whole).ravel() + likelihood.MAX_DISTANCE].sum())


class Stack:
    """One ANS stack for bits back: what was pushed last is popped first.

    An empty stack gives out arbitrary values for ever: whoever pops checks `num_bits` before, or a checksum after.
    """

    def __init__(self, data: bytes = b"") -> None:
        """Opens the stack that `to_bytes` closed; FormatError if no stack can look like that."""
        if len(data) % 4:
            raise FormatError(f"a stack of {len(data)} bytes is not made of 32-bit words")
        words = np.frombuffer(data, dtype="<u4").astype(np.uint32)[::-1]
        if len(words) and not words[-1]:
            raise FormatError("a stack begins with a zero word")
        self._coder = constriction.stream.stack.AnsCoder(np.ascontiguousarray(words))

    @property
    def num_bits(self) -> int:
        """How many bits the stack holds."""
        return int(self._coder.num_valid_bits())

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left to pop."""
        return bool(self._coder.is_empty())

    def push(self, model: Likelihood, values: Symbols, whole: Symbols, table: Symbols) -> None:
        """Puts int32 values on the stack; whole and table, of the same shape, as from `likelihood.locate`."""
        order, bounds = _by_table(table)
        distance = (values - whole).ravel()[order] + np.int32(likelihood.MAX_DISTANCE)
        for index, begin, end in reversed(bounds):
            self._coder.encode_reverse(distance[begin:end], model.models[index])

    def pop(self, model: Likelihood, whole: Symbols, table: Symbols) -> Symbols:
        """Takes what `push` put there: int32 values in the shape of `whole`."""
        order, bounds = _by_table(table)
        distance = np.empty(len(order), dtype=np.int32)
        for index, begin, end in bounds:
            distance[begin:end] = self._coder.decode(model.models[index], end - begin)
        values = np.empty(whole.size, dtype=np.int32)
        values[order] = distance - np.int32(likelihood.MAX_DISTANCE)
        return values.reshape(whole.shape) + whole

    def push_symbols(self, model: EntropyModel, symbols: Symbols, indices: Indices) -> None:
        """Puts a latent's symbols (clamped, int32) on the stack, as `encode_layer` orders them."""
        order, bounds = _by_falling_scale(indices, model.num_silent)
        values = symbols.ravel()[order]
        for index, begin, end in reversed(bounds):
            self._coder.encode_reverse(values[begin:end] + model.half_width[index], model.models[index])

    def pop_symbols(self, model: EntropyModel, indices: Indices) -> Symbols:
        """Takes what `push_symbols` put there: int32 symbols in the shape of their scale indices (uint8)."""
        order, bounds = _by_falling_scale(indices, model.num_silent)
        symbols = np.zeros(indices.size, dtype=np.int32)
        for index, begin, end in bounds:
            symbols[order[begin:end]] = self._coder.decode(model.models[index], end - begin) - model.half_width[index]
        return symbols.reshape(indices.shape)

    def to_bytes(self) -> bytes:
        """Returns the stack, top first."""
        return bytes(self._coder.get_compressed()[::-1].astype("<u4").tobytes())


def _by_table(table: Symbols) -> tuple[NDArray[np.intp], list[tuple[int, int, int]]]:
    """Returns the positions of all values in coding order, and (table, begin, end) of each run in it."""
    flat = table.ravel().astype(np.uint16)
    order = np.argsort(flat, kind="stable")
    ends = np.bincount(flat).cumsum().tolist()
    begins = [0, *ends][:-1]
    return order, [(index, begin, end) for index, (begin, end) in enumerate(zip(begins, ends, strict=True)) if begin < end]
