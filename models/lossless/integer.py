"""The lossless layer on integers: the likelihood of every pixel, the same on every machine.

Room: lossless (what the lossless layer's encoder and decoder share). The arithmetic is that of `integer.products`;
`network.py` is the float network that was trained. `steps.py` makes steps of these methods, `walk.py` goes through
them. All maps are float32 integers (1, H, W, channels) over the cells of a stage, of 2 x 2 of its pixels each, whose
children become channels by row, column, channel. Everything in capitals is part of the format (FORMAT.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hcodec.errors import ModelError
from hcodec.models.blocks import depth_to_space, space_to_depth
from hcodec.models.integer.certificate import ACTIVATION_LIMIT, STATE_LIMIT
from hcodec.models.integer.kernels import dense, depthwise
from hcodec.models.integer.products import (
    IntegerBlock,
    Product,
    integer_block,
    narrow_weights,
    requantize,
    wide_product,
    wide_weights,
)
from hcodec.models.lossless.config import BASE, CHANNELS, PHASES, SPREAD, VALUES
from hcodec.models.lossless.neighbors import neighbors
from hcodec.models.lossless.walk import VALUE_LIMIT
from hcodec.models.tables.likelihood import LOG_SCALE_STEP, MEAN_STEPS, NUM_SCALES, NUM_SHAPES, TAIL_STEP

MIDDLE = 128 * MEAN_STEPS  # gray level that base map 0 stands for
COEFFICIENT_STEPS = 64  # steps of 1 in the shares that a head gives
COEFFICIENT_LIMIT = 4 * COEFFICIENT_STEPS
CORRECTION_LIMIT = 2**13
# what integers are worth in the float network, for export and back: an eighth of a gray level where pixels are fed back, and
# a step of a head's first outputs (the others are shares)
FED_UNIT = 1 / (MEAN_STEPS * SPREAD)
OUTPUT_UNITS = (1 / (4 * MEAN_STEPS), LOG_SCALE_STEP, TAIL_STEP)

Parameters = tuple[Tensor, Tensor, Tensor, Tensor]  # as of `walk.Site`: mean, scale, shape (1, H, W), terms (1, H, W, num_terms)


@dataclass(frozen=True)
class Expansion:
    """The first half of a block: state -> depthwise -> activations for the dense products after it."""

    gain: Tensor
    kernel: Product

    def __call__(self, state: Tensor) -> Tensor:
        """Returns activations (1, H, W, width) of a state of that shape."""
        x = requantize(state, self.gain, -ACTIVATION_LIMIT, ACTIVATION_LIMIT)
        y = depthwise(x, self.kernel.weight, self.kernel.bias)
        return requantize(y, self.kernel.gain, -ACTIVATION_LIMIT, ACTIVATION_LIMIT)


@dataclass(frozen=True)
class Head:
    """Activations -> hidden activations -> outputs."""

    fc1: Product
    head: Product

    def __call__(self, x: Tensor) -> Tensor:
        """Returns rounded outputs (..., num_out) of activations (..., num_in)."""
        hidden = requantize(dense(x, self.fc1.weight, self.fc1.bias), self.fc1.gain, 0, ACTIVATION_LIMIT)
        return (dense(hidden, self.head.weight, self.head.bias) * self.head.gain).round()


@dataclass(frozen=True)
class IntegerPhase:
    """One phase of a stage: the pixels at `offset` in all cells."""

    offset: tuple[int, int]
    refine: IntegerBlock
    expand: Expansion
    heads: tuple[Head, ...]
    feed: Product

    def begin(self, state: Tensor, pixels: Tensor, shown: Tensor) -> tuple[Tensor, ...]:
        """Returns the state, activations, what surrounds the pixels (1, H, W, 9), and the parameters of their first channel.

        pixels: those known so far (1, H, W, 12), the others anything; shown: what the base shows of them, in eighths.
        """
        state, _ = self.refine(state)
        activations, around = self.expand(state), _surroundings(pixels, shown, self.offset)
        none = state[..., :0]
        return state, activations, around, *self.channel(activations, around, none, none)

    def channel(self, activations: Tensor, around: Tensor, means: Tensor, values: Tensor) -> Parameters:
        """Returns the parameters of the next channel, given means and values of those before, (1, H, W, channel) each."""
        channel, residuals = means.shape[-1], values * MEAN_STEPS - means
        before = torch.cat([residuals, residuals.abs()], -1).clamp(-ACTIVATION_LIMIT, ACTIVATION_LIMIT)
        outputs = self.heads[channel](torch.cat([activations, before], -1) if channel else activations)
        fixed, detail, slant = (around[..., i * CHANNELS + channel, None] for i in range(3))
        mean, scale, shape = _pixel_parameters(outputs, fixed, torch.cat([detail, slant, residuals], -1))
        away = around[..., :channel] - means
        return mean, scale, shape, torch.cat([fixed - mean[..., None], detail, slant, residuals, away], -1)

    def feed_back(self, state: Tensor, shown: Tensor, means: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the state with the decoded pixels added, and what was fed back of them (1, H, W, VALUES)."""
        own, whole = CHANNELS * (2 * self.offset[0] + self.offset[1]), values * MEAN_STEPS
        residuals = whole - means
        fed = torch.cat([whole - shown[..., own : own + CHANNELS], residuals, residuals.abs()], -1)
        fed = fed.clamp(-VALUE_LIMIT, VALUE_LIMIT)
        return _added(state, fed, self.feed), fed


@dataclass(frozen=True)
class IntegerStage:
    """The beginning of one pitch: the products that bring in the one before."""

    pitch: int
    up: Product
    base: Product
    known: Product

    def enter(self, state: Tensor, base: Tensor, pixels: Tensor, fed: Tensor) -> tuple[Tensor, ...]:
        """Returns state, base maps, what they show, pixels and what was fed back over the cells of this stage, from those before.

        base: the maps of the 2 * pitch * 2 * pitch pixels of each cell; pixels (1, H, W, 12); fed (1, H, W, 4 * VALUES). Of the
        last two, a cell's first pixel is known at first, the others are zeros.
        """
        state = depth_to_space(wide_product(state, self.up), 2)
        base = space_to_depth(depth_to_space(base, 4 * self.pitch), 2 * self.pitch)
        fed, pixels = depth_to_space(fed, 2), depth_to_space(pixels, 2)
        state = _added(_added(state, base, self.base), fed, self.known)
        return state, base, _shown(base, self.pitch), F.pad(pixels, (0, 3 * CHANNELS)), F.pad(fed, (0, 3 * VALUES))


class IntegerLossless:
    """The whole lossless layer, from named integer tensors; `integer.certificate` certifies them.

    stages: of every pitch but the first; phases: of every pitch.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        try:
            self.block = integer_block(tensors, "block", False)
            self.show, self.enter = wide_weights(tensors, "show"), wide_weights(tensors, "enter")
            self.stages = {pitch: _stage(tensors, pitch) for pitch in PHASES if pitch != max(PHASES)}
            self.phases = {
                pitch: [_phase(tensors, f"stages.{pitch}.phases.{i}", offset) for i, offset in enumerate(offsets)]
                for pitch, offsets in PHASES.items()
            }
        except KeyError as missing:
            raise ModelError(f"weights lack the tensor {missing}") from None

    def begin(self, state: Tensor, embed: Tensor) -> tuple[Tensor, ...]:
        """Returns state, base maps, what they show, and pixels and what was fed back, for the first stage.

        state: as a level left it (1, H/8, W/8, width); embed (width,): of that level.
        """
        state, _ = self.block(_within(state + embed))
        sums = dense(state.double(), self.show.weight, self.show.bias)
        base = requantize(sums, self.show.gain, -ACTIVATION_LIMIT, ACTIVATION_LIMIT).float()
        shown = _shown(base, max(PHASES))
        return wide_product(state, self.enter), base, shown, torch.zeros_like(shown), torch.zeros_like(base[..., : 4 * VALUES])


def _stage(tensors: Mapping[str, Tensor], pitch: int) -> IntegerStage:
    name = f"stages.{pitch}"
    base, known = (narrow_weights(tensors, f"{name}.{part}") for part in ("base", "known"))
    return IntegerStage(pitch, wide_weights(tensors, f"{name}.up"), base, known)


def _phase(tensors: Mapping[str, Tensor], name: str, offset: tuple[int, int]) -> IntegerPhase:
    expand = Expansion(tensors[f"{name}.predict.gain"].float(), narrow_weights(tensors, f"{name}.predict.kernel"))
    heads = tuple(_head(tensors, f"{name}.heads.{c}") for c in range(CHANNELS))
    refine, feed = integer_block(tensors, f"{name}.refine", False), narrow_weights(tensors, f"{name}.feed")
    return IntegerPhase(offset, refine, expand, heads, feed)


def _head(tensors: Mapping[str, Tensor], name: str) -> Head:
    return Head(narrow_weights(tensors, f"{name}.fc1"), narrow_weights(tensors, f"{name}.head"))


def _within(state: Tensor) -> Tensor:
    return state.clamp(-STATE_LIMIT, STATE_LIMIT)


def _added(state: Tensor, x: Tensor, product: Product) -> Tensor:
    """Returns state plus the requantized float32 product of x."""
    sums = dense(x, product.weight, product.bias)
    return _within(state + requantize(sums, product.gain, -STATE_LIMIT, STATE_LIMIT))


def _shown(base: Tensor, pitch: int) -> Tensor:
    """Returns what base maps show of the four pixels of each cell, in eighths (1, H, W, 12)."""
    maps = base.unflatten(-1, (2 * pitch, 2 * pitch, BASE))
    return maps[..., ::pitch, ::pitch, :CHANNELS].flatten(-3) + MIDDLE


def _surroundings(pixels: Tensor, shown: Tensor, offset: tuple[int, int]) -> Tensor:
    """Returns `neighbors` in eighths (1, H, W, 9); quarters of them are exact in float32."""
    if offset == (0, 0):  # of which no neighbors are known
        return F.pad(shown[..., :CHANNELS], (0, 2 * CHANNELS))
    maps = ((pixels * MEAN_STEPS).unflatten(-1, (4, CHANNELS)), shown.unflatten(-1, (4, CHANNELS)))
    return torch.cat(neighbors(*maps, offset), -1)


def _pixel_parameters(outputs: Tensor, fixed: Tensor, terms: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns mean in eighths, scale index and shape index, (1, H, W) each; all sums below are exact in float32."""
    shares = outputs[..., 3:].clamp(-COEFFICIENT_LIMIT, COEFFICIENT_LIMIT)
    weighed = (shares * terms).sum(-1) / COEFFICIENT_STEPS
    moved = fixed[..., 0] + outputs[..., 0].clamp(-CORRECTION_LIMIT, CORRECTION_LIMIT) + weighed
    mean = moved.round().clamp(0, 255 * MEAN_STEPS)
    return mean, outputs[..., 1].clamp(0, NUM_SCALES - 1), outputs[..., 2].clamp(0, NUM_SHAPES - 1)
