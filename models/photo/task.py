"""What the trainer needs to know of `photo`: crops and exits, the loss, learning rates of its parts, validation.

Room: network, training only; `train.py` is the script. The loss of a picture whose stream ends at level k (its exit):
weight_k * (bits of levels 1..k per pixel + lmbda_k * MSE), see `objective.exit_weights`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hcodec.models.blocks import Block, FloatBranch, Overlap
from hcodec.models.photo.network import Network, per_exit
from hcodec.models.photo.objective import TRAINING_EXPONENT, exit_weights, mean_squared_error
from hcodec.models.training import data
from hcodec.models.training.dead_units import restart
from hcodec.models.training.soap import Soap

NUM_WATCHED = 16  # crops on which units must show that they are alive
# shares of the learning rate: of hidden units and overlaps, and of the matrices that add hidden units to the state
_INSIDE, _OUT_OF_BLOCKS = 0.3, 0.2
_FLOAT_INSIDE, _OUT_OF_FLOAT = 0.6, 0.5  # the same of float blocks, which start with little and are fed centered inputs

Batch = tuple[Tensor, list[Tensor], list[int]]  # pictures (B, 3, H, W) in [0, 1], noise, and the exit of each, falling


@dataclass(frozen=True)
class Objective:
    """What may be chosen about the loss."""

    hard_from: float = 1.0  # share of the budget after which rates are estimated on rounded symbols
    last_exit: float = 0.2  # share of pictures that keep all levels; the others are spread evenly
    bit_prices: tuple[float, ...] = ()  # what a bit of each level costs, where the levels' sizes need a push; () is 1 for all


class PhotoTask:
    """Trains `network` on crops; its device is where everything happens.

    valid: pictures (B, 3, H, W) in [0, 1] for the validation curve. arrivals: pictures that join the crops on the way.
    """

    def __init__(
        self, network: Network, crops: data.Crops, objective: Objective | None = None, valid: Tensor | None = None,
        arrivals: data.Arrivals | None = None,
    ) -> None:  # fmt: skip
        self.network, self.crops, self.objective, self.valid = network, crops, objective or Objective(), valid
        self.arrivals = arrivals
        self.device = network.start.device
        # between products a GPU waits for memory unless operations are fused; a CPU gains nothing from it
        self.forward = torch.compile(network, fullgraph=True, dynamic=False) if self.device.type == "cuda" else network
        levels, lmbda = network.config.num_levels, network.config.lmbda
        self.lmbda = torch.tensor(lmbda, device=self.device)
        self.weight = levels * torch.tensor(exit_weights(lmbda, levels, TRAINING_EXPONENT), device=self.device)
        self.bit_prices = torch.tensor(self.objective.bit_prices or (1.0,) * levels, device=self.device)

    def batch(self, count: int) -> Batch:
        """Returns random crops, noise for their latents, and their exits."""
        if self.arrivals:
            self.crops.add(self.arrivals.take())
        x = data.to_float(self.crops.batch(count), self.device)
        return x, self.network.noise(*x[:, 0].shape), self.draw_exits(count)

    def draw_exits(self, count: int) -> list[int]:
        """Returns one falling exit a picture, stratified over the batch so that each step sees nearly the same mix."""
        levels = self.network.config.num_levels
        share = np.full(levels, (1 - self.objective.last_exit) / (levels - 1))
        share[-1] = self.objective.last_exit
        points = (np.arange(count) + self.crops.random.random()) / count
        exits = np.minimum(np.searchsorted(share.cumsum(), points) + 1, levels)
        falling: list[int] = exits[::-1].tolist()
        return falling

    def loss(self, batch: Batch, progress: float) -> tuple[Tensor, dict[str, Any]]:
        """Returns the weighted mean of rate and distortion; logs bpp and PSNR of the pictures that keep all levels."""
        x, noise, exits = batch
        with torch.autocast(self.device.type, torch.bfloat16):
            x_hat, bits = self.forward(x, exits, progress >= self.objective.hard_from, noise)
        rate, distortion = bits / x[0, 0].numel(), mean_squared_error(x_hat, x)
        each = rate @ self.bit_prices + per_exit(self.lmbda, exits) * distortion
        num_full = exits.count(self.network.config.num_levels)
        full_rate, full_distortion = rate[:num_full].detach().mean(0), distortion[:num_full].detach()
        bpp = {f"bpp_{level}": value for level, value in enumerate(full_rate, 1)}
        psnr = (10 * (255**2 / full_distortion).log10()).mean()
        return (per_exit(self.weight, exits) * each).mean(), {"psnr_full": psnr, **bpp}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Returns `parameter_groups` of the network."""
        return parameter_groups(self.network)

    def optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """Returns SOAP; on a GPU, where the step is captured, it measures in every step, and QR costs more than steps do."""
        if self.device.type == "cuda":
            return Soap(groups, lr=0.0, refresh_every=60, measure_every=1)
        return Soap(groups, lr=0.0)

    def is_static(self) -> bool:
        """Whether the loss is the same all the time: rates do not change to rounded symbols on the way."""
        return self.objective.hard_from >= 1 or self.objective.hard_from <= 0

    def restart_units(self, average: Network) -> int:
        """Starts dead hidden units anew; returns how many there were."""
        return restart(self.network, average, data.to_float(self.crops.batch(NUM_WATCHED), self.device))

    def validate(self, average: Network) -> str:
        """Returns estimated bpp and dB of each prefix of the validation pictures."""
        if self.valid is None:
            return ""
        return "  ".join(f"{bpp:.4f} {psnr:.3f}" for bpp, psnr in prefix_curve(average, self.valid))

    def score(self, average: Network) -> float | None:
        """Returns the objective on the validation pictures, on rounded symbols."""
        if self.valid is None:
            return None
        terms = zip(prefix_curve(average, self.valid), self.lmbda.tolist(), self.weight.tolist(), strict=True)
        return sum(weight * (bpp + lmbda * 255**2 / 10 ** (psnr / 10)) for (bpp, psnr), lmbda, weight in terms)

    def state_dict(self) -> dict[str, Any]:
        """Returns the state of the random crops."""
        return {"crops": self.crops.random.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over what `state_dict` returned."""
        self.crops.random.bit_generator.state = state["crops"]


@torch.no_grad()
def prefix_curve(network: Network, pictures: Tensor) -> list[tuple[float, float]]:
    """Returns (estimated bpp, mean PSNR in dB) of streams that end at each level, for pictures (B, 3, H, W)."""
    points = []
    for level in range(1, network.config.num_levels + 1):
        with torch.autocast(pictures.device.type, torch.bfloat16):
            x_hat, bits = network(pictures, [level] * len(pictures), hard=True)
        error = (x_hat.float().clamp(0, 1) * 255).round() - pictures * 255
        psnr = 10 * (255**2 / error.square().mean((1, 2, 3))).log10()
        points.append((bits.sum(1).mean().item() / pictures[0, 0].numel(), psnr.mean().item()))
    return points


def parameter_groups(network: Network) -> list[dict[str, Any]]:
    """Returns the parameters in groups, each with the share of the learning rate at which it goes.

    Adam moves every weight by about one rate a step, however small its gradient. What this shakes into the output of a block
    costs more than new units can win at first, and the cheapest way out is to silence them; so blocks go slower, last
    matrices slowest. Overlaps, which take in 384 coefficients, go slower, too.
    """
    share = {id(parameter): 1.0 for parameter in network.parameters()}
    for module in network.modules():
        if isinstance(module, Block):
            share |= _shares(module, _INSIDE) | _shares(module.fc2, _OUT_OF_BLOCKS)
        elif isinstance(module, FloatBranch):
            share |= _shares(module, _FLOAT_INSIDE) | _shares(module.fc2, _OUT_OF_FLOAT)
        elif isinstance(module, Overlap):
            share |= _shares(module, _INSIDE)
    return [
        {"params": [p for p in network.parameters() if share[id(p)] == each], "share": each} for each in sorted({*share.values()})
    ]


def _shares(module: nn.Module, share: float) -> dict[int, float]:
    """Returns that share for all parameters of a module, by identity."""
    return {id(parameter): share for parameter in module.parameters()}
