"""Trains a model: `python -m hcodec.models.photo.train --data FOLDER_OR_TAR... --out FOLDER --minutes 120`.

Room: network, a script. Runs on a CPU (with `--workers`, faster than threads) or GPU, writes `checkpoint.pt` (everything, for
exact resume), `log.csv`, `curve.csv` and a line of progress; `python -m hcodec.models.photo.export` turns a checkpoint into
integer weights. Imports neither the codec nor the coder.

While it runs, `date -d +20min +%s > FOLDER/deadline` sets another end, and shards may be moved into the folder of `--arriving`.
What is only for a GPU (`--graph`, the kernels of `depthwise.py`) was never run on one in this form. There a step may be captured
and is then guarded by `--valid`: without it nobody notices when captured steps make the network worse.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
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
from hcodec.models.photo.task import NUM_WATCHED, Objective, PhotoTask
from hcodec.models.photo.unquantize import unquantize
from hcodec.models.training import data, drawn, script
from hcodec.models.training.dead_units import balance, restart

_CLIP = 5.0
_NUM_FITTED = 48  # crops to which the initialization is fitted


@dataclass(frozen=True)
class Choices:
    """What the command line asks of this family alone; its options say what each means."""

    config: str
    coarse: tuple[str, ...]
    arriving: Path | None
    num_drawn: int
    crop: int
    objective: Objective


def make(choices: Choices, options: script.Options, start: script.Start) -> PhotoTask:
    """Returns the task of one process, with the weights to start from."""
    crops = _crops(choices, options, start)
    script.say(f"{len(crops.shapes)} pictures of at least {crops.size} pixels; training on {start.device}")
    network = Network(CONFIGS[choices.config])
    if not start.resumes:
        _start(network, crops, start)
    arrivals = data.Arrivals(choices.arriving) if choices.arriving else None
    return PhotoTask(network.to(start.device), crops, choices.objective, _validation(options.valid, start.device), arrivals)


def _crops(choices: Choices, options: script.Options, start: script.Start) -> data.Crops:
    if choices.crop < 64 or choices.crop % 64:
        raise click.UsageError(f"--crop is {choices.crop}; it must be a multiple of 64")
    try:
        pictures = data.load(options.sources) + drawn.pictures(choices.num_drawn, start.seed)
        return data.Crops(pictures, choices.crop, start.seed, data.load(choices.coarse), start.device)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _start(network: Network, crops: data.Crops, start: script.Start) -> None:
    """Fills the network: from a file, or as a pyramid of block DCTs; then balances it and wakes dead units."""
    if start.path:
        network.load_state_dict(network.state_dict() | _weights(start.path))  # what is new since then stays as it begins
    else:
        initialize(network, data.to_float(crops.batch(_NUM_FITTED)))
    pictures = data.to_float(crops.batch(NUM_WATCHED), start.device)
    balance(network.to(start.device), pictures)
    script.say(f"{restart(network, network, pictures)} dead units started anew")


def _weights(path: Path) -> dict[str, Tensor]:
    """Returns the averaged weights of a checkpoint, or those of a weights file."""
    if path.suffix == ".safetensors":
        return unquantize(*weights_file.read(path)[:3]).state_dict()
    return script.averaged_weights(path)


def _validation(folder: str | None, device: torch.device) -> Tensor | None:
    """Returns every fourth picture of the folder, cut to the common size, as float (B, 3, H, W)."""
    if folder is None:
        return None
    pictures = data.load([folder])[::4]
    edges = [min(p.shape[axis] for p in pictures) // 64 * 64 for axis in (0, 1)]
    batch = np.stack([p[: edges[0], : edges[1]] for p in pictures])
    return data.to_float(torch.from_numpy(batch), device)


@click.command()
@click.option("--config", default="photo", type=click.Choice(sorted(CONFIGS)), help="The configuration to train.")
@script.shared_options(
    batch=16, rate=1e-3, checkpoint_minutes=3.0,
    valid="Folder of validation pictures.", start="Checkpoint or weights file (.safetensors) whose weights to start from.",
)  # fmt: skip
@click.option(
    "--coarse-data", "coarse", multiple=True, type=click.Path(exists=True),
    help="More data, too strongly compressed for the last levels; repeatable.",
)  # fmt: skip
@click.option(
    "--arriving", default=None, type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder into which more shards may come during the run.",
)  # fmt: skip
@click.option("--drawn", "num_drawn", default=0, help="Pictures of flat areas, shapes and lettering to draw beside them.")
@click.option("--crop", default=128, help="Edge of a crop in pixels, a multiple of 64.")
@click.option("--hard-from", default=1.0, help="Share of the budget after which rates use rounded symbols.")
@click.option("--bit-price", "prices", multiple=True, type=float, help="What a bit of a level costs, once a level; default 1.")
def main(
    config: str, coarse: tuple[str, ...], arriving: Path | None, num_drawn: int, crop: int, hard_from: float,
    prices: tuple[float, ...], **shared: Any,
) -> None:  # fmt: skip
    """Trains a model, or continues a run that was cut off (checkpoint.pt in --out)."""
    if prices and len(prices) != CONFIGS[config].num_levels:
        raise click.UsageError(f"--bit-price must be given {CONFIGS[config].num_levels} times or not at all")
    choices = Choices(config, coarse, arriving, num_drawn, crop, Objective(hard_from=hard_from, bit_prices=prices))
    script.train(script.Options(**shared), partial(make, choices), clip=_CLIP)


if __name__ == "__main__":
    main()
