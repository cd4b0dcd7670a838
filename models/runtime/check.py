"""Whether what runs steps really multiplies integers exactly, tried near the limits before anything is coded.

Room: runtime. Environment variables can force reduced precision upon a library, and a kernel can saturate: no kernel is
trusted by its name. The step `check` computes a dense product and a depthwise kernel in float32, and a dense product in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcodec.errors import ModelError
from hcodec.models.integer.certificate import FLOAT32_EXACT, FLOAT64_EXACT
from hcodec.models.runtime.steps import Steps

_CELLS, _IN, _OUT = (1, 8, 8), 64, 96
Ints = NDArray[np.int64]


def check(steps: Steps) -> None:
    """Raises ModelError unless the step `check` gives the right integers."""
    for limit in (1, 1023, 2**15 - 1):  # the wider the inputs, the narrower the weights, and the other way round
        narrow = _pattern((*_CELLS, _IN), limit, 7919)
        wide = _pattern((*_CELLS, _IN), limit * 2**7, 7919)
        dense = _pattern((_OUT, _IN), _room(FLOAT32_EXACT, _IN, limit), 104729)
        kernel = _pattern((_IN, 1, 3, 3), _room(FLOAT32_EXACT, 9, limit), 104729)
        precise = _pattern((_OUT, _IN), _room(FLOAT64_EXACT, _IN, limit * 2**7), 104729)
        _stretch(narrow[0, 0, 0], dense[0])
        _stretch(narrow[0, 2:5, 2:5, 0], kernel[0, 0])
        _stretch(wide[0, 0, 0], precise[0])
        inputs = [x.astype(np.float32) for x in (narrow, dense, kernel, wide, precise)]
        wanted = narrow @ dense.T, _depthwise(narrow, kernel), wide @ precise.T
        found = steps("check", *inputs)
        if any((a != b).any() for a, b in zip(found, wanted, strict=True)):
            raise ModelError("this machine does not multiply integers exactly; is reduced precision forced upon it?")


def _stretch(inputs: Ints, weights: Ints) -> None:
    """Makes the largest sum that there may be of a few inputs and weights, some of them negative."""
    most, heaviest = np.abs(inputs).max(), np.abs(weights).max()
    inputs[...] = most * np.where(np.arange(inputs.size).reshape(inputs.shape) % 3, 1, -1)
    weights[...] = heaviest * np.sign(inputs)


def _room(exact: int, length: int, limit: int) -> int:
    """Returns the largest weight with which sums of that length stay exact, and float32 holds it."""
    return min(2**15 - 1, exact // length // limit - 1)


def _depthwise(x: Ints, weight: Ints) -> Ints:
    height, width = x.shape[1:3]
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    found: Ints = sum(
        (padded[:, i : i + height, j : j + width] * weight[:, 0, i, j] for i in range(3) for j in range(3)), np.zeros_like(x)
    )
    return found


def _pattern(shape: tuple[int, ...], limit: int, stride: int) -> Any:
    """Returns int64 values that look random, within the limit, some of them at it."""
    values = np.arange(np.prod(shape)) * stride % (2 * limit + 1) - limit
    values[::17] = limit
    return values.reshape(shape)
