"""Trains a model: `python -m hcodec.models.photo.train --data FOLDER_OR_TAR... --out FOLDER --minutes 120`.

Room: photo, a script. Runs on a CPU (with `--workers`, faster than threads) or GPU, writes `checkpoint.pt`
(everything, for exact resume), `log.csv` and a line of progress; `python -m hcodec.models.photo.export` turns a
checkpoint into integer weights. Imports neither the codec nor the coder.
"""

from __future__ import annotations

import contextlib
import csv
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor

from hcodec.models import weights_file
from hcodec.models.photo.config import CONFIGS
from hcodec.models.photo.initialize import initialize
from hcodec.models.photo.network import Network
from hcodec.models.photo.trainer import WATCHED, Recipe, Trainer
from hcodec.models.photo.unquantize import unquantize
from hcodec.models.training import data, drawn, workers
from hcodec.models.training.dead_units import balance, restart

_NO_MORE = 0.7  # share of the budget after which no unit is started anew: it could not learn enough any more


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


class Log:
    """Appends to log.csv, and to curve.csv the prefix curve of the averaged weights on the validation pictures."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.shown = folder, 0.0

    def step(self, trainer: Trainer, values: dict[str, Any]) -> None:
        """Appends a row to log.csv every 20 steps and shows how far training is every 5 seconds."""
        if trainer.step % 20 == 0:
            self._row(values)
        if time.monotonic() - self.shown > 5:
            self.shown = time.monotonic()
            speed = workers.count() * trainer.step * trainer.recipe.batch / trainer.seconds
            click.echo(f"\r{100 * trainer.progress:5.1f} %  {speed:.1f} pictures/s  {values}"[:200], nl=False)

    def _row(self, values: dict[str, Any]) -> None:
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


def run(trainer: Trainer, log: Log | None, valid: Tensor | None, checkpoint_minutes: float) -> None:
    """Trains until the budget is spent; checkpoints early, then every `checkpoint_minutes`. Without a log, nothing is written."""
    saved = trainer.seconds - 60 * checkpoint_minutes + 60
    while trainer.progress < 1:
        values = [trainer.advance() for _ in range(workers.steps_apart())][-1]
        trainer.meet()
        if log:
            log.step(trainer, values)
        if trainer.seconds - saved > 60 * checkpoint_minutes or trainer.progress >= 1:
            saved = trainer.seconds
            if log and trainer.progress < _NO_MORE:
                click.echo(f"\n{trainer.restart()} dead units started anew")
            trainer.follow()
            if log:
                trainer.save(log.folder / "checkpoint.pt")
            if log and valid is not None:
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


def _crops(job: Job, seed: int, device: torch.device) -> data.Crops:
    crop = job.recipe.crop
    if crop < 64 or crop % 64:
        raise click.UsageError(f"--crop is {crop}; it must be a multiple of 64")
    try:
        pictures = data.load(job.sources) + drawn.pictures(job.num_drawn, seed)
        return data.Crops(pictures, crop, seed, data.load(job.coarse), device)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _trained_weights(path: Path) -> dict[str, Tensor]:
    """Returns the averaged weights of a checkpoint, or those of a weights file."""
    if path.suffix == ".safetensors":
        return unquantize(*weights_file.read(path)[:3]).state_dict()
    weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)["average"]
    return weights


@dataclass(frozen=True)
class Job:
    """What the command line asks for; its options say what each means."""

    config: str
    sources: tuple[str, ...]
    coarse: tuple[str, ...]
    num_drawn: int
    out: Path
    valid: str | None
    start: Path | None
    recipe: Recipe
    checkpoint_minutes: float
    device: str
    threads: int


def _train(rank: int, job: Job) -> None:
    """Trains as one of several workers; the first alone writes and speaks."""
    if job.threads:
        torch.set_num_threads(job.threads)
    torch.manual_seed(job.recipe.seed + rank)
    torch.set_flush_denormal(True)  # vanishing gradients of idle channels otherwise slow a CPU down a hundredfold
    if _device(job.device).type == "cuda":
        torch.set_float32_matmul_precision("high")  # products that carry the signal, and SOAP's: 19 bits instead of 24
    trainer = _trainer(rank, job)
    trainer.follow()
    with contextlib.suppress(KeyboardInterrupt):
        log, valid = (None, None) if rank else (Log(job.out), _validation(job.valid, trainer.device))
        run(trainer, log, valid, job.checkpoint_minutes)
    if rank == 0:
        click.echo(f"\n{trainer.step} steps in {trainer.seconds / 60:.1f} minutes; {trainer.skipped} skipped")


def _trainer(rank: int, job: Job) -> Trainer:
    """Returns a trainer with the weights to start from, or as it was when the run in `out` was cut off."""
    where, recipe, resume = _device(job.device), job.recipe, job.out / "checkpoint.pt"
    crops = _crops(job, recipe.seed + rank, where)
    if rank == 0:
        click.echo(f"{len(crops.shapes)} pictures of at least {recipe.crop} pixels; training on {where}")
    job.out.mkdir(parents=True, exist_ok=True)
    network = Network(CONFIGS[job.config])
    if resume.exists():
        trainer = Trainer(network.to(where), crops, recipe, where)
        trainer.restore(resume)
        if rank:
            trainer.draw_anew(rank)
        return trainer
    if job.start:
        network.load_state_dict(network.state_dict() | _trained_weights(job.start))  # what is new since then stays as it begins
    else:
        initialize(network, data.to_float(crops.batch(48)))
    pictures = data.to_float(crops.batch(WATCHED), where)
    balance(network.to(where), pictures)
    num_dead = restart(network, network, pictures)
    if rank == 0:
        click.echo(f"{num_dead} dead units started anew")
    return Trainer(network, crops, recipe, where)


@click.command()
@click.option("--config", default="photo", type=click.Choice(sorted(CONFIGS)), help="The configuration to train.")
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
@click.option("--batch", default=16, help="Crops a step; on a GPU best a multiple of 15 (one mix of exits, compiled once).")
@click.option("--crop", default=128, help="Edge of a crop in pixels, a multiple of 64.")
@click.option("--rate", default=1e-3, help="Highest learning rate.")
@click.option("--hard-from", default=1.0, help="Share of the budget after which rates use rounded symbols.")
@click.option("--bit-price", "prices", multiple=True, type=float, help="What a bit of a level costs, once a level; default 1.")
@click.option("--checkpoint-minutes", default=3.0, help="Time between checkpoints.")
@click.option("--device", default="auto", type=click.Choice(["auto", "cpu", "cuda"]))
@click.option("--threads", default=0, help="CPU threads of each worker; by default all share the cores.")
@click.option("--workers", "num_workers", default=1, help="Processes that train together, one thread each best of all.")
@click.option("--seed", default=0)
def main(
    config: str, sources: tuple[str, ...], coarse: tuple[str, ...], num_drawn: int, out: Path, minutes: float,
    valid: str | None, start: Path | None, batch: int, crop: int, rate: float, hard_from: float, prices: tuple[float, ...],
    checkpoint_minutes: float, device: str, threads: int, num_workers: int, seed: int,
) -> None:  # fmt: skip
    """Trains a model, or continues a run that was cut off (checkpoint.pt in --out)."""
    if num_workers > 1 and not threads:
        threads = max(1, (os.cpu_count() or 1) // num_workers)
    if prices and len(prices) != CONFIGS[config].num_levels:
        raise click.UsageError(f"--bit-price must be given {CONFIGS[config].num_levels} times or not at all")
    recipe = Recipe(minutes=minutes, batch=batch, crop=crop, rate=rate, hard_from=hard_from, seed=seed, bit_prices=prices)
    job = Job(config, sources, coarse, num_drawn, out, valid, start, recipe, checkpoint_minutes, device, threads)
    workers.launch(num_workers, _train, job)


if __name__ == "__main__":
    main()
