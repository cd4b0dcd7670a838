"""Trains the lossless layer: `python -m hcodec.models.lossless.train --base photo-1 --data TAR... --out FOLDER --minutes 60`.

Room: network, a script. Writes `checkpoint.pt` (with all that exact resume needs), `log.csv`, `curve.csv` and a line of
progress; `python -m hcodec.models.lossless.export` makes integer weights of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import click
import numpy as np

from hcodec.models import registry
from hcodec.models.lossless.config import START_LEVELS
from hcodec.models.lossless.network import LosslessNetwork
from hcodec.models.lossless.samples import Crops, as_from_camera, samples
from hcodec.models.lossless.task import LosslessTask, initialize, start_from
from hcodec.models.photo.model import torch_networks
from hcodec.models.training import data, script

_CLIP = 1.0


@dataclass(frozen=True)
class Choices:
    """What the command line asks of this family alone; its options say what each means."""

    base: str
    levels: tuple[int, ...]
    limit: int | None
    variants: int
    crop: int


def make(choices: Choices, options: script.Options, start: script.Start) -> LosslessTask:
    """Returns the task of one process, with the weights to start from."""
    model, levels = registry.load(choices.base, backend="torch"), choices.levels
    pictures, random = data.load(options.sources)[: choices.limit], np.random.default_rng(options.seed)
    more = [as_from_camera(picture, random) for _ in range(choices.variants - 1) for picture in pictures]
    pool = samples(model, pictures + more, options.seed, levels)
    valid = samples(model, data.load([options.valid])[::8], options.seed, levels) if options.valid else []
    network = LosslessNetwork(model.config.width[8], model.config.hidden[8], len(levels))
    initialize(network, torch_networks(model.path)[0], levels)
    if start.path and not start.resumes:
        start_from(network, start.path)
    return LosslessTask(network.to(start.device), Crops(pool, choices.crop, start.seed), valid)


@click.command()
@click.option("--base", default="photo-1", help="The installed model whose lossless layer this is.")
@script.shared_options(
    batch=16, rate=2e-3, checkpoint_minutes=5.0,
    valid="Validation pictures.", start="Checkpoint or weights file (.safetensors) whose weights to start from.",
)  # fmt: skip
@click.option("--level", "levels", multiple=True, type=int, default=START_LEVELS, help="Levels that it may start from.")
@click.option("--limit", default=None, type=int, help="Only so many training pictures.")
@click.option("--variants", default=2, help="How often each picture is coded; after the first time, as if from a camera.")
@click.option("--crop", default=128, help="Edge of a crop in pixels, a multiple of 8.")
def main(base: str, levels: tuple[int, ...], limit: int | None, variants: int, crop: int, **shared: Any) -> None:
    """Trains the lossless layer of a model, or continues a run that was cut off (checkpoint.pt in --out)."""
    choices = Choices(base, levels, limit, variants, crop)
    script.train(script.Options(**shared), partial(make, choices), clip=_CLIP)


if __name__ == "__main__":
    main()
