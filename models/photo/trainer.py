"""The steps of training: objective, learning rate, moving average, checkpoints.

Room: photo, training only; `train.py` is the script that runs it.

Loss, for one picture that exits at level k: weight_k * (bits of levels 1..k per pixel + lmbda_k * MSE); see
`objective.exit_weights`.
"""

from __future__ import annotations

import copy
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hcodec.models.blocks import Block, FloatBranch, Overlap
from hcodec.models.photo.network import Network
from hcodec.models.photo.objective import exit_weights, mean_squared_error
from hcodec.models.training import data, workers
from hcodec.models.training.dead_units import restart
from hcodec.models.training.soap import Soap

_MOST_SKIPPED = 10  # steps in a row that are not finite, before training goes back to the moving average
# shares of the learning rate of hidden units and overlaps, and of what takes units to the state
_SHARES = ((Block, 0.3, 0.2), (FloatBranch, 0.6, 0.5), (Overlap, 0.3, 0.3))
WATCHED = 16  # crops on which units must show that they are alive


@dataclass(frozen=True)
class Recipe:
    """How to train. Rates of learning fall with the cosine of the share of the wall-clock budget that is spent."""

    minutes: float
    batch: int = 16
    crop: int = 128
    rate: float = 1e-3
    warmup_steps: int = 100
    ema: float = 0.998
    hard_from: float = 1.0  # share of the budget after which rates are estimated on rounded symbols
    clip: float = 5.0
    last_exit: float = 0.2  # share of pictures that keep all levels; the others are spread evenly
    bit_prices: tuple[float, ...] = ()  # what a bit of each level costs, where the levels' sizes need a push; () is 1 for all
    seed: int = 0


class Trainer:
    """The training state: network, its moving average, optimizer, random numbers, time spent."""

    def __init__(self, network: Network, crops: data.Crops, recipe: Recipe, device: torch.device) -> None:
        self.network, self.crops, self.recipe, self.device = network, crops, recipe, device
        self.average = copy.deepcopy(network).requires_grad_(False)
        # between products a GPU waits for memory unless operations are fused; a CPU gains nothing from it
        self.forward = torch.compile(network, fullgraph=True, dynamic=False) if device.type == "cuda" else network
        self.optimizer = self._new_optimizer()
        self.step, self.seconds, self.skipped, self.skipped_in_a_row = 0, 0.0, 0, 0
        lmbda = torch.tensor(network.config.lmbda, device=device)
        self.bit_prices = torch.tensor(recipe.bit_prices or (1.0,) * len(lmbda), device=device)
        self.lmbda, self.weight = lmbda, exit_weights(lmbda)

    @property
    def progress(self) -> float:
        """The share of the budget that is spent."""
        return min(1.0, self.seconds / (60 * self.recipe.minutes))

    def advance(self) -> dict[str, Any]:
        """Takes one step and returns what is worth logging."""
        start = time.perf_counter()
        x = data.to_float(self.crops.batch(self.recipe.batch), self.device)
        exits = self._draw_exits(len(x))
        index = torch.tensor(exits, device=self.device) - 1
        with torch.autocast(self.device.type, torch.bfloat16):
            x_hat, bits = self.forward(x, exits, self.progress >= self.recipe.hard_from)
        rate, distortion = bits / x[0, 0].numel(), mean_squared_error(x_hat, x)
        each = rate @ self.bit_prices + self.lmbda[index] * distortion
        loss = (self.weight[index] * each).mean()
        norm = self._update(loss)
        self.seconds += time.perf_counter() - start
        self.step += 1
        full = index == self.network.config.num_levels - 1
        return {
            "step": self.step,
            "seconds": round(self.seconds, 1),
            "loss": round(loss.item(), 4),
            "norm": round(norm, 3),
            "skipped": self.skipped,
            "psnr_full": round((10 * (255**2 / distortion[full]).log10()).mean().item(), 3),
            **{f"bpp_{k + 1}": round(rate[full, k].mean().item(), 4) for k in range(rate.shape[1])},
        }

    def _draw_exits(self, count: int) -> list[int]:
        """Returns one falling exit a picture, stratified over the batch so that each step sees nearly the same mix."""
        levels = self.network.config.num_levels
        share = np.full(levels, (1 - self.recipe.last_exit) / (levels - 1))
        share[-1] = self.recipe.last_exit
        points = (np.arange(count) + self.crops.random.random()) / count
        exits = np.minimum(np.searchsorted(share.cumsum(), points) + 1, levels)
        falling: list[int] = exits[::-1].tolist()
        return falling

    def _update(self, loss: Tensor) -> float:
        """Steps the optimizer unless the gradient is not finite; returns the gradient's norm."""
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip).item()
        if math.isfinite(norm):
            for group in self.optimizer.param_groups:
                group["lr"] = self._rate() * group["share"]
            self.optimizer.step()
            decay = min(self.recipe.ema, self.step / (self.step + 10))
            torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), 1 - decay)
            self.skipped_in_a_row = 0
        else:
            self.skipped, self.skipped_in_a_row = self.skipped + 1, self.skipped_in_a_row + 1
        self.optimizer.zero_grad(set_to_none=True)
        if self.skipped_in_a_row == _MOST_SKIPPED:
            self._go_back()
        return norm

    def _new_optimizer(self) -> Soap:
        return Soap(parameter_groups(self.network), lr=self.recipe.rate)

    def _go_back(self) -> None:
        """Starts from the moving average with a new optimizer: weights that give no finite loss would be skipped for ever."""
        self.network.load_state_dict(self.average.state_dict())
        self.optimizer = self._new_optimizer()
        self.skipped_in_a_row = 0

    def restart(self) -> int:
        """Starts dead hidden units anew; returns how many there were."""
        pictures = data.to_float(self.crops.batch(WATCHED), self.device)
        return restart(self.network, self.average, pictures)

    def _rate(self) -> float:
        warm = min(1.0, (self.step + 1) / self.recipe.warmup_steps)
        return self.recipe.rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * self.progress)))

    def meet(self) -> None:
        """Takes over the mean of the weights, their averages and the time spent of all processes that train together."""
        seconds = torch.tensor([self.seconds])
        workers.meet([*self._weights(), seconds])
        self.seconds = seconds.item()

    def follow(self) -> None:
        """Takes over weights and averages of the first process, which alone starts units anew."""
        workers.follow(self._weights())

    def _weights(self) -> list[Tensor]:
        return [*self.network.state_dict().values(), *self.average.state_dict().values()]

    def save(self, path: Path) -> None:
        """Writes everything that exact resume needs, atomically."""
        state = {
            "config": asdict(self.network.config),
            "recipe": asdict(self.recipe),
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "torch_random": torch.get_rng_state(),
            "cuda_random": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "crops_random": self.crops.random.bit_generator.state,
            "progress": (self.step, self.seconds, self.skipped),
        }
        torch.save(state, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)

    def restore(self, path: Path) -> None:
        """Continues where `save` left off."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["torch_random"].cpu())
        if len(state.get("cuda_random", [])) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all([random.cpu() for random in state.get("cuda_random", [])])
        self.crops.random.bit_generator.state = state["crops_random"]
        self.step, self.seconds, self.skipped = state["progress"]

    def draw_anew(self, rank: int) -> None:
        """Draws other crops and noise from here on than the other workers, which resumed from the same checkpoint."""
        torch.manual_seed(hash((rank, self.step)))
        self.crops.random = np.random.default_rng((rank, self.step))


def parameter_groups(network: Network) -> list[dict[str, Any]]:
    """Returns the parameters in groups, each with the share of the learning rate at which it goes.

    Adam moves every weight by about one rate a step, however small its gradient. What this shakes into the output of a block
    costs more than new units can win at first, and the cheapest way out is to silence them; so blocks go slower, last
    matrices slowest. Overlaps, which take in 384 coefficients, go slower, too.
    """
    share = {id(parameter): 1.0 for parameter in network.parameters()}
    for module in network.modules():
        for kind, inside, outgoing in _SHARES:
            if isinstance(module, kind):
                share |= {id(parameter): inside for parameter in module.parameters()}
            if isinstance(module, kind) and not isinstance(module, Overlap):
                share |= {id(parameter): outgoing for parameter in module.fc2.parameters()}
    return [
        {"params": [p for p in network.parameters() if share[id(p)] == each], "share": each} for each in sorted({*share.values()})
    ]
