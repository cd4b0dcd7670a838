"""Steps: what a network computes, as named functions from numpy arrays to numpy arrays.

Room: runtime. Whoever walks through a network (`photo/prefix.py`, `lossless/walk.py`, `small/walk.py`) calls its steps
by name and does not know what runs them: `onnx_steps` or `torch_steps`. Both cut large maps into strips of rows, which
threads share. How a map is cut depends on its size alone, so the bytes of a file do not depend on the number of threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hcodec.models.runtime.threads import check, each

Array = NDArray[Any]
Function = Callable[..., Sequence[Array]]
_STRIP = 32  # rows of cells, about: few enough for the cache, many enough beside those that are computed twice


class Steps(Protocol):
    """The steps of one network."""

    def __call__(self, name: str, *arrays: Array) -> Sequence[Array]:
        """Returns what a step makes of arrays, float32 unless the step says otherwise; maps are (1, rows, columns, channels)."""


@dataclass(frozen=True)
class Reach:
    """How far a step sees: `radius` rows of its input around each row; `unit` rows make one row of what it computes on."""

    radius: int = 0
    unit: int = 1


def in_strips(function: Function, reach: Reach, arrays: Sequence[Array]) -> Sequence[Array]:
    """Returns what the function makes of the arrays, computed strip by strip; arrays that are no maps go to every strip.

    Each strip is computed with `radius` more rows on both sides, whose results are thrown away, so that cuts change nothing.
    """
    check()
    rows = arrays[0].shape[1]
    cuts = _cuts(rows, reach)
    if len(cuts) == 2:
        return function(*arrays)

    found: list[Array] = []
    lock = threading.Lock()

    def strip(ends: tuple[int, int]) -> None:
        """Puts the results for the rows between two cuts in their place."""
        check()
        low, high = max(ends[0] - reach.radius, 0), min(ends[1] + reach.radius, rows)
        results = function(*(np.ascontiguousarray(_rows(x, (low, high), rows)) if x.ndim == 4 else x for x in arrays))
        with lock:
            if not found:
                found.extend(_room(result, rows, high - low) for result in results)
        for whole, result in zip(found, results, strict=True):
            _rows(whole, ends, rows)[:] = _rows(result, (ends[0] - low, ends[1] - low), high - low)

    each(strip, list(pairwise(cuts)))
    return found


def _room(result: Array, rows: int, of: int) -> Array:
    """Returns room for a whole map, of `rows` rows of the first input, of which a result holds `of`."""
    return np.empty((1, result.shape[1] * rows // of, *result.shape[2:]), dtype=result.dtype)


def _rows(x: Array, wanted: tuple[int, int], of: int) -> Array:
    """Returns the rows of a map, be it finer or coarser, that lie at the wanted ones of `of` rows of the first input."""
    begin, end = (x.shape[1] * row // of for row in wanted)
    return x[:, begin:end]


def _cuts(rows: int, reach: Reach) -> list[int]:
    units = -(-rows // reach.unit)
    count = max(1, units // _STRIP)
    return [units * i // count * reach.unit for i in range(count)] + [rows]
