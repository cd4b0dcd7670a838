"""What the trainer needs to know of the chain models: their pictures, their loss, their validation.

Room: network, training only; `train.py` is the script.

Loss: the negative evidence lower bound in bits per sub-pixel, but for borrowed bits, which count a little less than what they
give back: otherwise idle latents may be as wide as they like, and a chain would need many pictures to lend them their bits.
A few pictures of every batch go without latents, since the first pictures of a chain are coded that way.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hcodec.models.small import thumbnails
from hcodec.models.small.config import SmallConfig
from hcodec.models.small.network import SmallNetwork
from hcodec.models.small.planes import NUM_PLANES, Pixels
from hcodec.models.training.loop import adamw

DIRECT_SHARE = 1 / 16  # of each batch goes without latents
REFUND = 0.99  # what a borrowed bit is worth in training

Batch = tuple[Tensor, Tensor]  # planes (B, H, W, 3) and where they are coded, as `to_values` returns them
Source = thumbnails.Digits | thumbnails.Thumbnails


class SmallTask:
    """Trains `network` on pictures of a source; `valid` (N, H, W[, 3]) is what it is validated on."""

    def __init__(self, network: SmallNetwork, source: Source, valid: Pixels | None = None) -> None:
        self.network, self.source, self.valid = network, source, valid
        self.device = network.start.device

    def batch(self, count: int) -> Batch:
        """Returns random pictures as planes."""
        values, coded = to_values(self.network.config, self.source.batch(count))
        return values.to(self.device), coded.to(self.device)

    def loss(self, batch: Batch, progress: float) -> tuple[Tensor, dict[str, Any]]:
        """Returns the bound in bits per sub-pixel; logs what pixels and latents take where there are latents."""
        del progress
        values, coded = batch
        direct = torch.arange(len(values), device=self.device) < round(len(values) * DIRECT_SHARE)
        with torch.autocast(self.device.type, torch.bfloat16):
            pixel_bits, latent_bits, borrowed_bits = self.network(values, coded, direct)
        num_values = self.network.config.channels * values[0, ..., 0].numel()
        loss = (pixel_bits + latent_bits - REFUND * borrowed_bits).mean() / num_values
        net = (latent_bits - borrowed_bits).detach()[~direct].mean() / num_values
        return loss, {"pixels": pixel_bits.detach()[~direct].mean() / num_values, "latents": net}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Returns all parameters as one group."""
        return [{"params": list(self.network.parameters()), "share": 1.0}]

    def optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """Returns AdamW."""
        return adamw(groups)

    def validate(self, average: SmallNetwork) -> str:
        """Returns bits per sub-pixel of pixels and latents, and of pictures without latents."""
        if self.valid is None:
            return ""
        pixels, latents = lower_bound(average, self.valid)
        alone = lower_bound(average, self.valid, direct=True)[0]
        return f"{pixels:.4f} + {latents:.4f} = {pixels + latents:.4f} bits per sub-pixel; direct {alone:.4f}"

    def state_dict(self) -> dict[str, Any]:
        """Returns the state of the random pictures."""
        return {"source": self.source.random.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over what `state_dict` returned."""
        self.source.random.bit_generator.state = state["source"]


def to_values(config: SmallConfig, pixels: Pixels) -> Batch:
    """Returns planes (B, H, W, 3) and where they are coded, both float32, from pixels (B, H, W[, 3])."""
    planes = config.planes()
    values = planes.split(pixels)
    coded = np.stack([planes.coded(values, plane) for plane in range(NUM_PLANES)], -1)
    return torch.from_numpy(values.astype(np.float32)), torch.from_numpy(coded.astype(np.float32))


@torch.no_grad()
def lower_bound(network: SmallNetwork, pixels: Pixels, direct: bool = False) -> tuple[float, float]:
    """Returns the bits per sub-pixel of pixels and latents, a sample of the bound, for pictures (B, H, W[, 3])."""
    values, coded = to_values(network.config, pixels)
    device = network.start.device
    chosen = torch.full((len(pixels),), direct, device=device)
    bits = [found.mean().item() / pixels[0].size for found in network(values.to(device), coded.to(device), chosen)]
    return bits[0], bits[1] - bits[2]


def open_source(config: SmallConfig, sources: Sequence[str], seed: int = 0) -> Source:
    """Returns the training pictures: of MNIST's folder all but the last 1,000, of shards and folders random crops."""
    if config.channels == 1:
        return thumbnails.Digits(thumbnails.mnist(Path(sources[0]), "train")[:-1000], seed)
    return thumbnails.Thumbnails(sources, seed)
