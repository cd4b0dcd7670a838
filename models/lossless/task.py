"""What the trainer needs to know of the lossless layer: where it starts, its loss, its validation.

Room: network, training only; `train.py` is the script, `samples.py` makes what it trains on. The loss is the number of bits per
sub-pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hcodec.models import weights_file
from hcodec.models.lossless.config import BASE, ORDER, START_LEVELS
from hcodec.models.lossless.network import LosslessNetwork
from hcodec.models.lossless.samples import Crops, Sample
from hcodec.models.lossless.unquantize import unquantize_lossless
from hcodec.models.photo.network import Network
from hcodec.models.training.loop import adamw
from hcodec.models.training.script import averaged_weights

Batch = tuple[Tensor, Tensor, Tensor]  # as `Crops.batch` returns it


class LosslessTask:
    """Trains `network` on crops of samples; `valid` is what it is validated on."""

    def __init__(self, network: LosslessNetwork, crops: Crops, valid: Sequence[Sample] = ()) -> None:
        self.network, self.crops, self.valid = network, crops, valid
        self.device = network.embed.device

    def batch(self, count: int) -> Batch:
        """Returns random crops: states, pixels and which start each has."""
        states, x, starts = (tensor.to(self.device) for tensor in self.crops.batch(count))
        return states, x, starts

    def loss(self, batch: Batch, progress: float) -> tuple[Tensor, dict[str, Any]]:
        """Returns bits per sub-pixel; logs those of each pitch."""
        del progress
        states, x, starts = batch
        with torch.autocast(self.device.type, torch.bfloat16):
            bits = self.network(states, x, starts)
        total = torch.stack(list(bits.values())).sum(0) / x[0].numel()
        return total.mean(), {name: value.detach().mean() / x[0].numel() for name, value in bits.items()}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Returns all parameters as one group."""
        return [{"params": list(self.network.parameters()), "share": 1.0}]

    def optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """Returns AdamW."""
        return adamw(groups)

    @torch.no_grad()
    def validate(self, average: LosslessNetwork) -> str:
        """Returns estimated bits per sub-pixel, of this layer alone, for each start."""
        if not self.valid:
            return ""
        totals = [sum(self._bits(average, sample, start) for sample in self.valid) for start in range(len(self.valid[0].states))]
        lines = (f"{k}: {total / len(self.valid):.4f}" for k, total in enumerate(totals, 1))
        return "  ".join(lines) + "  bits per sub-pixel"

    def _bits(self, network: LosslessNetwork, sample: Sample, start: int) -> float:
        """Returns bits per sub-pixel of one picture from one start."""
        states, x = sample.states[start : start + 1].to(self.device), sample.pixels[None].float().to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16):
            bits = network(states, x, torch.tensor([start], device=self.device))
        return sum(value.item() for value in bits.values()) / x.numel()

    def state_dict(self) -> dict[str, Any]:
        """Returns the state of the random crops."""
        return {"crops": self.crops.random.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over what `state_dict` returned."""
        self.crops.random.bit_generator.state = state["crops"]


def initialize(network: LosslessNetwork, base: Network, levels: Sequence[int] = START_LEVELS) -> None:
    """Sets what shows the state to the base's own transform, so that training starts from about its picture."""
    network.embed.data = base.synthesis.embed.data[[level - 1 for level in levels]].clone()
    weight = torch.randn(8, 8, BASE, network.show.weight.shape[1]) * 0.02
    dct = base.dct.T.reshape(8, 8, 3, -1)[:, :, list(ORDER)]
    weight[:, :, :3] = 0
    weight[:, :, :3, : dct.shape[-1]] = dct
    network.show.weight.data = weight.flatten(0, 2)
    network.show.gain_in[: dct.shape[-1]] = base.sigma


def start_from(network: LosslessNetwork, path: Path) -> None:
    """Fills the network with the averaged weights of a checkpoint, or those of a weights file."""
    if path.suffix == ".safetensors":
        tensors = weights_file.read_exact(path)[1]
        unquantize_lossless(network, {name: torch.from_numpy(tensor) for name, tensor in tensors.items()})
    else:
        network.load_state_dict(averaged_weights(path))
