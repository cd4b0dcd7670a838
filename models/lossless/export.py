"""Turns a checkpoint of the lossless layer into integer weights.

`python -m hcodec.models.lossless.export CHECKPOINT --data TAR --out FILE`

Room: lossless, a script. Each product is quantized against the activations that the float network produces on
calibration pictures, as in `photo/export.py`; then distances are counted on real pixels to make the tables of the
likelihood. Beside the weights file it writes the graphs that run it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hcodec.models import registry, weights_file
from hcodec.models.blocks import Dense
from hcodec.models.integer.certificate import ACTIVATION_LIMIT, certify, certify_vector
from hcodec.models.integer.products import STATE_UNIT
from hcodec.models.integer.quantize import (
    Tensors,
    activation_units,
    export_block,
    export_dense,
    export_expansion,
    integer_product,
    put,
)
from hcodec.models.lossless.config import BASE, CHANNELS, GROUP, PHASES, SPREAD, START_LEVELS
from hcodec.models.lossless.integer import COEFFICIENT_STEPS, FED_UNIT, OUTPUT_UNITS, IntegerLossless
from hcodec.models.lossless.model import torch_steps
from hcodec.models.lossless.network import LosslessNetwork, Phase, Predictor, Stage
from hcodec.models.lossless.samples import Sample, samples
from hcodec.models.lossless.steps import steps
from hcodec.models.lossless.walk import LIMITS, VALUE_LIMIT, Sites, following, walk
from hcodec.models.runtime import graphs
from hcodec.models.runtime.backend import GRAPHS
from hcodec.models.runtime.torch_steps import TorchSteps
from hcodec.models.tables import likelihood
from hcodec.models.tables.likelihood import LOG_SCALE_STEP, MEAN_STEPS, MIN_LOG_SCALE, MIN_TAIL, TAIL_STEP
from hcodec.models.training import data

Seen = dict[str, tuple[tuple[Any, ...], Any]]  # module -> the inputs and the output of its last call


def observe(network: LosslessNetwork, states: Tensor, x: Tensor, starts: Tensor) -> Seen:
    """Returns what went into and came out of each module."""
    seen: Seen = {}

    def hook(name: str) -> Any:
        """Returns a hook that keeps what goes in and out of the module of that name."""
        return lambda module, inputs, output: seen.update({name: (inputs, output)})

    handles = [module.register_forward_hook(hook(name)) for name, module in network.named_modules() if name]
    network(states, x, starts)
    for handle in handles:
        handle.remove()
    return seen


def export_head(
    tensors: Tensors, name: str, fc1: tuple[Tensor, Tensor], head: nn.Linear, x: Tensor, units: Tensor, units_out: Sequence[float]
) -> None:
    """Adds one head: fc1 (weight, bias) on activations x (..., C) of the units, then outputs in the units given."""
    hidden = F.relu(F.linear(x, *fc1))
    hidden_units = activation_units(hidden)
    put(tensors, f"{name}.fc1", integer_product(*fc1, units, hidden_units, ACTIVATION_LIMIT))
    bias = head.bias.clone()
    lowest = {LOG_SCALE_STEP: MIN_LOG_SCALE, TAIL_STEP: MIN_TAIL}
    for i, step in enumerate(units_out):
        bias[i] -= lowest.get(step, 0.0)
    put(tensors, f"{name}.head", integer_product(head.weight, bias, hidden_units, torch.tensor(units_out), ACTIVATION_LIMIT))


def _export_predictor(tensors: Tensors, name: str, predictor: Predictor, seen: Seen) -> None:
    """Adds the expansion and the three heads of a phase."""
    (state, *_), (_, residuals) = seen[f"{name}.predict"]
    middle, units = export_expansion(tensors, f"{name}.predict", predictor, state)
    for c in range(CHANNELS):
        rows = slice(c * GROUP, (c + 1) * GROUP)
        weight, bias = predictor.fc1.weight[rows], predictor.fc1.bias[rows]
        x, own_units = middle, units
        if c:
            before = torch.cat([residuals[..., :c], residuals[..., :c].abs()], -1) / SPREAD
            weight = torch.cat([weight, _matrix(predictor.before[c - 1])], 1)
            x, own_units = torch.cat([middle, before], -1), torch.cat([units, torch.full((2 * c,), FED_UNIT)])
        head = predictor.heads[c]
        units_out = [*OUTPUT_UNITS, *[1 / COEFFICIENT_STEPS] * (2 + c)]
        export_head(tensors, f"{name}.heads.{c}", (weight, bias), _linear(head), x, own_units, units_out)


def _linear(module: nn.Module) -> nn.Linear:
    assert isinstance(module, nn.Linear)  # noqa: S101 (for the type checker: ModuleList forgets types)
    return module


def _matrix(module: nn.Module) -> Tensor:
    return _linear(module).weight


def _narrow(tensors: Tensors, name: str, dense: Dense, unit_in: Tensor, limit: int) -> None:
    weight, bias = dense.folded()
    put(tensors, name, integer_product(weight, bias, unit_in, STATE_UNIT, limit))


def _export_stage(tensors: Tensors, name: str, stage: Stage, seen: Seen, base_units: Tensor) -> None:
    fed = torch.full((9,), FED_UNIT)
    if stage.pitch < max(PHASES):
        export_dense(tensors, f"{name}.up", stage.up, STATE_UNIT)
        _narrow(tensors, f"{name}.base", stage.base, (base_units / SPREAD).repeat(4 * stage.pitch**2), ACTIVATION_LIMIT)
        _narrow(tensors, f"{name}.known", stage.known, fed, VALUE_LIMIT)
    for i, phase in enumerate(stage.phases):
        assert isinstance(phase, Phase)  # noqa: S101 (for the type checker)
        inner = f"{name}.phases.{i}"
        export_block(tensors, f"{inner}.refine", phase.refine, seen[f"{inner}.refine"][0][0])
        _export_predictor(tensors, inner, phase.predict, seen)
        _narrow(tensors, f"{inner}.feed", phase.feed, fed, VALUE_LIMIT)


@torch.no_grad()
def export_exact(network: LosslessNetwork, states: Tensor, x: Tensor, starts: Tensor) -> Tensors:
    """Returns the integer tensors of the lossless layer, calibrated on a batch as `samples.Crops` gives it."""
    seen = observe(network, states, x, starts)
    tensors: Tensors = {"embed": (network.embed / STATE_UNIT).round().to(torch.int32)}
    export_block(tensors, "block", network.block, seen["block"][0][0])
    maps = seen["show"][1].unflatten(-1, (64, BASE))
    base_units = activation_units(maps.flatten(0, -2))
    base_units[:CHANNELS] = 1 / MEAN_STEPS
    weight, bias = network.show.folded()
    unit_in = torch.full((weight.shape[1],), STATE_UNIT)
    put(tensors, "show", integer_product(weight, bias, unit_in, base_units.repeat(64).double(), 1, True))
    export_dense(tensors, "enter", network.enter, STATE_UNIT)
    for pitch in PHASES:
        stage = network.stages[str(pitch)]
        assert isinstance(stage, Stage)  # noqa: S101 (for the type checker)
        _export_stage(tensors, f"stages.{pitch}", stage, seen, base_units)
    return tensors


def count_distances(tensors: Tensors, pool: Sequence[Sample]) -> np.ndarray:
    """Returns how often each distance occurs in each table, (NUM_TABLES, 2 * MAX_DISTANCE + 1), on whole pictures."""
    counts = np.zeros((likelihood.NUM_TABLES, 2 * likelihood.MAX_DISTANCE + 1), dtype=np.int64)
    own, num_starts = TorchSteps(steps(IntegerLossless(tensors)), torch.device("cpu")), len(pool[0].states)
    with click.progressbar(list(enumerate(pool)), label="counting") as bar:
        for i, sample in bar:
            start = i % num_starts
            state = (sample.states[start : start + 1] / STATE_UNIT).round().numpy()
            _count(walk(own, tensors["embed"][start].float().numpy(), state), sample.pixels.numpy(), counts)
    return counts


def _count(sites: Sites, pixels: np.ndarray, counts: np.ndarray) -> None:
    site = next(sites, None)
    while site is not None:
        values = pixels[site.where]
        whole, table = likelihood.locate(*(x.astype(np.int32) for x in (site.mean, site.scale, site.shape)))
        np.add.at(counts, (table, values.astype(np.int32) - whole + likelihood.MAX_DISTANCE), 1)
        site = following(sites, values.astype(np.float32))


def write(path: Path, about: dict[str, Any], tensors: dict[str, np.ndarray]) -> bytes:
    """Writes a weights file, and beside it the graphs that run it; returns its fingerprint."""
    graphs.write(path.with_suffix(GRAPHS), torch_steps(tensors), tensors)
    return weights_file.save_exact(path, about, tensors)


@click.command()
@click.argument("checkpoint", type=click.Path(exists=True, path_type=Path))
@click.option("--base", default="photo-1", help="The installed model whose lossless layer this is.")
@click.option("--data", "sources", multiple=True, required=True, help="Lossless pictures to calibrate and count on.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The .safetensors file to write.")
@click.option("--count", default=200, help="Pictures whose pixels are counted.")
@click.option("--level", "levels", multiple=True, type=int, default=START_LEVELS, help="As it was trained.")
@click.option("--description", default="", help="One line about the model.")
def main(
    checkpoint: Path, base: str, sources: tuple[str, ...], out: Path, count: int, levels: tuple[int, ...], description: str
) -> None:
    """Writes the integer weights of a checkpoint's averaged lossless layer, certified and with its tables."""
    model = registry.load(base, backend="torch")
    config = model.config
    network = LosslessNetwork(config.width[8], config.hidden[8], len(levels))
    network.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["average"])
    random = np.random.default_rng(1)
    pictures = data.load(sources)
    pool = samples(model, [pictures[i] for i in random.permutation(len(pictures))[:count]], 1, levels)
    batch = pool[:32]
    starts = torch.arange(len(batch)) // 2 % len(levels)
    states = torch.stack([sample.states[start, :16, :16] for sample, start in zip(batch, starts, strict=True)])
    x = torch.stack([sample.pixels[:128, :128] for sample in batch]).float()
    tensors = export_exact(network, states, x, starts)
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    certify(arrays, LIMITS)
    certify_vector(arrays, "embed")
    click.echo("all products are certified exact")
    arrays["likelihood.weights"] = likelihood.make(count_distances(tensors, pool))
    about = {"base": model.fingerprint.hex(), "starts": list(levels), "description": description}
    fingerprint = write(out, about, arrays)
    click.echo(json.dumps({"file": str(out), "bytes": out.stat().st_size, "fingerprint": fingerprint.hex()}))


if __name__ == "__main__":
    main()
