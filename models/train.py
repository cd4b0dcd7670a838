"""Trains a model: `python -m hcodec.models.train --data FOLDER_OR_TAR... --out FOLDER --minutes 120`.

Room: network, a script. Runs on CPU or GPU, writes `checkpoint.pt` (everything, for exact resume), `log.csv` and a line of
progress; `python -m hcodec.models.export` turns a checkpoint into integer weights. Imports neither the codec nor the coder.

Loss, for one picture that exits at level k: weight_k * (bits of levels 1..k per pixel + lmbda_k * MSE); see `loss.exit_weights`.
"""

from __future__ import annotations

import contextlib
import copy
import csv
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor

from hcodec.models import configs, data, drawn, storage
from hcodec.models.blocks import Block
from hcodec.models.hvae import Network, Posterior
from hcodec.models.loss import exit_weights, mean_squared_error
from hcodec.models.revive import balance, revive
from hcodec.models.skeleton import initialize
from hcodec.models.soap import Soap
from hcodec.models.thaw import thaw

_MOST_SKIPPED = 10  # steps in a row that are not finite, before training goes back to the moving average
_NO_MORE = 0.7  # share of the budget after which no unit is started anew: it could not learn enough any more
_INSIDE, _OUT_OF_BLOCKS = 0.3, 0.2  # shares of the learning rate of hidden units, and of what takes them to the state
_WATCHED = 16  # crops on which units must show that they are alive


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
        with torch.autocast(self.device.type, torch.bfloat16):
            x_hat, bits = self.network(x, exits, self.progress >= self.recipe.hard_from)
        rate, distortion = bits / x[0, 0].numel(), mean_squared_error(x_hat, x)
        each = rate @ self.bit_prices + self.lmbda[exits - 1] * distortion
        loss = (self.weight[exits - 1] * each).mean()
        norm = self._update(loss)
        self.seconds += time.perf_counter() - start
        self.step += 1
        full = exits == self.network.config.num_levels
        return {
            "step": self.step,
            "seconds": round(self.seconds, 1),
            "loss": round(loss.item(), 4),
            "norm": round(norm, 3),
            "skipped": self.skipped,
            "psnr_full": round((10 * (255**2 / distortion[full]).log10()).mean().item(), 3),
            **{f"bpp_{k + 1}": round(rate[full, k].mean().item(), 4) for k in range(rate.shape[1])},
        }

    def _draw_exits(self, count: int) -> Tensor:
        """Returns one falling exit a picture, stratified over the batch so that each step sees nearly the same mix."""
        levels = self.network.config.num_levels
        share = np.full(levels, (1 - self.recipe.last_exit) / (levels - 1))
        share[-1] = self.recipe.last_exit
        points = (np.arange(count) + self.crops.random.random()) / count
        exits = np.minimum(np.searchsorted(share.cumsum(), points) + 1, levels)
        return torch.from_numpy(exits[::-1].copy()).to(self.device)

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

    def revive(self) -> int:
        """Starts dead hidden units anew; returns how many there were."""
        pictures = data.to_float(self.crops.batch(_WATCHED), self.device)
        return revive(self.network, self.average, pictures)

    def _rate(self) -> float:
        warm = min(1.0, (self.step + 1) / self.recipe.warmup_steps)
        return self.recipe.rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * self.progress)))

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


def parameter_groups(network: Network) -> list[dict[str, Any]]:
    """Returns the parameters in groups, each with the share of the learning rate at which it goes.

    Adam moves every weight by about one rate a step, however small its gradient. What this shakes into the output of a block
    costs more than new units can win at first, and the cheapest way out is to silence them; so blocks go slower, last
    matrices slowest.
    """
    blocks = [module for module in network.modules() if isinstance(module, Block | Posterior)]
    last = {id(parameter) for block in blocks for parameter in block.fc2.parameters()}
    within = {id(parameter) for block in blocks for parameter in block.parameters()} - last
    within -= {id(parameter) for block in blocks if isinstance(block, Posterior) for parameter in block.select.parameters()}
    groups: list[dict[str, Any]] = [{"params": [], "share": share} for share in (1.0, _INSIDE, _OUT_OF_BLOCKS)]
    for parameter in network.parameters():
        groups[2 if id(parameter) in last else int(id(parameter) in within)]["params"].append(parameter)
    return groups


@torch.no_grad()
def prefix_curve(network: Network, pictures: Tensor) -> list[tuple[float, float]]:
    """Returns (estimated bpp, mean PSNR in dB) of streams that end at each level, for pictures (B, 3, H, W)."""
    points = []
    for level in range(1, network.config.num_levels + 1):
        exits = torch.full((len(pictures),), level, device=pictures.device)
        with torch.autocast(pictures.device.type, torch.bfloat16):
            x_hat, bits = network(pictures, exits, hard=True)
        error = (x_hat.float().clamp(0, 1) * 255).round() - pictures * 255
        psnr = 10 * (255**2 / error.square().mean((1, 2, 3))).log10()
        points.append((bits.sum(1).mean().item() / pictures[0, 0].numel(), psnr.mean().item()))
    return points


class Log:
    """Appends to log.csv, and to curve.csv the prefix curve of the averaged weights on the validation pictures."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def row(self, values: dict[str, Any]) -> None:
        """Appends one row to log.csv."""
        path = self.folder / "log.csv"
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, values.keys())
            if new:
                writer.writeheader()
            writer.writerow(values)

    def curve(self, step: int, points: list[tuple[float, float]]) -> None:
        """Appends one row to curve.csv and shows it."""
        text = "  ".join(f"{bpp:.4f} {psnr:.3f}" for bpp, psnr in points)
        with (self.folder / "curve.csv").open("a") as file:
            file.write(f"{step},{text}\n")
        click.echo(f"\nvalidation at step {step} (estimated bpp, dB): {text}")


def run(trainer: Trainer, out: Path, valid: Tensor | None, checkpoint_minutes: float) -> None:
    """Trains until the budget is spent; checkpoints early, then every `checkpoint_minutes`."""
    log = Log(out)
    saved, shown = time.monotonic() - 60 * checkpoint_minutes + 60, 0.0
    while trainer.progress < 1:
        values = trainer.advance()
        if trainer.step % 20 == 0:
            log.row(values)
        if time.monotonic() - shown > 5:
            shown = time.monotonic()
            speed = trainer.step * trainer.recipe.batch / trainer.seconds
            click.echo(f"\r{100 * trainer.progress:5.1f} %  {speed:.1f} pictures/s  {values}"[:200], nl=False)
        if time.monotonic() - saved > 60 * checkpoint_minutes or trainer.progress >= 1:
            saved = time.monotonic()
            if trainer.progress < _NO_MORE:
                click.echo(f"\n{trainer.revive()} dead units started anew")
            trainer.save(out / "checkpoint.pt")
            if valid is not None:
                log.curve(trainer.step, prefix_curve(trainer.average, valid))


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def _validation(folder: str | None, device: torch.device) -> Tensor | None:
    """Returns every fourth picture of the folder, cut to the common size, as float (B, 3, H, W)."""
    if folder is None:
        return None
    pictures = data.load([folder])[::4]
    edges = [min(p.shape[axis] for p in pictures) // 64 * 64 for axis in (0, 1)]
    batch = np.stack([p[: edges[0], : edges[1]] for p in pictures])
    return data.to_float(torch.from_numpy(batch), device)


def _crops(sources: tuple[str, ...], coarse: tuple[str, ...], num_drawn: int, crop: int, seed: int) -> data.Crops:
    if crop < 64 or crop % 64:
        raise click.UsageError(f"--crop is {crop}; it must be a multiple of 64")
    try:
        return data.Crops(data.load(sources) + drawn.pictures(num_drawn, seed), crop, seed, data.load(coarse))
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _trained_weights(path: Path) -> dict[str, Tensor]:
    """Returns the averaged weights of a checkpoint, or those of a weights file."""
    if path.suffix == ".safetensors":
        return thaw(*storage.read(path)[:3]).state_dict()
    weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)["average"]
    return weights


@click.command()
@click.option("--config", default="photo", type=click.Choice(sorted(configs.CONFIGS)), help="The configuration to train.")
@click.option(
    "--data", "sources", multiple=True, required=True, type=click.Path(exists=True),
    help="Tar shard, folder or picture; repeatable.",
)  # fmt: skip
@click.option(
    "--coarse-data",
    "coarse",
    multiple=True,
    type=click.Path(exists=True),
    help="More of it, too strongly compressed for the last levels; repeatable.",
)
@click.option("--drawn", "num_drawn", default=0, help="Pictures of flat areas, shapes and lettering to draw beside them.")
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Where checkpoints go.")
@click.option("--minutes", required=True, type=float, help="Wall-clock budget of the whole run.")
@click.option("--valid", default=None, type=click.Path(exists=True), help="Folder of validation pictures.")
@click.option(
    "--start",
    default=None,
    type=click.Path(exists=True, path_type=Path),
    help="Checkpoint or weights file (.safetensors) whose weights to start from.",
)
@click.option("--batch", default=16, help="Crops a step.")
@click.option("--crop", default=128, help="Edge of a crop in pixels, a multiple of 64.")
@click.option("--rate", default=1e-3, help="Highest learning rate.")
@click.option("--hard-from", default=1.0, help="Share of the budget after which rates use rounded symbols.")
@click.option("--bit-price", "prices", multiple=True, type=float, help="What a bit of a level costs, once a level; default 1.")
@click.option("--checkpoint-minutes", default=3.0, help="Time between checkpoints.")
@click.option("--device", default="auto", type=click.Choice(["auto", "cpu", "cuda"]))
@click.option("--threads", default=0, help="CPU threads; 0 leaves the choice to torch.")
@click.option("--seed", default=0)
def main(
    config: str, sources: tuple[str, ...], coarse: tuple[str, ...], num_drawn: int, out: Path, minutes: float,
    valid: str | None, start: Path | None, batch: int, crop: int, rate: float, hard_from: float, prices: tuple[float, ...],
    checkpoint_minutes: float, device: str, threads: int, seed: int,
) -> None:  # fmt: skip
    """Trains a model, or continues a run that was cut off (checkpoint.pt in --out)."""
    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(seed)
    torch.set_flush_denormal(True)  # vanishing gradients of idle channels otherwise slow a CPU down a hundredfold
    if prices and len(prices) != configs.CONFIGS[config].num_levels:
        raise click.UsageError(f"--bit-price must be given {configs.CONFIGS[config].num_levels} times or not at all")
    where = _device(device)
    recipe = Recipe(minutes=minutes, batch=batch, crop=crop, rate=rate, hard_from=hard_from, seed=seed, bit_prices=prices)
    crops = _crops(sources, coarse, num_drawn, crop, seed)
    click.echo(f"{len(crops.pictures)} pictures of at least {crop} pixels; training on {where}")
    network = Network(configs.CONFIGS[config])
    out.mkdir(parents=True, exist_ok=True)
    resume = out / "checkpoint.pt"
    if start and not resume.exists():
        network.load_state_dict(_trained_weights(start))
    elif not resume.exists():
        initialize(network, data.to_float(crops.batch(48)))
    network.to(where)
    if not resume.exists():
        pictures = data.to_float(crops.batch(_WATCHED), where)
        balance(network, pictures)
        click.echo(f"{revive(network, network, pictures)} dead units started anew")
    trainer = Trainer(network, crops, recipe, where)
    if resume.exists():
        trainer.restore(resume)
    with contextlib.suppress(KeyboardInterrupt):
        run(trainer, out, _validation(valid, where), checkpoint_minutes)
    click.echo(f"\n{trainer.step} steps in {trainer.seconds / 60:.1f} minutes; {trainer.skipped} skipped")


if __name__ == "__main__":
    main()
