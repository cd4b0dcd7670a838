"""The lossless layer, in floats: the likelihood of every pixel given a level's state and the pixels before it.

Room: lossless, training only; `integer.py` repeats all of it on integers. Three stages halve the distance between
known pixels: 8 -> 4 -> 2 -> 1. A stage works on cells of 2 x 2 of its pixels and decodes them in a few phases, each a
whole map at once, so that the last pixels see all of their neighbors (as in the interlaced order of Cao et al. 2020,
arXiv 2004.02872, and in PixelCNNs of few steps, Reed et al. 2017, arXiv 1703.03664). Within a phase, green comes
first, then red, then blue.

Maps are (B, H_cell, W_cell, channels); pixel values are in units of one gray level. No entropy coding, no files here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hcodec.models.blocks import Block, Dense, LowerBound, Spread, depth_to_space, space_to_depth
from hcodec.models.lossless.config import (
    BASE,
    CHANNELS,
    GROUP,
    HEAD_START,
    OUTPUTS,
    PHASES,
    REFINE,
    SPREAD,
    VALUES,
    WIDTH,
)
from hcodec.models.lossless.neighbors import neighbors
from hcodec.models.rates import mixture_bits
from hcodec.models.tables.likelihood import MIN_LOG_SCALE, MIN_TAIL


class Predictor(Spread):
    """Parameters of the three sub-pixels of one phase, each given the ones before it."""

    def __init__(self, width: int) -> None:
        super().__init__(width, CHANNELS * GROUP)
        self.before = nn.ModuleList(nn.Linear(2 * c, GROUP, bias=False) for c in range(1, CHANNELS))
        heads = [nn.Linear(GROUP, OUTPUTS + c) for c in range(CHANNELS)]
        self.heads = nn.ModuleList(heads)
        for channel, head in enumerate(heads):
            nn.init.normal_(head.weight, std=1e-3)
            head.bias.data = torch.tensor(HEAD_START[: OUTPUTS + channel])
            if channel:
                head.bias.data[OUTPUTS] = 0.7

    def forward(self, state: Tensor, x: Tensor, fixed: Tensor, detail: Tensor, slant: Tensor) -> tuple[Tensor, Tensor]:
        """Returns bits (B, H, W) and residuals (B, H, W, 3); x, and what `neighbors` gives of it: (B, H, W, 3) each."""
        hidden = self.spread(state)
        bits, residuals = x.new_zeros(x.shape[:3]), x[..., :0]
        for c in range(CHANNELS):
            h = hidden[..., c * GROUP : (c + 1) * GROUP]
            if c:
                h = h + self.before[c - 1](torch.cat([residuals, residuals.abs()], -1) / SPREAD)
            mean, log_scale, tail, share, lean, *coefficients = self.heads[c](F.relu(h)).float().unbind(-1)
            mean = 4 * mean + fixed[..., c] + share * detail[..., c] + lean * slant[..., c]
            for i, coefficient in enumerate(coefficients):
                mean = mean + coefficient * residuals[..., i]
            mean, log_scale = mean.clamp(0, 255), LowerBound.apply(log_scale, MIN_LOG_SCALE)
            tail = -LowerBound.apply(-LowerBound.apply(tail, MIN_TAIL), 0.0)
            bits = bits + mixture_bits(x[..., c], mean, log_scale, tail)
            residuals = torch.cat([residuals, (x[..., c] - mean)[..., None]], -1)
        return bits, residuals


class Phase(nn.Module):
    """One phase: refine the state, predict, feed back what was decoded."""

    def __init__(self, pitch: int) -> None:
        super().__init__()
        self.refine = Block(WIDTH[pitch], REFINE[pitch])
        self.predict = Predictor(WIDTH[pitch])
        self.feed = Dense(VALUES, WIDTH[pitch])


class Stage(nn.Module):
    """All phases of one pitch (the distance between its pixels)."""

    def __init__(self, pitch: int) -> None:
        super().__init__()
        self.pitch = pitch
        width = WIDTH[pitch]
        if pitch < 4:
            self.up = Dense(WIDTH[2 * pitch], 4 * width)
            self.base = Dense(4 * pitch * pitch * BASE, width)
            self.known = Dense(VALUES, width)
        self.phases = nn.ModuleList(Phase(pitch) for _ in PHASES[pitch])


class LosslessNetwork(nn.Module):
    """The whole lossless layer on top of a state (B, H/8, W/8, width); H and W multiples of 8."""

    def __init__(self, width: int, hidden: int, num_starts: int) -> None:
        super().__init__()
        self.embed = nn.Parameter(torch.zeros(num_starts, width))
        self.block = Block(width, hidden)
        self.show = Dense(width, 64 * BASE)
        self.enter = Dense(width, WIDTH[4])
        self.stages = nn.ModuleDict({str(pitch): Stage(pitch) for pitch in PHASES})

    def forward(self, state: Tensor, x: Tensor, starts: Tensor) -> dict[str, Tensor]:
        """Returns bits (B,) of each pitch ("4", "2", "1").

        x: (B, H, W, 3) float 0..255 in coding order; starts: (B,) which start each state belongs to.
        """
        state = self.block(state + self.embed[starts][:, None, None])
        base = depth_to_space(self.show(state), 8)
        state, values = self.enter(state), x[..., :0]
        bits: dict[str, Tensor] = {}
        for pitch in PHASES:
            state, values, bits[str(pitch)] = self._stage(pitch, state, base, x, values)
        return bits

    def _stage(self, pitch: int, state: Tensor, base: Tensor, x: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        stage = cast(Stage, self.stages[str(pitch)])
        if pitch < 4:
            state = depth_to_space(stage.up(state), 2) + stage.known(values)
            state = state + stage.base(space_to_depth(base / SPREAD, 2 * pitch))
        pixels = space_to_depth(x[:, ::pitch, ::pitch], 2).unflatten(-1, (4, CHANNELS))
        shown = space_to_depth(base[:, ::pitch, ::pitch, :CHANNELS] + 128, 2).unflatten(-1, (4, CHANNELS))
        found = [values] if pitch < 4 else []
        total = x.new_zeros(len(x))
        for phase, offset in zip(cast("Iterable[Phase]", stage.phases), PHASES[pitch], strict=True):
            own = offset[0] * 2 + offset[1]
            state = phase.refine(state)
            if offset == (0, 0):
                fixed, detail = shown[..., 0, :], torch.zeros_like(shown[..., 0, :])
                slant = detail
            else:
                fixed, detail, slant = neighbors(pixels, shown, offset)
            bits, residuals = phase.predict(state, pixels[..., own, :], fixed, detail, slant)
            total = total + bits.sum((1, 2))
            fed = torch.cat([pixels[..., own, :] - shown[..., own, :], residuals, residuals.abs()], -1) / SPREAD
            found.append(fed)
            state = state + phase.feed(fed)
        corner, center, right, below = found
        return state, depth_to_space(torch.cat([corner, right, below, center], -1), 2), total
