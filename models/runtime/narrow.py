"""Matrices on int8: for products that need not be exact, where they take a third of the time of float32.

Room: runtime.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SCALE = ".scale"  # suffix of the name of what the rows of an int8 matrix are multiplied by, float32
_LIMIT = 63  # sums of two products must fit into 16 bits on processors that add them there
Floats = NDArray[np.floating[Any]]


def narrowed(weight: Floats) -> tuple[NDArray[np.int8], Floats]:
    """Returns a matrix (out, in) as int8 (in, out) and what its columns are to be multiplied by, float32 (out,)."""
    scale = (np.maximum(np.abs(weight).max(1), 1e-12) / _LIMIT).astype(np.float32)
    return np.ascontiguousarray(np.rint(weight.T / scale).astype(np.int8)), scale


def widened(narrow: NDArray[np.int8], scale: Floats) -> Floats:
    """Returns the matrix (out, in) that `narrowed` gave these of, but for rounding."""
    return np.ascontiguousarray((narrow.astype(np.float32) * scale).T)
