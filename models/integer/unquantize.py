"""Integer products back to float ones, so that training can go on from what is shipped.

Room: integer, training only; the way back of `quantize`. An integer product does not say how its gain was divided
between weights and units of activations; the split does not change what the network computes, but a learning rate
feels it. So rows of kernels and of first matrices get the length that they have at initialization.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from hcodec.models.blocks import Block, Dense, Spread
from hcodec.models.integer.products import STATE_UNIT

_KERNEL_LENGTH = math.sqrt(1 + 9 * 0.1**2)  # of the nine weights of a channel, as `blocks.Block` draws them

Tensors = Mapping[str, Tensor]


def unquantize_block(block: Block, agreed: Tensors, name: str) -> Tensor:
    """Fills the block; returns by what the hidden activations of the file are longer than the block's (hidden,)."""
    middle = unquantize_expansion(block, agreed, name)
    hidden = unquantize_first(block.fc1, agreed, f"{name}.fc1", middle)
    fc2, fc2_bias = product(agreed, f"{name}.fc2", STATE_UNIT)
    block.fc2.weight.copy_(fc2 * hidden)
    block.fc2.bias.copy_(fc2_bias)
    return hidden


def unquantize_expansion(block: Spread, agreed: Tensors, name: str) -> Tensor:
    """Fills the kernel; returns by what its results are longer in the file (width,)."""
    kernel, bias = product(agreed, f"{name}.kernel", 1.0)
    kernel = kernel * agreed[f"{name}.gain"].reshape(-1, 1, 1, 1) / STATE_UNIT
    length = _length(kernel.flatten(1), _KERNEL_LENGTH)
    block.kernel.copy_(kernel / length.reshape(-1, 1, 1, 1))
    block.kernel_bias.copy_(bias / length)
    return length


def unquantize_first(linear: nn.Linear, agreed: Tensors, name: str, unit_in: Tensor) -> Tensor:
    """Fills the matrix before a ReLU, whose inputs are longer by unit_in in the file; returns the same of its results."""
    weight, bias = product(agreed, name, 1.0)
    weight = weight * unit_in
    length = _length(weight, 1.0)
    linear.weight.copy_(weight / length[:, None])
    linear.bias.copy_(bias / length)
    return length


def _length(rows: Tensor, wanted: float) -> Tensor:
    """Returns by what each row is longer than wanted (rows,); idle rows count as having the right length."""
    length = rows.norm(dim=1) / wanted
    return torch.where(length > 1e-6, length, torch.ones_like(length))


def product(agreed: Tensors, name: str, unit_out: Tensor | float) -> tuple[Tensor, Tensor]:
    """Returns weight and bias, float32, of a product of the file, its results being worth unit_out each."""
    gain = agreed[f"{name}.gain"].double() * unit_out
    weight = agreed[f"{name}.weight"].double()
    return (weight * gain.reshape(-1, *[1] * (weight.dim() - 1))).float(), (agreed[f"{name}.bias"].double() * gain).float()


def unquantize_dense(
    dense: Dense, agreed: Tensors, name: str, unit_in: Tensor | float, unit_out: Tensor | float = STATE_UNIT
) -> None:
    """Fills a product that carries the signal, but for its gains, which must be set; units of its inputs and results."""
    weight, bias = product(agreed, name, unit_out)
    dense.weight.copy_(weight / unit_in / dense.gain_in / dense.gain_out[:, None])
    dense.bias.copy_(bias / dense.gain_out)
