"""Turns a training checkpoint into a weights file: `python -m hcodec.models.photo.export CHECKPOINT --data TAR --out FILE`.

Room: photo, a script. The integer network is built along the data's path: each product is quantized against the
activations that the integer network before it really produces, and its weights are made as fine as its exactness
certificate allows. Then real symbols are counted to make the coding tables. Beside the weights file it writes the
graphs that run it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import cast

import click
import numpy as np
import torch
from torch import Tensor, nn

from hcodec.models import weights_file
from hcodec.models.blocks import Block, Dense
from hcodec.models.descend import descend
from hcodec.models.integer.certificate import ACTIVATION_LIMIT, certify, certify_vector
from hcodec.models.integer.products import STATE_UNIT
from hcodec.models.integer.quantize import Tensors, export_block, export_dense, integer_product, put
from hcodec.models.photo.agreed import Agreed
from hcodec.models.photo.config import Config
from hcodec.models.photo.model import Arrays, graph_weights, torch_steps
from hcodec.models.photo.network import Network
from hcodec.models.photo.prefix import posterior
from hcodec.models.photo.steps import steps
from hcodec.models.photo.walk import LIMITS, MEAN_UNIT, Floats, LatentSteps, Prior, Walk, analyze
from hcodec.models.runtime import graphs
from hcodec.models.runtime.backend import GRAPHS
from hcodec.models.runtime.torch_steps import TorchSteps
from hcodec.models.tables import symbol_tables
from hcodec.models.tables.scales import LOG_SCALE_STEP, MIN_LOG_SCALE, NUM_SCALES
from hcodec.models.training import data


def _export_head(tensors: Tensors, name: str, head: nn.Linear, units: Tensor) -> None:
    """Adds the product that gives mean and scale index of a latent, from hidden activations of the units given."""
    channels = head.out_features // 2
    unit_out = torch.cat([torch.full((channels,), MEAN_UNIT), torch.full((channels,), LOG_SCALE_STEP)])
    bias = head.bias.clone()
    bias[channels:] -= MIN_LOG_SCALE
    put(tensors, name, integer_product(head.weight, bias, units, unit_out, ACTIVATION_LIMIT))


@torch.no_grad()
def export_agreed(network: Network, pictures: Tensor) -> Tensors:
    """Returns the integer tensors of the agreed path, calibrated on pictures (B, 3, H, W), H and W multiples of 64."""
    tensors: Tensors = {"start": (network.start / STATE_UNIT).round().to(torch.int32)}
    for stride in (32, 16, 8):
        dense = network.up[str(stride)]
        assert isinstance(dense, Dense)  # noqa: S101 (for the type checker)
        export_dense(tensors, f"up.{stride}", dense, STATE_UNIT)
    for i, (latent, state) in enumerate(zip(network.ordered_latents(), _observe_states(network, pictures), strict=True)):
        for j, block in enumerate(latent.refine):
            export_block(tensors, f"latents.{i}.refine.{j}", cast(Block, block), state)
            state = block(state)
        hidden_units = export_block(tensors, f"latents.{i}.block", latent.block, state)
        _export_head(tensors, f"latents.{i}.block.head", latent.head, hidden_units)
        export_dense(tensors, f"latents.{i}.project", latent.project, MEAN_UNIT)
    return tensors


def _observe_states(network: Network, pictures: Tensor) -> list[Tensor]:
    """Returns the state (B, H_l, W_l, width) that each latent gets on pictures (B, 3, H, W), all levels kept."""
    states: list[Tensor] = []

    def hook(module: nn.Module, inputs: tuple[Tensor]) -> None:
        """Keeps what enters the first block of a latent."""
        states.append(inputs[0])

    handles = [latent.refine.register_forward_pre_hook(hook) for latent in network.ordered_latents()]
    network(pictures, [network.config.num_levels] * len(pictures), hard=True)
    for handle in handles:
        handle.remove()
    return states


def export_float(network: Network) -> Tensors:
    """Returns the float tensors: analysis, posteriors and synthesis, large matrices in half precision."""
    agreed = ("start", "up.")
    tensors = {}
    for name, value in network.state_dict().items():
        if name.startswith(agreed) or (name.startswith("latents.") and ".posterior." not in name):
            continue
        small = value.numel() < 10_000 or "dct" in name
        tensors[name] = (value.float() if small else value.half()).contiguous()
    return tensors


@torch.no_grad()
def count_symbols(network: Network, agreed: Agreed, pictures: list[np.ndarray], show: Callable[[str], None]) -> np.ndarray:
    """Returns how often each symbol occurs at each scale index, (NUM_SCALES, 2 * MAX_SYMBOL + 1) int64."""
    limit = symbol_tables.MAX_SYMBOL
    counts = np.zeros((NUM_SCALES, 2 * limit + 1), dtype=np.int64)
    own = TorchSteps(steps(network, agreed), agreed.start.device)
    walk = Walk(agreed.config, own, agreed.start.numpy())
    for done, picture in enumerate(pictures):
        wanted = posterior(own, analyze(agreed.config, own, picture, sorted(agreed.config.width)))

        def answer(latent: LatentSteps, state: Floats, prior: Prior) -> Floats:
            """Returns the rounded posterior and counts it."""
            symbols = np.rint(wanted(latent, state, prior)).clip(-limit, limit)  # noqa: B023 (used at once)
            np.add.at(counts, (prior.index.ravel(), symbols.astype(np.int32).ravel() + limit), 1)
            return symbols

        descend(walk, walk.begin(*picture.shape[:2]), answer)
        if done % 20 == 19:
            show(f"counted symbols of {done + 1} of {len(pictures)} pictures")
    return counts


def write(path: Path, config: Config, integers: Arrays, floats: Arrays, description: str) -> None:
    """Writes a weights file, and beside it the graphs that ONNX Runtime runs it by."""
    write_graphs(path.with_suffix(GRAPHS), config, integers, floats)
    weights_file.save(path, config, integers, floats, description)


def write_graphs(path: Path, config: Config, integers: Arrays, floats: Arrays) -> None:
    """Writes the graphs of a model.

    Hidden units of its analysis are computed on int8, for nothing but the encoder's choice of symbols depends on them.
    """
    products = [name for name in floats if name.startswith("analysis.") and name.endswith(("fc1.weight", "fc2.weight"))]
    weights = graph_weights(integers, floats)
    graphs.write(path, torch_steps(config, integers, floats), weights, on_int8=(f"float/{name}" for name in products))


def _arrays(tensors: Tensors) -> Arrays:
    return {name: tensor.numpy() for name, tensor in tensors.items()}


@click.command()
@click.argument("checkpoint", type=click.Path(exists=True, path_type=Path))
@click.option("--data", "sources", multiple=True, required=True, help="Training pictures to calibrate and count on.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The .safetensors file to write.")
@click.option("--calibrate", default=128, help="Pictures whose activations say what an integer is worth.")
@click.option("--count", default=200, help="Pictures whose symbols are counted.")
@click.option("--description", default="", help="One line about the model.")
def main(checkpoint: Path, sources: tuple[str, ...], out: Path, calibrate: int, count: int, description: str) -> None:
    """Writes the integer weights of a checkpoint's averaged network, certified and with coding tables."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    config = weights_file.config_from(state["config"])
    network = Network(config)
    network.load_state_dict(state["average"])
    crops = data.Crops(data.load(sources), 256, seed=1)
    tensors = export_agreed(network, data.to_float(crops.batch(calibrate)))
    integers = _arrays(tensors)
    certify(integers, LIMITS)
    certify_vector(integers, "start")
    click.echo("all products are certified exact")
    pictures = list(crops.batch(count).numpy())
    counts = count_symbols(network, Agreed(config, tensors), pictures, click.echo)
    write(out, config, integers | {"tables.weights": symbol_tables.make(counts)}, _arrays(export_float(network)), description)
    click.echo(json.dumps({"file": str(out), "bytes": out.stat().st_size, "fingerprint": weights_file.summary(out).fingerprint}))


if __name__ == "__main__":
    main()
