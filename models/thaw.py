"""Makes a float network of a weights file, so that training can go on from what is shipped.

Room: network, training only; the way back of `export.py`. An integer product does not say how its gain was divided between
weights and units of activations; the split does not change what the network computes, but a learning rate feels it. So
rows of kernels and of first matrices get the length that they have at initialization.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from hcodec.models.blocks import Block, Dense, Spread
from hcodec.models.configs import Config
from hcodec.models.exact import MEAN_UNIT, STATE_UNIT
from hcodec.models.hvae import Latent, Network
from hcodec.models.scales import LOG_SCALE_STEP, MIN_LOG_SCALE

_KERNEL_LENGTH = math.sqrt(1 + 9 * 0.1**2)  # of the nine weights of a channel, as `blocks.Block` draws them

Tensors = Mapping[str, Tensor]


@torch.no_grad()
def thaw(config: Config, agreed: Tensors, floats: Tensors) -> Network:
    """Returns the network that a weights file was exported from, up to rounding: its integers are not repeated.

    agreed, floats: as `storage.read` returns them.
    """
    network = Network(config)
    network.load_state_dict({name: value.float() for name, value in floats.items()}, strict=False)
    network.start.copy_(agreed["start"] * STATE_UNIT)
    for stride in (32, 16, 8):
        down, up = network.analysis.down[str(2 * stride)], network.up[str(stride)]
        assert isinstance(down, Dense) and isinstance(up, Dense)  # noqa: S101 (for the type checker)
        _unfold(up, agreed, f"up.{stride}", STATE_UNIT, down)
    for i, latent in enumerate(network.ordered_latents()):
        _thaw_latent(latent, agreed, f"latents.{i}")
    return network


def _thaw_latent(latent: Latent, agreed: Tensors, name: str) -> None:
    thaw_block(latent.refine, agreed, f"{name}.refine")
    hidden_length = thaw_block(latent.block, agreed, f"{name}.block")
    unit = torch.full((2 * latent.channels,), MEAN_UNIT)
    unit[latent.channels :] = LOG_SCALE_STEP
    weight, bias = product(agreed, f"{name}.block.head", unit)
    bias[latent.channels :] += MIN_LOG_SCALE
    latent.head.weight.copy_(weight * hidden_length)
    latent.head.bias.copy_(bias)
    _unfold(latent.project, agreed, f"{name}.project", MEAN_UNIT, latent.posterior.select)


def thaw_block(block: Block, agreed: Tensors, name: str) -> Tensor:
    """Fills the block; returns by what the hidden activations of the file are longer than the block's (hidden,)."""
    middle = thaw_expansion(block, agreed, name)
    hidden = thaw_first(block.fc1, agreed, f"{name}.fc1", middle)
    fc2, fc2_bias = product(agreed, f"{name}.fc2", STATE_UNIT)
    block.fc2.weight.copy_(fc2 * hidden)
    block.fc2.bias.copy_(fc2_bias)
    return hidden


def thaw_expansion(block: Spread, agreed: Tensors, name: str) -> Tensor:
    """Fills the kernel; returns by what its results are longer in the file (width,)."""
    kernel, bias = product(agreed, f"{name}.kernel", 1.0)
    kernel = kernel * agreed[f"{name}.gain"].reshape(-1, 1, 1, 1) / STATE_UNIT
    length = _length(kernel.flatten(1), _KERNEL_LENGTH)
    block.kernel.copy_(kernel / length.reshape(-1, 1, 1, 1))
    block.kernel_bias.copy_(bias / length)
    return length


def thaw_first(linear: nn.Linear, agreed: Tensors, name: str, unit_in: Tensor) -> Tensor:
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


def _unfold(dense: Dense, agreed: Tensors, name: str, unit_in: float, mirror: Dense) -> None:
    """Fills a product that carries the signal; its gains are those of the encoder's product that goes the other way."""
    dense.gain_in.copy_(1 / mirror.gain_out)
    dense.gain_out.copy_(1 / mirror.gain_in)
    thaw_dense(dense, agreed, name, unit_in)


def thaw_dense(dense: Dense, agreed: Tensors, name: str, unit_in: Tensor | float, unit_out: Tensor | float = STATE_UNIT) -> None:
    """Fills a product that carries the signal, but for its gains, which must be set; units of its inputs and results."""
    weight, bias = product(agreed, name, unit_out)
    dense.weight.copy_(weight / unit_in / dense.gain_in / dense.gain_out[:, None])
    dense.bias.copy_(bias / dense.gain_out)
