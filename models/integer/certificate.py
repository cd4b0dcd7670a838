"""The exactness certificate: no partial sum of any product can leave the integers that its type holds exactly.

Room: integer. numpy alone: weights are certified whenever they are loaded, whatever then runs them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcodec.errors import ModelError

FLOAT32_EXACT = 2**24
FLOAT64_EXACT = 2**53
STATE_LIMIT = 2**22 - 1  # format
ACTIVATION_LIMIT = 1023  # format: of the inputs of depthwise and dense products

Tensors = Mapping[str, NDArray[Any]]


def certify(tensors: Tensors, limits: Mapping[str, int]) -> None:
    """Raises ModelError unless every product and vector among integer tensors is exact; KeyError for a product of no known kind.

    limits: how large the inputs of a product may be, by the last part of its name that is no number. A product consists of
    NAME.weight, NAME.bias and NAME.gain; where the gain is float64, it is computed in that type.
    """
    for name, tensor in tensors.items():
        if name.endswith(".weight") and f"{name.removesuffix('.weight')}.gain" in tensors:
            _certify_product(tensors, name.removesuffix(".weight"), limits)
        elif name.endswith("gain") and not np.isfinite(tensor).all():
            raise ModelError(f"{name} breaks the exactness certificate (a gain is not finite)")


def _certify_product(tensors: Tensors, name: str, limits: Mapping[str, int]) -> None:
    weight, bias, gain = (tensors[f"{name}.{part}"] for part in ("weight", "bias", "gain"))
    exact = FLOAT64_EXACT if gain.dtype == np.float64 else FLOAT32_EXACT
    limit = limits[_kind(name)]
    rows = np.abs(weight.astype(np.float64)).reshape(len(weight), -1)
    worst = float((rows.sum(1) * limit + np.abs(bias.astype(np.float64))).max())
    if not (weight.dtype.kind == bias.dtype.kind == "i" and worst < exact):
        raise ModelError(f"weights of {name} break the exactness certificate ({worst:.0f} of {exact})")


def _kind(name: str) -> str:
    return [part for part in name.split(".") if not part.isdigit()][-1]


def certify_vector(tensors: Tensors, name: str) -> None:
    """Raises ModelError unless a vector that is added to states is of integers within their limit."""
    vector = tensors[name]
    if not (vector.dtype.kind == "i" and np.abs(vector.astype(np.float64)).max() <= STATE_LIMIT):
        raise ModelError(f"{name} breaks the exactness certificate (no integers, or beyond the state's limit)")
