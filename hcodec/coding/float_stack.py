"""One ANS stack for bits back with distributions given as floats: valid only on the machine that wrote it.

Room: entropy coding. No torch. What was pushed last is popped first; each push and its pop are mirror images. The stack starts
full of random words that both sides know, so that the first pops find something; `to_words` leaves out those that no pop
reached. Symbols far from the mean are coded in two parts: the limit of the table, then how far beyond it they are.
"""

from __future__ import annotations

import constriction
import numpy as np
from numpy.typing import NDArray

from hcodec.errors import FormatError, ModelError

Symbols = NDArray[np.int32]
Floats = NDArray[np.float64]
Words = NDArray[np.uint32]
_DEVIATIONS = 6  # a Gaussian's table reaches at least so far
_FARTHEST = 1 << 23  # of any mean, in steps: whole numbers up to twice that are exact in float32
_DIGIT = 1 << 12
_HIGH = constriction.stream.model.QuantizedLaplace(0, 4 * _FARTHEST // _DIGIT, 0.0, 0.5)  # digits of what is beyond a table
_LOW = constriction.stream.model.QuantizedLaplace(0, _DIGIT - 1, 0.0, 256.0)
LEAST_MASS = 2.0**-24  # of anything that can be coded
_TOTAL = 1 << 24
_UNIFORM = constriction.stream.model.Uniform(_TOTAL)
_SPARE = 4  # words that stay below the lowest level reached, so that the coder's own state is never cut


class FloatStack:
    """A stack of num_random known random words, and above them the words that `to_words` returned (uint32, lowest first)."""

    def __init__(self, num_random: int, words: Words | None = None) -> None:
        parts = [_random_words(num_random)] if words is None else [_random_words(num_random), words]
        joined = np.concatenate(parts)
        if len(joined) < 2 or not joined[-1]:
            raise FormatError("a stack of floats is empty or begins with a zero word")
        self.start = _random_words(num_random)
        self._coder = constriction.stream.stack.AnsCoder(joined)
        self._lowest = len(joined)

    @property
    def num_bits(self) -> int:
        """How many bits the stack holds, random ones included."""
        return int(self._coder.num_valid_bits())

    @property
    def lowest(self) -> int:
        """The fewest words that the stack ever held."""
        return self._lowest

    def to_words(self) -> tuple[int, Words]:
        """Returns how many random words were never reached, and all words above those."""
        words: Words = self._coder.get_compressed()
        untouched = max(0, min(self._lowest - _SPARE, len(self.start)))
        while untouched and not np.array_equal(words[:untouched], self.start[:untouched]):
            untouched -= 1
        return untouched, words[untouched:]

    def is_as_begun(self, words: int) -> bool:
        """Whether exactly the first so many random words are left, as when everything pushed has been popped."""
        return bool(np.array_equal(self._coder.get_compressed(), _random_words(words)))

    def whiten(self, count: int) -> None:
        """Adds known random numbers to the top `count` times 24 bits.

        Values far from what was expected leave bits that are not random. Popped as they are, they would give values that are far
        from what is expected, and so on from picture to picture.
        """
        self._add(_random_words(count).astype(np.int64))

    def unwhiten(self, count: int) -> None:
        """Undoes `whiten`."""
        self._add(-_random_words(count).astype(np.int64))

    def _add(self, numbers: NDArray[np.int64]) -> None:
        if len(numbers):
            popped = self._coder.decode(_UNIFORM, len(numbers))
            self._sink()
            self._coder.encode_reverse(((popped + numbers) % _TOTAL).astype(np.int32), _UNIFORM)

    def push_gaussian(self, symbols: Symbols, mean: Floats, scale: Floats) -> None:
        """Puts integers on the stack under Gaussians integrated over unit bins; all three (n,)."""
        center = _center(mean, scale)
        for chosen, limit in reversed(_octaves(scale)):
            family = constriction.stream.model.QuantizedGaussian(-limit, limit)
            self._push(symbols[chosen] - center[chosen], limit, family, (mean - center)[chosen], scale[chosen])

    def pop_gaussian(self, mean: Floats, scale: Floats) -> Symbols:
        """Takes what `push_gaussian` put there: int32 (n,)."""
        center, symbols = _center(mean, scale), np.zeros(len(mean), dtype=np.int32)
        for chosen, limit in _octaves(scale):
            family = constriction.stream.model.QuantizedGaussian(-limit, limit)
            symbols[chosen] = self._pop(limit, family, (mean - center)[chosen], scale[chosen])
        return symbols + center

    def push_near(self, offsets: Symbols, masses: Floats) -> None:
        """Puts integers (n,) on the stack under masses (n, 2 * limit + 1) of -limit..limit; farther ones are allowed."""
        limit = masses.shape[1] // 2
        self._far(offsets, limit)
        self.push_table(offsets.clip(-limit, limit) + np.int32(limit), masses)

    def pop_near(self, masses: Floats) -> Symbols:
        """Takes what `push_near` put there: int32 (n,)."""
        limit = masses.shape[1] // 2
        return self._beyond(self.pop_table(masses) - np.int32(limit), limit)

    def push_table(self, symbols: Symbols, masses: Floats) -> None:
        """Puts symbols (n,), each 0..S-1, on the stack under their masses (n, S), which need not add up to one."""
        if len(symbols):
            self._coder.encode_reverse(symbols, _categorical(), _checked(masses))

    def pop_table(self, masses: Floats) -> Symbols:
        """Takes what `push_table` put there: int32 (n,)."""
        if not len(masses):
            return np.zeros(0, dtype=np.int32)
        symbols: Symbols = self._coder.decode(_categorical(), _checked(masses))
        self._sink()
        return symbols

    def _push(self, offsets: Symbols, limit: int, family: object, *parameters: Floats) -> None:
        self._far(offsets, limit)
        self._coder.encode_reverse(offsets.clip(-limit, limit), family, *parameters)

    def _pop(self, limit: int, family: object, *parameters: Floats) -> Symbols:
        offsets = self._coder.decode(family, *parameters)
        self._sink()
        return self._beyond(offsets, limit)

    def _far(self, offsets: Symbols, limit: int) -> None:
        """Pushes how far beyond the limit the symbols are that reach it."""
        distance = np.abs(offsets[np.abs(offsets) >= limit]) - np.int32(limit)
        if len(distance):
            self._coder.encode_reverse(distance % _DIGIT, _LOW)
            self._coder.encode_reverse(distance // _DIGIT, _HIGH)

    def _beyond(self, offsets: Symbols, limit: int) -> Symbols:
        """Pops what `_far` pushed, and returns the whole symbols."""
        far = np.flatnonzero(np.abs(offsets) == limit)
        if len(far):
            high = self._coder.decode(_HIGH, len(far))
            offsets[far] += np.sign(offsets[far]) * (high * _DIGIT + self._coder.decode(_LOW, len(far)))
            self._sink()
        return offsets

    def _sink(self) -> None:
        """Remembers how low the stack went; FormatError if it ran dry, for then it gives out anything."""
        self._lowest = min(self._lowest, int(self._coder.num_words()))
        if self._lowest < _SPARE:
            raise FormatError("a stack of floats ran dry")


def _random_words(count: int) -> Words:
    """Returns words that are the same everywhere and never zero; NumPy keeps the legacy generator frozen for this."""
    words: Words = np.random.RandomState(0).randint(1, 1 << 32, size=count, dtype=np.uint32)
    return words


def _octaves(scale: Floats) -> list[tuple[NDArray[np.intp], int]]:
    """Returns positions of similar scales with the limit of their tables, small ones first."""
    octave = np.ceil(np.log2(scale)).clip(0, 18).astype(np.int64)
    return [(np.flatnonzero(octave == each), _DEVIATIONS << int(each)) for each in np.unique(octave)]


def _center(mean: Floats, scale: Floats) -> Symbols:
    if not (np.isfinite(mean).all() and np.isfinite(scale).all() and (scale > 0).all()):
        raise ModelError("the network gives distributions that are not finite")
    return np.rint(mean.clip(-_FARTHEST, _FARTHEST)).astype(np.int32)


def _checked(masses: Floats) -> Floats:
    if not (np.isfinite(masses).all() and (masses >= 0).all() and (masses.sum(1) > 0).all()):
        raise ModelError("the network gives distributions that are not finite")
    return masses


def _categorical() -> object:
    return constriction.stream.model.Categorical(perfect=False)
