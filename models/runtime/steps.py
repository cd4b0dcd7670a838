"""Steps: what a network computes, as named functions from numpy arrays to numpy arrays.

Room: runtime. Whoever walks through a network (`photo/prefix.py`, `lossless/walk.py`, `small/walk.py`) calls its steps
by name and does not know what runs them: `onnx_steps` or `torch_steps`. Both cut large maps into parts, which threads
share. How a map is cut depends on its size alone, so the bytes of a file do not depend on the number of threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hcodec.models.runtime.threads import check, each

Array = NDArray[Any]
Function = Callable[..., Sequence[Array]]
_ROWS, _COLUMNS = 32, 128  # of a part, about: few enough for the cache, many enough beside those that are computed twice
_LEAST = 16  # rows that are worth two threads


class Steps(Protocol):
    """The steps of one network."""

    def __call__(self, name: str, *arrays: Array) -> Sequence[Array]:
        """Returns what a step makes of arrays, float32 unless the step says otherwise; maps are (1, rows, columns, channels)."""


@dataclass(frozen=True)
class Reach:
    """How far a step sees: `radius` cells of its input around each; `unit` x `unit` of them make one of what it computes on."""

    radius: int = 0
    unit: int = 1


@dataclass(frozen=True)
class _Span:
    """A part along one axis of `length` cells: begin..end, of which low..high are needed."""

    begin: int
    end: int
    low: int
    high: int
    length: int

    def needed(self, length: int) -> slice:
        """Returns what is needed of a map that has `length` cells along this axis."""
        return slice(length * self.low // self.length, length * self.high // self.length)

    def place(self, length: int) -> slice:
        """Returns where the part lies in a map that has `length` cells along this axis."""
        return slice(length * self.begin // self.length, length * self.end // self.length)

    def kept(self, length: int) -> slice:
        """Returns where the part lies in a result for what was needed, which has `length` cells along this axis."""
        size = self.high - self.low
        return slice(length * (self.begin - self.low) // size, length * (self.end - self.low) // size)

    def whole(self, length: int) -> int:
        """Returns how many cells a whole map has, of which what was needed gave `length`."""
        return length * self.length // (self.high - self.low)


def in_parts(function: Function, reach: Reach, arrays: Sequence[Array]) -> Sequence[Array]:
    """Returns what the function makes of the arrays, computed part by part; arrays that are no maps go to every part.

    Each part is computed with `radius` more cells around it, whose results are thrown away, so that cuts change nothing.
    """
    check()
    height, width = arrays[0].shape[1:3]
    rows, columns = _spans(height, _ROWS, _LEAST, reach), _spans(width, _COLUMNS, 2 * _COLUMNS, reach)
    if len(rows) == len(columns) == 1:
        return function(*(_widened(x) for x in arrays))
    found: list[Array] = []
    lock = threading.Lock()

    def part(spans: tuple[_Span, _Span]) -> None:
        """Puts the results for one part in their place."""
        check()
        results = function(*(_needed(x, spans) if x.ndim == 4 else x for x in arrays))
        with lock:
            if not found:
                found.extend(_room(result, spans) for result in results)
        for whole, result in zip(found, results, strict=True):
            down, across = spans
            whole[:, down.place(whole.shape[1]), across.place(whole.shape[2])] = result[
                :, down.kept(result.shape[1]), across.kept(result.shape[2])
            ]

    each(part, list(product(rows, columns)))
    return found


def _needed(x: Array, spans: tuple[_Span, _Span]) -> Array:
    """Returns what one part needs of a map, be it finer or coarser than the first."""
    down, across = spans
    return _widened(np.ascontiguousarray(x[:, down.needed(x.shape[1]), across.needed(x.shape[2])]))


def _widened(x: Array) -> Array:
    """Returns a map in the type that is computed with; float16 is how large ones are kept."""
    return x.astype(np.float32) if x.dtype == np.float16 else x


def _room(result: Array, spans: tuple[_Span, _Span]) -> Array:
    """Returns room for the whole map of which a result is a part."""
    down, across = spans
    return np.empty((1, down.whole(result.shape[1]), across.whole(result.shape[2]), *result.shape[3:]), dtype=result.dtype)


def _spans(length: int, most: int, least: int, reach: Reach) -> list[_Span]:
    """Returns the parts along an axis, nearly as long as each other: of about `most` cells, but two from `least` cells on."""
    units = -(-length // reach.unit)
    count = max(units // most, 1 + (units >= least))
    cuts = [units * i // count * reach.unit for i in range(count)] + [length]
    return [
        _Span(begin, end, max(begin - reach.radius, 0), min(end + reach.radius, length), length) for begin, end in pairwise(cuts)
    ]
