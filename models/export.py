"""Turns a training checkpoint into a weights file: `python -m hcodec.models.export CHECKPOINT --data TAR --out FILE`.

Room: network, a script. The integer network is built along the data's path: each product is quantized against the
activations that the integer network before it really produces, and its weights are made as fine as its exactness
certificate allows. Then real symbols are counted to make the coding tables.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hcodec.models import data, storage, tables
from hcodec.models.blocks import Block, Dense, Spread, depthwise
from hcodec.models.exact import ACTIVATION_LIMIT, MEAN_UNIT, STATE_UNIT, Agreed
from hcodec.models.hvae import Network
from hcodec.models.scales import LOG_SCALE_STEP, MIN_LOG_SCALE, NUM_SCALES
from hcodec.models.walk import Walk

_HEADROOM = 1.25  # how far beyond the calibration pictures an activation may go before it is clamped
Tensors = dict[str, Tensor]


def integer_product(
    weight: Tensor, bias: Tensor, unit_in: Tensor, unit_out: Tensor | float, limit: int, precise: bool = False
) -> Tensors:
    """Returns weight, bias and gain of the integer form of `weight @ x + bias`, with the finest certified weights.

    weight: (out, in); x arrives as integers up to `limit`, each worth unit_in (in,); results leave in unit_out.
    precise: for a float64 product; its weights stay within 16 bits all the same.
    """
    weight, bias = (weight * unit_in).double(), bias.double()
    room = 2.0**24 - 0.5 * weight.shape[1] * limit - 2
    scale = (weight.abs().sum(1) * limit + bias.abs()) / room
    if precise:
        scale = weight.abs().amax(1) / 32767
    scale = torch.maximum(scale, weight.abs().amax(1) / 32767).clamp(min=1e-30)
    whole, offset = (weight / scale[:, None]).round(), (bias / scale).round()
    dtype = torch.float64 if precise else torch.float32
    return {"weight": whole.to(torch.int16), "bias": offset.to(torch.int32), "gain": (scale / unit_out).to(dtype)}


def activation_units(observed: Tensor) -> Tensor:
    """Returns what one integer step of each channel is worth, from observed activations (..., C)."""
    return observed.abs().flatten(0, -2).amax(0).clamp(min=1e-3) * _HEADROOM / ACTIVATION_LIMIT


def put(tensors: Tensors, name: str, product: Tensors) -> None:
    """Adds the parts of a product to the tensors."""
    tensors.update({f"{name}.{key}": value for key, value in product.items()})


def export_expansion(tensors: Tensors, name: str, block: Spread, state: Tensor) -> tuple[Tensor, Tensor]:
    """Adds gain and kernel of the first half of a block; returns the activations after it and their units."""
    units = activation_units(state)
    tensors[f"{name}.gain"] = (STATE_UNIT / units).float()
    kernel, bias = block.folded_kernel()
    middle = depthwise(state, kernel, bias)
    middle_units = activation_units(middle)
    product = integer_product(kernel.flatten(1) * units[:, None], bias, torch.ones(9), middle_units, ACTIVATION_LIMIT)
    product["weight"] = product["weight"].reshape(-1, 1, 3, 3)
    put(tensors, f"{name}.kernel", product)
    return middle, middle_units


def export_block(tensors: Tensors, name: str, block: Block, state: Tensor, head: nn.Linear | None = None) -> None:
    """Adds the integer form of a block, calibrated on float states (B, H, W, width), to the tensors."""
    middle, middle_units = export_expansion(tensors, name, block, state)
    hidden = F.relu(block.fc1(middle))
    hidden_units = activation_units(hidden)
    put(tensors, f"{name}.fc1", integer_product(block.fc1.weight, block.fc1.bias, middle_units, hidden_units, ACTIVATION_LIMIT))
    put(tensors, f"{name}.fc2", integer_product(block.fc2.weight, block.fc2.bias, hidden_units, STATE_UNIT, ACTIVATION_LIMIT))
    if head is not None:
        channels = head.out_features // 2
        unit = torch.cat([torch.full((channels,), MEAN_UNIT), torch.full((channels,), LOG_SCALE_STEP)])
        bias = head.bias.clone()
        bias[channels:] -= MIN_LOG_SCALE
        put(tensors, f"{name}.head", integer_product(head.weight, bias, hidden_units, unit, ACTIVATION_LIMIT))


def export_dense(tensors: Tensors, name: str, dense: Dense, unit_in: float) -> None:
    """Adds the integer form of a signal-carrying product, in float64, to the tensors."""
    weight, bias = dense.folded()
    put(tensors, name, integer_product(weight, bias, torch.full((weight.shape[1],), unit_in), STATE_UNIT, 1, True))


@torch.no_grad()
def export_agreed(network: Network, pictures: Tensor) -> Tensors:
    """Returns the integer tensors of the agreed path, calibrated on pictures (B, 3, H, W), H and W multiples of 64."""
    tensors: Tensors = {"start": (network.start / STATE_UNIT).round().to(torch.int32)}
    for stride in (32, 16, 8):
        dense = network.up[str(stride)]
        assert isinstance(dense, Dense)  # noqa: S101 (for the type checker)
        export_dense(tensors, f"up.{stride}", dense, STATE_UNIT)
    features = network.analyze(pictures)
    state = network.begin(len(pictures), *pictures.shape[2:])
    stride = 64
    for i, latent in enumerate(network.ordered_latents()):
        while stride > latent.stride:
            stride //= 2
            state = network.ascend(state, stride, *pictures.shape[2:])
        export_block(tensors, f"latents.{i}.refine", latent.refine, state)
        export_block(tensors, f"latents.{i}.block", latent.block, latent.refine(state), latent.head)
        export_dense(tensors, f"latents.{i}.project", latent.project, MEAN_UNIT)
        state, mean, log_scale = latent.prior(state)
        symbol = latent.posterior(features[stride] - state, mean, log_scale).round()
        state = latent.advance(state, mean + symbol)
    return tensors


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
    counts = np.zeros((NUM_SCALES, 2 * tables.MAX_SYMBOL + 1), dtype=np.int64)
    for done, picture in enumerate(pictures):
        walk = Walk(network, agreed, picture.shape[0], picture.shape[1])
        features = network.analyze(data.to_float(torch.from_numpy(picture[None])))
        for _ in agreed.latents:
            _, index = walk.predict()
            symbol = walk.posterior(features).round().clamp(-tables.MAX_SYMBOL, tables.MAX_SYMBOL).to(torch.int32)
            np.add.at(counts, (index.numpy().ravel(), symbol.numpy().ravel() + tables.MAX_SYMBOL), 1)
            walk.advance(symbol)
        if done % 20 == 19:
            show(f"counted symbols of {done + 1} of {len(pictures)} pictures")
    return counts


@click.command()
@click.argument("checkpoint", type=click.Path(exists=True, path_type=Path))
@click.option("--data", "sources", multiple=True, required=True, help="Training pictures to calibrate and count on.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The .safetensors file to write.")
@click.option("--count", default=200, help="Pictures whose symbols are counted.")
@click.option("--description", default="", help="One line about the model.")
def main(checkpoint: Path, sources: tuple[str, ...], out: Path, count: int, description: str) -> None:
    """Writes the integer weights of a checkpoint's averaged network, certified and with coding tables."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    config = storage.config_from(state["config"])
    network = Network(config)
    network.load_state_dict(state["average"])
    crops = data.Crops(data.load(sources), 256, seed=1)
    tensors = export_agreed(network, data.to_float(crops.batch(24)))
    agreed = Agreed(config, tensors)
    click.echo("all products are certified exact")
    pictures = list(crops.batch(count).numpy())
    counts = count_symbols(network, agreed, pictures, click.echo)
    tensors |= {"tables.weights": torch.from_numpy(tables.make(counts))}
    storage.save(out, config, tensors, export_float(network), description)
    click.echo(json.dumps({"file": str(out), "bytes": out.stat().st_size, "fingerprint": storage.summary(out).fingerprint}))


if __name__ == "__main__":
    main()
