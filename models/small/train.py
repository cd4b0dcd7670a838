"""Trains a chain model: `python -m hcodec.models.small.train --config mnist --data FOLDER --out FOLDER --minutes 12`.

Room: network, a script. CPU or GPU; writes `checkpoint.pt` (with all that exact resume needs), `log.csv`, `curve.csv` and a line
of progress; `python -m hcodec.models.small.export` turns a checkpoint into integer weights. Imports neither the codec nor the
coder.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

from hcodec.models.small import thumbnails
from hcodec.models.small.config import CONFIGS, SmallConfig
from hcodec.models.small.network import SmallNetwork
from hcodec.models.small.planes import Pixels
from hcodec.models.small.task import SmallTask, open_source
from hcodec.models.training import data, script

_CLIP = 2.0


def make(config: SmallConfig, options: script.Options, start: script.Start) -> SmallTask:
    """Returns the task of one process, with the weights to start from."""
    source = open_source(config, options.sources, start.seed)
    network = SmallNetwork(config)
    if start.path and not start.resumes:
        network.load_state_dict(script.averaged_weights(start.path))
    return SmallTask(network.to(start.device), source, _held_out(config, options))


def _held_out(config: SmallConfig, options: script.Options) -> Pixels | None:
    if config.channels == 1:
        return thumbnails.mnist(Path(options.sources[0]), "train")[-1000:]
    return None if options.valid is None else np.stack(thumbnails.tiles(data.load([options.valid])))[::8]


@click.command()
@click.option("--config", required=True, type=click.Choice(sorted(CONFIGS)), help="The configuration to train.")
@script.shared_options(
    batch=32, rate=3e-3, checkpoint_minutes=2.0,
    valid="Folder of validation photographs; of MNIST the last 1,000 training pictures are held out.",
    start="Checkpoint to start from.",
)  # fmt: skip
def main(config: str, **shared: Any) -> None:
    """Trains a model, or continues a run that was cut off (checkpoint.pt in --out); --data may be MNIST's folder."""
    script.train(script.Options(**shared), partial(make, CONFIGS[config]), clip=_CLIP)


if __name__ == "__main__":
    main()
