"""Makes a float lossless layer of its weights file, so that training can go on from what is shipped.

Room: lossless, training only; the way back of `export.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from hcodec.models.integer.products import STATE_UNIT
from hcodec.models.integer.unquantize import (
    Tensors,
    product,
    unquantize_block,
    unquantize_dense,
    unquantize_expansion,
    unquantize_first,
)
from hcodec.models.lossless.config import BASE, CHANNELS, GROUP, PHASES, SPREAD
from hcodec.models.lossless.integer import COEFFICIENT_STEPS, FED_UNIT, OUTPUT_UNITS
from hcodec.models.lossless.network import LosslessNetwork, Phase, Predictor, Stage
from hcodec.models.tables.likelihood import LOG_SCALE_STEP, MEAN_STEPS, MIN_LOG_SCALE, MIN_TAIL, TAIL_STEP

_MAP_LENGTH = 0.3  # of the rows that make the maps beside what the state shows, about as at initialization
_LOWEST = {LOG_SCALE_STEP: MIN_LOG_SCALE, TAIL_STEP: MIN_TAIL}


@torch.no_grad()
def unquantize_lossless(network: LosslessNetwork, tensors: Tensors) -> None:
    """Fills a lossless layer that `task.initialize` has set up with what `weights_file.read_exact` found."""
    network.embed.copy_(tensors["embed"] * STATE_UNIT)
    unquantize_block(network.block, tensors, "block")
    base_units = _base_units(network, tensors)
    unquantize_dense(network.show, tensors, "show", STATE_UNIT, base_units.repeat(64))
    unquantize_dense(network.enter, tensors, "enter", STATE_UNIT)
    for pitch in PHASES:
        _unquantize_stage(cast(Stage, network.stages[str(pitch)]), tensors, base_units)


def _base_units(network: LosslessNetwork, tensors: Tensors) -> Tensor:
    """Returns what a step of each base map is worth (BASE,): known for what the state shows, at will for the others."""
    weight, _ = product(tensors, "show", 1.0)
    length = (weight / STATE_UNIT / network.show.gain_in).unflatten(0, (64, BASE)).norm(dim=2).mean(0)
    units = _MAP_LENGTH / length
    units[:CHANNELS] = 1 / MEAN_STEPS
    return units


def _unquantize_stage(stage: Stage, tensors: Tensors, base_units: Tensor) -> None:
    name = f"stages.{stage.pitch}"
    if stage.pitch < max(PHASES):
        unquantize_dense(stage.up, tensors, f"{name}.up", STATE_UNIT)
        unquantize_dense(stage.base, tensors, f"{name}.base", (base_units / SPREAD).repeat(4 * stage.pitch**2))
        unquantize_dense(stage.known, tensors, f"{name}.known", FED_UNIT)
    for i, module in enumerate(stage.phases):
        phase, inner = cast(Phase, module), f"{name}.phases.{i}"
        unquantize_block(phase.refine, tensors, f"{inner}.refine")
        _unquantize_predictor(phase.predict, tensors, inner)
        unquantize_dense(phase.feed, tensors, f"{inner}.feed", FED_UNIT)


def _unquantize_predictor(predictor: Predictor, tensors: Tensors, name: str) -> None:
    """Fills the expansion and the heads of a phase; in the file, what comes of channels before is part of a head's matrix."""
    middle = unquantize_expansion(predictor, tensors, f"{name}.predict")
    for c in range(CHANNELS):
        rows, width = slice(c * GROUP, (c + 1) * GROUP), len(middle)
        whole = nn.Linear(width + 2 * c, GROUP)
        units = torch.cat([middle, torch.full((2 * c,), 1 / FED_UNIT)])
        hidden = unquantize_first(whole, tensors, f"{name}.heads.{c}.fc1", units)
        predictor.fc1.weight[rows], predictor.fc1.bias[rows] = whole.weight[:, :width], whole.bias
        if c:
            cast(nn.Linear, predictor.before[c - 1]).weight.copy_(whole.weight[:, width:])
        steps = [*OUTPUT_UNITS, *[1 / COEFFICIENT_STEPS] * (2 + c)]
        _unquantize_head(cast(nn.Linear, predictor.heads[c]), tensors, f"{name}.heads.{c}.head", hidden, steps)


def _unquantize_head(head: nn.Linear, tensors: Tensors, name: str, hidden: Tensor, steps: Sequence[float]) -> None:
    weight, bias = product(tensors, name, torch.tensor(steps, dtype=torch.float64))
    head.weight.copy_(weight * hidden)
    head.bias.copy_(bias + torch.tensor([_LOWEST.get(step, 0.0) for step in steps]))
