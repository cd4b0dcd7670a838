"""The steps of a lossless layer: the pieces of the torch network that `walk` and graphs are made of.

Room: lossless. Nothing is computed here that is not a method of `IntegerLossless` or of what it consists of.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hcodec.models.lossless.config import BASE, CHANNELS, VALUES, WIDTH
from hcodec.models.lossless.integer import IntegerLossless, IntegerPhase
from hcodec.models.runtime.steps import Reach
from hcodec.models.runtime.torch_steps import TorchStep, check_step

_ROWS, _COLUMNS = 4, 6  # of the maps that show shapes
_WHOLE = Reach(unit=2**20)  # a tile fits the cache nearly: cutting it wins nothing


def steps(network: IntegerLossless) -> dict[str, TorchStep]:
    """Returns all steps, by name.

    `begin`; of each pitch P but the first `stage.P`; of each phase I of it `phase.P.I`, `channel.P.I.C` for its channels C after
    the first, and `feed.P.I`; and `check`.
    """
    width = len(network.block.gain)
    named = {"check": check_step(), "begin": TorchStep(network.begin, (_map(width), torch.zeros(width)), _WHOLE)}
    for pitch, stage in network.stages.items():
        before = _map(WIDTH[2 * pitch]), _map(16 * pitch * pitch * BASE), _map(4 * CHANNELS), _map(4 * VALUES)
        named[f"stage.{pitch}"] = TorchStep(stage.enter, before, _WHOLE)
    for pitch, phases in network.phases.items():
        for i, phase in enumerate(phases):
            named |= _phase(f"{pitch}.{i}", phase, _map(WIDTH[pitch]))
    return named


def _phase(name: str, phase: IntegerPhase, state: Tensor) -> dict[str, TorchStep]:
    cell, around = _map(4 * CHANNELS), _map(3 * CHANNELS)
    named = {f"phase.{name}": TorchStep(phase.begin, (state, cell, cell), _WHOLE)}
    for channel in range(1, CHANNELS):
        named[f"channel.{name}.{channel}"] = TorchStep(phase.channel, (state, around, _map(channel), _map(channel)), _WHOLE)
    return named | {f"feed.{name}": TorchStep(phase.feed_back, (state, cell, _map(CHANNELS), _map(CHANNELS)), _WHOLE)}


def _map(channels: int) -> Tensor:
    return torch.zeros(1, _ROWS, _COLUMNS, channels)
