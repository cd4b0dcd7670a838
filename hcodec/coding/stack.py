"""One ANS stack: what was pushed last is popped first. The only importer of constriction.

Room: coding (encode step 9, decode step 6). `push` and `pop` are mirror images. A layer of a file is a stack of its
own, opened for reading with `cut` where its end is missing; the lossless layer and chains push and pop on one stack
by turns, as bits back does. FORMAT.md, "Layers".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import constriction
import numpy as np
from numpy.typing import NDArray

from hcodec.errors import FormatError

_TOTAL = 1 << 24  # format: frequencies of a table together
_STATE_WORDS = 2  # of constriction's coder
_PAD_WORDS = 4  # stand-ins below a cut stack, so that running dry shows

_BIT = constriction.stream.model.Categorical(perfect=False)  # a table of two symbols for each bit

Symbols = NDArray[np.int32]
Part = tuple[Symbols, NDArray[Any]]  # symbols and, of the same shape, which table codes each
Run = tuple[int, int, int]  # a table, and begin and end of its symbols in coding order


class Tables(Protocol):
    """A set of coding tables, as `tables` makes them: constriction's models, the largest symbol of each, its average bits."""

    models: list[Any]
    largest: NDArray[np.int32]
    mean_bits: NDArray[np.float64]

    def ordered(self, indices: NDArray[Any]) -> tuple[NDArray[np.intp], list[Run]]:
        """Returns the positions of all coded symbols in coding order, and the runs of one table in it."""


def categorical(weights: NDArray[np.int32]) -> Any:
    """Returns constriction's model of a table, int32 weights that sum to 2^24 - their number; each counts one more."""
    # integer weights whose sum leaves one for each symbol make constriction's table exactly weight + 1
    return constriction.stream.model.Categorical(weights.astype(np.float64), perfect=False)


def _weights(ones: NDArray[np.signedinteger]) -> NDArray[np.float64]:
    """Returns the weights, as those of `categorical`, of tables of two symbols, given the frequency of the second."""
    weights = np.empty((len(ones), 2))
    weights[:, 0], weights[:, 1] = _TOTAL - 1 - ones, ones - 1
    return weights


class Stack:
    """An ANS stack.

    An empty stack gives out arbitrary symbols for ever: whoever pops checks `num_bits` before, or a checksum after. A cut one
    gives zeros instead once its words are used up; then `exhausted` is true, and `share` says how much of what was asked for
    was there, by the bits that such symbols take on average; num_popped: how many symbols were.
    """

    def __init__(self, data: bytes = b"", cut: bool = False) -> None:
        """Opens the stack that `to_bytes` closed, or the beginning of one; FormatError if no stack can look like that."""
        if len(data) % 4 and not cut:
            raise FormatError(f"a stack of {len(data)} bytes is not made of 32-bit words")
        words = np.frombuffer(data[: len(data) // 4 * 4], dtype="<u4").astype(np.uint32)[::-1]
        if len(words) and not words[-1]:
            raise FormatError("a stack begins with a zero word")
        self.cut, self.exhausted = cut, cut and len(words) < _STATE_WORDS
        if cut:
            words = np.concatenate([np.ones(_PAD_WORDS, dtype=np.uint32), words])
        self._coder = constriction.stream.stack.AnsCoder(np.ascontiguousarray(words))
        self.num_popped = 0
        self._bits_popped = self._bits_wanted = 0.0

    @property
    def num_bits(self) -> int:
        """How many bits the stack holds."""
        return int(self._coder.num_valid_bits())

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left to pop."""
        return bool(self._coder.is_empty())

    @property
    def share(self) -> float:
        """The share of the symbols popped so far that was there, by their average bits."""
        return self._bits_popped / self._bits_wanted if self._bits_wanted else 0.0

    def push(self, tables: Tables, symbols: Symbols, indices: NDArray[Any]) -> None:
        """Puts int32 symbols on the stack; indices, of the same shape: the table of each. Each table must hold its symbols."""
        order, runs = tables.ordered(indices)
        ordered = symbols.ravel()[order]
        for table, begin, end in reversed(runs):
            self._coder.encode_reverse(ordered[begin:end] + tables.largest[table], tables.models[table])

    def pop(self, tables: Tables, indices: NDArray[Any]) -> Symbols:
        """Takes what `push` put there: int32 symbols in the shape of their indices; those that are not coded are 0."""
        order, runs = tables.ordered(indices)
        ordered = np.zeros(len(order), dtype=np.int32)
        for table, begin, end in runs:
            popped = self._pop(tables.models[table], end - begin)
            ordered[begin : begin + len(popped)] = popped - tables.largest[table]
            self.num_popped += len(popped)
            self._bits_wanted += (end - begin) * tables.mean_bits[table]
            self._bits_popped += len(popped) * tables.mean_bits[table]
        symbols = np.zeros(indices.size, dtype=np.int32)
        symbols[order] = ordered
        return symbols.reshape(indices.shape)

    def _pop(self, model: Any, count: int) -> Symbols:
        """Pops `count` symbols, of a cut stack only as many as do not need a stand-in word."""
        if not self.cut:
            whole: Symbols = self._coder.decode(model, count)
            return whole
        popped = [np.zeros(0, dtype=np.int32)]
        while count and not self.exhausted:
            spare = self._coder.num_words() - _STATE_WORDS - _PAD_WORDS
            popped.append(self._coder.decode(model, max(1, min(count, spare))))  # a symbol refills one word at most
            count -= len(popped[-1])
            # the symbol that needed the refill was still read from true bits, the next one would not be
            self.exhausted = self._coder.num_words() < _STATE_WORDS + _PAD_WORDS
        return np.concatenate(popped)

    def push_bits(self, bits: NDArray[np.int8], ones: NDArray[np.int32]) -> None:
        """Puts bits on the stack; ones: the frequency of a 1 for each of them, 1 .. 2^24 - 1."""
        self._coder.encode_reverse(bits.astype(np.int32), _BIT, _weights(ones))

    def pop_bits(self, ones: NDArray[np.int64]) -> NDArray[np.int64]:
        """Takes what `push_bits` put there. Once a cut stack is exhausted, all of them are arbitrary."""
        bits: NDArray[np.int64] = self._coder.decode(_BIT, _weights(ones)).astype(np.int64)
        self.exhausted |= self.cut and self._coder.num_words() < _STATE_WORDS + _PAD_WORDS
        return bits

    def close(self) -> None:
        """Raises FormatError if a whole stack holds more than was popped, which no encoder writes."""
        if not self.cut and not self.is_empty:
            raise FormatError("a stack does not end where its symbols end")

    def to_bytes(self) -> bytes:
        """Returns the stack, top first."""
        return bytes(self._coder.get_compressed()[::-1].astype("<u4").tobytes())


def stacked(tables: Tables, parts: Iterable[Part]) -> bytes:
    """Returns a stack from which the parts can be popped in the order given."""
    stack = Stack()
    for part in reversed(list(parts)):
        stack.push(tables, *part)
    return stack.to_bytes()
