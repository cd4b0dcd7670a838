"""Float weights to certified integers: each product with weights as fine as its exactness certificate allows."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hcodec.models.blocks import Block, Dense, Spread, depthwise
from hcodec.models.integer.certificate import ACTIVATION_LIMIT
from hcodec.models.integer.products import STATE_UNIT

_HEADROOM = 1.25  # how far beyond the calibration pictures an activation may go before it is clamped
Tensors = dict[str, Tensor]


def integer_product(
    weight: Tensor, bias: Tensor, unit_in: Tensor, unit_out: Tensor | float, limit: int, precise: bool = False
) -> Tensors:
    """Returns weight, bias and gain of the integer form of `weight @ x + bias`, with the finest certified weights.

    weight: (out, in); x arrives as integers up to `limit`, each worth unit_in (in,); results leave in unit_out.
    precise: for a float64 product; its weights stay within 16 bits all the same.
    """
    weight, bias = (weight * unit_in).double(), bias.double()
    room = 2.0**24 - 0.5 * weight.shape[1] * limit - 2
    scale = (weight.abs().sum(1) * limit + bias.abs()) / room
    if precise:
        scale = weight.abs().amax(1) / 32767
    scale = torch.maximum(scale, weight.abs().amax(1) / 32767).clamp(min=1e-30)
    whole, offset = (weight / scale[:, None]).round(), (bias / scale).round()
    dtype = torch.float64 if precise else torch.float32
    return {"weight": whole.to(torch.int16), "bias": offset.to(torch.int32), "gain": (scale / unit_out).to(dtype)}


def activation_units(observed: Tensor) -> Tensor:
    """Returns what one integer step of each channel is worth, from observed activations (..., C)."""
    return observed.abs().flatten(0, -2).amax(0).clamp(min=1e-3) * _HEADROOM / ACTIVATION_LIMIT


def put(tensors: Tensors, name: str, product: Tensors) -> None:
    """Adds the parts of a product to the tensors."""
    tensors.update({f"{name}.{key}": value for key, value in product.items()})


def export_expansion(tensors: Tensors, name: str, block: Spread, state: Tensor) -> tuple[Tensor, Tensor]:
    """Adds gain and kernel of the first half of a block; returns the activations after it and their units."""
    units = activation_units(state)
    tensors[f"{name}.gain"] = (STATE_UNIT / units).float()
    kernel, bias = block.folded_kernel()
    middle = depthwise(state, kernel, bias)
    middle_units = activation_units(middle)
    product = integer_product(kernel.flatten(1) * units[:, None], bias, torch.ones(9), middle_units, ACTIVATION_LIMIT)
    product["weight"] = product["weight"].reshape(-1, 1, 3, 3)
    put(tensors, f"{name}.kernel", product)
    return middle, middle_units


def export_block(tensors: Tensors, name: str, block: Block, state: Tensor) -> Tensor:
    """Adds the integer form of a block, calibrated on float states (B, H, W, width); returns its hidden units' worth."""
    middle, middle_units = export_expansion(tensors, name, block, state)
    hidden_units = activation_units(F.relu(block.fc1(middle)))
    put(tensors, f"{name}.fc1", integer_product(block.fc1.weight, block.fc1.bias, middle_units, hidden_units, ACTIVATION_LIMIT))
    put(tensors, f"{name}.fc2", integer_product(block.fc2.weight, block.fc2.bias, hidden_units, STATE_UNIT, ACTIVATION_LIMIT))
    return hidden_units


def export_dense(tensors: Tensors, name: str, dense: Dense, unit_in: float) -> None:
    """Adds the integer form of a signal-carrying product, in float64, to the tensors."""
    weight, bias = dense.folded()
    put(tensors, name, integer_product(weight, bias, torch.full((weight.shape[1],), unit_in), STATE_UNIT, 1, True))
