"""What the training scripts share: their options, and the one call that trains.

Room: training.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch

from hcodec.models import blocks
from hcodec.models.training import depthwise, depthwise_kernels, graph, parts, workers
from hcodec.models.training.loop import Recipe, Task, Trainer


@dataclass(frozen=True)
class Options:
    """What the shared options say; their help texts say what each means."""

    sources: tuple[str, ...]
    out: Path
    minutes: float
    valid: str | None
    start: Path | None
    batch: int
    rate: float
    checkpoint_minutes: float
    part_megabytes: float
    device: str
    threads: int
    num_workers: int
    graph: bool
    seed: int


@dataclass(frozen=True)
class Start:
    """What one of the processes that train needs to know to make its task."""

    device: torch.device
    seed: int  # of its own examples
    path: Path | None  # weights to start from: a checkpoint or a weights file
    resumes: bool  # a checkpoint will be restored: weights need no other start


def shared_options(batch: int, rate: float, checkpoint_minutes: float, valid: str, start: str) -> Callable[[Any], Any]:
    """Returns a decorator that adds the shared options to a command, which gets them by the names of `Options`.

    batch, rate, checkpoint_minutes: defaults of the family; valid, start: what these two options take.
    """
    existing, folder = click.Path(exists=True), click.Path(file_okay=False, path_type=Path)
    options = [
        click.option("--data", "sources", multiple=True, required=True, type=existing, help="Shards, folders or pictures."),
        click.option("--out", required=True, type=folder, help="Where checkpoints go."),
        click.option("--minutes", required=True, type=float, help="Budget of the run; a file `deadline` in --out moves it."),
        click.option("--valid", default=None, type=existing, help=valid),
        click.option("--start", default=None, type=click.Path(exists=True, path_type=Path), help=start),
        click.option("--batch", default=batch, help="Examples a step; on a GPU best a multiple of 15."),
        click.option("--rate", default=rate, help="Highest learning rate."),
        click.option("--checkpoint-minutes", default=checkpoint_minutes, help="Time between checkpoints."),
        click.option("--part-megabytes", default=0.0, help="Also writes the averaged weights as files of this size; 0 for none."),
        click.option("--device", default="auto", type=click.Choice(["auto", "cpu", "cuda"])),
        click.option("--threads", default=0, help="CPU threads of each worker; by default all share the cores."),
        click.option("--workers", "num_workers", default=1, help="Processes that train together, one thread each best of all."),
        click.option("--graph/--no-graph", default=True, help="Whether a GPU takes a step as one graph, where a family can."),
        click.option("--seed", default=0),
    ]  # fmt: skip

    def decorate(command: Any) -> Any:
        """Adds the shared options to a command."""
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def train(options: Options, make: Callable[[Options, Start], Task], clip: float) -> None:
    """Trains the task that `make` returns, or continues the run that was cut off in `options.out`.

    make: called in each process; picklable. It raises click's errors for options that cannot be met. clip: see `Recipe`.
    """
    workers.launch(options.num_workers, _train, options, make, clip)


def _train(options: Options, make: Callable[[Options, Start], Task], clip: float) -> None:
    """Trains as one of several workers; the first alone writes and speaks."""
    start = _prepare(options)
    task = make(options, start)
    recipe = Recipe(
        options.minutes, options.batch, options.rate, clip=clip,
        checkpoint_minutes=options.checkpoint_minutes, part_megabytes=options.part_megabytes,
    )  # fmt: skip
    trainer = Trainer(task, recipe, graph.capture if start.device.type == "cuda" and options.graph else None)
    options.out.mkdir(parents=True, exist_ok=True)
    if start.resumes:
        _restore(trainer, options.out / "checkpoint.pt")
    trainer.broadcast()
    say(f"{sum(p.numel() for p in task.network.parameters())} parameters; training on {start.device}")
    with contextlib.suppress(KeyboardInterrupt):
        trainer.run(options.out)
    say(f"\n{trainer.step} steps in {trainer.seconds / 60:.1f} minutes; {trainer.skipped} skipped")


def _prepare(options: Options) -> Start:
    """Sets this process up: threads, random numbers, arithmetic."""
    threads = options.threads or (max(1, (os.cpu_count() or 1) // options.num_workers) if options.num_workers > 1 else 0)
    if threads:
        torch.set_num_threads(threads)
    seed = options.seed + workers.rank()
    torch.manual_seed(seed)
    torch.set_flush_denormal(True)  # vanishing gradients of idle channels otherwise slow a CPU down a hundredfold
    device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if options.device == "auto" else options.device)
    if device.type == "cuda":
        _prepare_gpu(device)
    return Start(device, seed, options.start, (options.out / "checkpoint.pt").exists())


def _prepare_gpu(device: torch.device) -> None:
    torch.set_float32_matmul_precision("high")  # 19 bits instead of 24
    if depthwise_kernels.present():
        depthwise.check(device)
        blocks.use_depthwise(depthwise.depthwise)


def _restore(trainer: Trainer, path: Path) -> None:
    try:
        trainer.restore(path)
    except (KeyError, ValueError) as error:
        raise click.UsageError(f"{path} is of another version or model ({error}); --start takes its weights") from None


def averaged_weights(path: Path) -> dict[str, Any]:
    """Returns the averaged weights of a checkpoint, or of a folder with parts."""
    if path.is_dir():
        return parts.read(path)
    weights: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)["average"]
    return weights


def say(text: str) -> None:
    """Shows a line if this is the first worker."""
    if workers.rank() == 0:
        click.echo(text)
