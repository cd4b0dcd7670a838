"""Turns a checkpoint into the weights of a chain model: `python -m hcodec.models.small.export CHECKPOINT --data DATA --out FILE`.

Room: small, a script. As in `photo/export.py`, every product is quantized against the activations that come before
it, and its weights are made as fine as its exactness certificate allows. The coding tables are those of the mixtures
themselves; counting real values brought nothing. Beside the weights file it writes the graphs that run it.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hcodec.models import weights_file
from hcodec.models.blocks import Block, Dense, pad_even, space_to_depth
from hcodec.models.descend import Position, at_stride, descend
from hcodec.models.integer.certificate import ACTIVATION_LIMIT, certify, certify_vector
from hcodec.models.integer.products import STATE_UNIT
from hcodec.models.integer.quantize import Tensors, activation_units, export_block, export_dense, integer_product, put
from hcodec.models.runtime import graphs
from hcodec.models.runtime.backend import GRAPHS
from hcodec.models.small.config import COARSEST, NUM_COEFFICIENTS, SmallConfig, config_from
from hcodec.models.small.model import torch_steps
from hcodec.models.small.network import SmallLatent, SmallNetwork, noise
from hcodec.models.small.planes import NUM_PLANES, Pixels
from hcodec.models.small.task import open_source, to_values
from hcodec.models.small.walk import COEFFICIENT_STEPS, INPUT_STEPS, LIMITS
from hcodec.models.tables import likelihood
from hcodec.models.tables.likelihood import LOG_SCALE_STEP, MEAN_STEPS, MIN_LOG_SCALE, MIN_TAIL, TAIL_STEP

_SCALE = (LOG_SCALE_STEP, MIN_LOG_SCALE)  # what one step of a scale index is worth, and what index 0 stands for
_TAIL = (TAIL_STEP, MIN_TAIL)


def _block_with_head(
    tensors: Tensors, name: str, block: Block, head: nn.Linear, state: Tensor, outputs: list[tuple[float, float]]
) -> None:
    """Adds a block and its head, each output in its own unit and from its own zero, calibrated on states (B, H, W, width)."""
    export_block(tensors, name, block, state)
    unit, zero = torch.tensor(outputs).unbind(1)
    units = activation_units(block.expand(state))
    put(tensors, f"{name}.head", integer_product(head.weight, head.bias - zero, units, unit, ACTIVATION_LIMIT))


def _export_latent(tensors: Tensors, name: str, latent: SmallLatent, before: Tensor, lack: Tensor) -> None:
    """Adds one latent, calibrated on the states before it and on what its posterior sees."""
    count = latent.channels
    _block_with_head(tensors, f"{name}.block", latent.block, latent.head, before, [_SCALE] * count + [_TAIL] * count)
    outputs = [(1 / MEAN_STEPS, 0.0)] * count + [(LOG_SCALE_STEP, 0.0)] * count
    _block_with_head(tensors, f"{name}.inference", latent.inference, latent.inference_head, lack, outputs)
    weight, bias = latent.select.folded()
    units = torch.full((weight.shape[1],), STATE_UNIT)
    put(tensors, f"{name}.select", integer_product(weight, bias, units, 1 / MEAN_STEPS, 1, True))
    export_dense(tensors, f"{name}.project", latent.project, 1.0)


def _export_analysis(tensors: Tensors, network: SmallNetwork, values: Tensor) -> dict[int, Tensor]:
    """Adds the bottom-up path and returns its features."""
    x, features = (values - network.center) / network.spread, {}
    for stride in (2, 4, 8):
        dense, block = network.down[str(stride)], network.analysis[str(stride)]
        assert isinstance(dense, Dense) and isinstance(block, Block)  # noqa: S101 (for the type checker)
        weight, bias = dense.folded()
        units = (1 / (INPUT_STEPS * network.spread)).repeat(4) if stride == 2 else torch.full((weight.shape[1],), STATE_UNIT)
        put(tensors, f"down.{stride}", integer_product(weight, bias, units, STATE_UNIT, 1, True))
        x = dense(space_to_depth(pad_even(x), 2))
        export_block(tensors, f"analysis.{stride}", block, x)
        features[stride] = x = block(x)
    return features


@torch.no_grad()
def export_exact(network: SmallNetwork, values: Tensor) -> Tensors:
    """Returns the integer tensors of a model, calibrated on planes (B, H, W, 3); sides multiples of 8."""
    tensors: Tensors = {"start": (network.start / STATE_UNIT).round().to(torch.int32)}
    values = torch.cat([values, values])  # half with latents, half as the first pictures of a chain go
    features = _export_analysis(tensors, network, values)
    for stride, up in network.up.items():
        export_dense(tensors, f"up.{stride}", cast(Dense, up), STATE_UNIT)
    end = _export_latents(tensors, network, features, network.begin(len(values), *values.shape[1:3]))
    outputs = [_SCALE] * NUM_PLANES + [_TAIL] * NUM_PLANES + [(1 / COEFFICIENT_STEPS, 0.0)] * NUM_COEFFICIENTS
    _block_with_head(tensors, "last", network.last, network.last_head, at_stride(network, end, 1).state, outputs)
    return tensors


def _export_latents(tensors: Tensors, network: SmallNetwork, features: dict[int, Tensor], position: Position) -> Position:
    """Adds all latents, one after the other; returns the position after them."""

    def answer(latent: SmallLatent, state: Tensor, prior: tuple[Tensor, Tensor]) -> Tensor:
        """Exports a latent; returns values drawn from the posterior, and zeros in the second half."""
        lack = features[latent.stride] - state
        _export_latent(tensors, f"latents.{i}", latent, before, lack)
        mean, spread = latent.posterior(lack, prior[0])
        z = (mean + spread.exp() * noise(mean)).round()
        z[len(z) // 2 :] = 0
        return z

    for i, latent in enumerate(network.ordered_latents()):
        position = at_stride(network, position, latent.stride)
        before = position.state
        position = descend(network, position, answer, i + 1)
    return position


def export(network: SmallNetwork, pictures: Pixels) -> dict[str, NDArray[Any]]:
    """Returns all tensors of a weights file, calibrated on pictures (N, H, W[, 3]); ModelError unless all products are exact."""
    values, _ = to_values(network.config, _whole(pictures))
    tensors = {name: tensor.numpy() for name, tensor in export_exact(network, values).items()}
    certify(tensors, LIMITS)
    certify_vector(tensors, "start")
    return tensors | {"likelihood.weights": likelihood.make()}


def write(path: Path, config: SmallConfig, tensors: dict[str, NDArray[Any]]) -> bytes:
    """Writes a weights file, and beside it the graphs that run it; returns its fingerprint."""
    graphs.write(path.with_suffix(GRAPHS), torch_steps(config, tensors), tensors)
    return weights_file.save_exact(path, asdict(config), tensors)


def _whole(pictures: Pixels) -> Pixels:
    """Returns the pictures with their edge repeated up to the coarsest stride."""
    edges = [(0, -length % COARSEST) for length in pictures.shape[1:3]]
    return np.pad(pictures, [(0, 0), *edges, *[(0, 0)] * (pictures.ndim - 3)], mode="edge")


@click.command()
@click.argument("checkpoint", type=click.Path(exists=True, path_type=Path))
@click.option("--data", "sources", multiple=True, required=True, help="Training pictures, as for training.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The .safetensors file to write.")
@click.option("--count", default=256, help="Training pictures to calibrate on.")
def main(checkpoint: Path, sources: tuple[str, ...], out: Path, count: int) -> None:
    """Writes the integer weights of a checkpoint's averaged network, certified."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    config = config_from(state["config"])
    network = SmallNetwork(config)
    network.load_state_dict(state["average"])
    tensors = export(network, open_source(config, sources).batch(count))
    found = write(out, config, tensors)
    click.echo(json.dumps({"file": str(out), "bytes": out.stat().st_size, "fingerprint": found.hex()}))


if __name__ == "__main__":
    main()
