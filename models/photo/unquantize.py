"""Makes a float network of a weights file, so that training can go on from what is shipped: the way back of `export.py`."""

from __future__ import annotations

from typing import cast

import torch

from hcodec.models.blocks import Block, Dense
from hcodec.models.integer.products import STATE_UNIT
from hcodec.models.integer.quantize import Tensors
from hcodec.models.integer.unquantize import product, unquantize_block, unquantize_dense
from hcodec.models.photo.config import Config
from hcodec.models.photo.model import Arrays
from hcodec.models.photo.network import Latent, Network
from hcodec.models.photo.walk import MEAN_UNIT
from hcodec.models.tables.scales import LOG_SCALE_STEP, MIN_LOG_SCALE


@torch.no_grad()
def unquantize(config: Config, integers: Arrays, floats: Arrays) -> Network:
    """Returns the network that a weights file was exported from, up to rounding: its integers are not repeated.

    integers, floats: as `weights_file.read` returns them.
    """
    agreed = {name: torch.from_numpy(value) for name, value in integers.items()}
    network = Network(config)
    network.load_state_dict({name: torch.from_numpy(value).float() for name, value in floats.items()}, strict=False)
    network.start.copy_(agreed["start"] * STATE_UNIT)
    for stride in (32, 16, 8):
        down, up = network.analysis.down[str(2 * stride)], network.up[str(stride)]
        assert isinstance(down, Dense) and isinstance(up, Dense)  # noqa: S101 (for the type checker)
        _unfold(up, agreed, f"up.{stride}", STATE_UNIT, down)
    for i, latent in enumerate(network.ordered_latents()):
        _unquantize_latent(latent, agreed, f"latents.{i}")
    return network


def _unquantize_latent(latent: Latent, agreed: Tensors, name: str) -> None:
    for j, block in enumerate(latent.refine):
        unquantize_block(cast(Block, block), agreed, f"{name}.refine.{j}")
    hidden_length = unquantize_block(latent.block, agreed, f"{name}.block")
    unit = torch.full((2 * latent.channels,), MEAN_UNIT)
    unit[latent.channels :] = LOG_SCALE_STEP
    weight, bias = product(agreed, f"{name}.block.head", unit)
    bias[latent.channels :] += MIN_LOG_SCALE
    latent.head.weight.copy_(weight * hidden_length)
    latent.head.bias.copy_(bias)
    _unfold(latent.project, agreed, f"{name}.project", MEAN_UNIT, latent.posterior.select)


def _unfold(dense: Dense, agreed: Tensors, name: str, unit_in: float, mirror: Dense) -> None:
    """Fills a product that carries the signal; its gains are those of the encoder's product that goes the other way."""
    dense.gain_in.copy_(1 / mirror.gain_out)
    dense.gain_out.copy_(1 / mirror.gain_in)
    unquantize_dense(dense, agreed, name, unit_in)
