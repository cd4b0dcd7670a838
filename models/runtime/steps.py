"""Steps: what a network computes, as named functions from numpy arrays to numpy arrays.

Room: runtime. Whoever walks through a network (`photo/prefix.py`, `lossless/walk.py`, `small/walk.py`) calls its steps
by name and does not know what runs them: `onnx_steps` or `torch_steps`. Both cut large maps into parts, which threads
share. How a map is cut depends on its size alone, so the bytes of a file do not depend on the number of threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise, product
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hcodec.models.runtime.threads import check, each

Array = NDArray[Any]
Function = Callable[..., Sequence[Array]]
_ROWS, _COLUMNS = 32, 128  # of a part, about: few enough for the cache, many enough beside those that are computed twice
_FEW = 4  # rows of a part of a step that sees one unit alone
_CELLS = 512  # about, that the second half of a step is computed for at once
_LEAST = 16  # rows that are worth two threads


@dataclass(frozen=True)
class Reach:
    """How far a step sees: `radius` cells of its input around each; `unit` x `unit` of them make one of what it computes on."""

    radius: int = 0
    unit: int = 1


class Steps(Protocol):
    """The steps of one network."""

    def __call__(self, name: str, *arrays: Array, into: Array | None = None) -> Sequence[Array]:
        """Returns what a step makes of arrays, float32 unless the step says otherwise; maps are (1, rows, columns, channels).

        into: an array that is not needed any more; what the step makes, one map of its shape, may take its place.
        """

    def reach(self, name: str) -> Reach:
        """Returns how far a step sees."""

    def __contains__(self, name: str) -> bool:
        """Whether there is a step of that name."""


@dataclass(frozen=True)
class Overlaid:
    """The steps of a network, of which some are replaced by others of the same names."""

    over: Steps
    under: Steps

    def __call__(self, name: str, *arrays: Array, into: Array | None = None) -> Sequence[Array]:
        """Returns what a step makes of arrays."""
        return self._holder(name)(name, *arrays, into=into)

    def reach(self, name: str) -> Reach:
        """Returns how far a step sees."""
        return self._holder(name).reach(name)

    def __contains__(self, name: str) -> bool:
        return name in self.over or name in self.under

    def _holder(self, name: str) -> Steps:
        return self.over if name in self.over else self.under


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


Spans = tuple[_Span, _Span]  # rows and columns of a part


@dataclass(frozen=True)
class Gather:
    """The first half of a step: a function of its first `count` arrays to what each cell needs of those around it."""

    function: Function
    count: int


def in_parts(
    function: Function, reach: Reach, arrays: Sequence[Array], into: Array | None = None, gather: Gather | None = None
) -> Sequence[Array]:
    """Returns what the function makes of the arrays, computed part by part; arrays that are no maps go to every part.

    Each part is computed with `radius` more cells around it, whose results are thrown away, so that cuts change nothing.
    gather: all that is computed with them, if the step has two halves; the function gets its results, too. into: as for
    `Steps`; one of the arrays only if no part sees cells of others.
    """
    check()
    height, width = arrays[0].shape[1:3]
    alone = reach.radius == 0 and height >= _LEAST * reach.unit  # nothing is computed twice: parts may be as small as is best
    rows = _spans(height, _FEW if alone else _ROWS, _LEAST, reach)
    columns = _spans(width, _COLUMNS, 2 * _COLUMNS, reach)
    whole = _Whole(function, arrays, [] if into is None else [into])
    if gather is not None:
        each(partial(whole.put_halves, gather), list(product(rows, columns)))
    elif len(rows) == len(columns) == 1:
        return function(*(_widened(x) for x in arrays))
    else:
        each(whole.put, list(product(rows, columns)))
    return whole.found


class _Whole:
    """What a function makes of whole maps; its parts are put in their places by several threads."""

    def __init__(self, function: Function, arrays: Sequence[Array], found: list[Array]) -> None:
        self.function, self.arrays, self.found = function, arrays, found
        self.lock = threading.Lock()

    def put(self, spans: Spans) -> None:
        """Computes a part."""
        check()
        down, across = spans
        results = self.function(*(_needed(x, spans) for x in self.arrays))
        self._make_room([(down.whole(x.shape[1]), across.whole(x.shape[2])) for x in results], results)
        for whole, result in zip(self.found, results, strict=True):
            whole[:, down.place(whole.shape[1]), across.place(whole.shape[2])] = _kept(result, spans)

    def put_halves(self, gather: Gather, spans: Spans) -> None:
        """Computes a part of a step with two halves, whose maps have the same rows and columns: the second in small pieces.

        What that makes of a piece on its way stays in the cache, and nothing is computed twice for a margin.
        """
        down, across = spans
        gathered = [_kept(x, spans) for x in gather.function(*(_needed(x, spans) for x in self.arrays[: gather.count]))]
        step = max(_CELLS // (across.end - across.begin), 1)
        for top in range(down.begin, down.end, step):
            check()
            bottom = min(top + step, down.end)
            place = slice(None), slice(top, bottom), slice(across.begin, across.end)
            here = [np.ascontiguousarray(x[:, top - down.begin : bottom - down.begin]) for x in gathered]
            own = [_widened(np.ascontiguousarray(x[place])) if x.ndim == 4 else x for x in self.arrays]
            results = self.function(*own, *here)
            self._make_room([self.arrays[0].shape[1:3]] * len(results), results)
            for whole, result in zip(self.found, results, strict=True):
                whole[place] = result

    def _make_room(self, sizes: Sequence[tuple[int, ...]], results: Sequence[Array]) -> None:
        """Makes room for whole maps of these rows and columns, of which the results are parts, where there is none yet."""
        with self.lock:
            for size, result in list(zip(sizes, results, strict=True))[len(self.found) :]:
                self.found.append(np.empty((1, *size, *result.shape[3:]), dtype=result.dtype))


def _kept(result: Array, spans: Spans) -> Array:
    """Returns what is kept of a result for what was needed of one part."""
    down, across = spans
    return result[:, down.kept(result.shape[1]), across.kept(result.shape[2])]


def _needed(x: Array, spans: Spans) -> Array:
    """Returns what one part needs of a map, be it finer or coarser than the first; what is no map, all of it."""
    if x.ndim != 4:
        return x
    down, across = spans
    return _widened(np.ascontiguousarray(x[:, down.needed(x.shape[1]), across.needed(x.shape[2])]))


def _widened(x: Array) -> Array:
    """Returns a map in the type that is computed with; float16 is how large ones are kept."""
    return x.astype(np.float32) if x.dtype == np.float16 else x


def _spans(length: int, most: int, least: int, reach: Reach) -> list[_Span]:
    """Returns the parts along an axis, nearly as long as each other: of about `most` cells, but two from `least` cells on."""
    units = -(-length // reach.unit)
    count = max(units // most, 1 + (units >= least))
    cuts = [units * i // count * reach.unit for i in range(count)] + [length]
    return [
        _Span(begin, end, max(begin - reach.radius, 0), min(end + reach.radius, length), length) for begin, end in pairwise(cuts)
    ]
