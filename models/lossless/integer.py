"""The lossless layer on integers: the likelihood of every pixel, the same on every machine.

Room: lossless (what the lossless layer's encoder and decoder share). The arithmetic is that of `integer.products`;
`network.py` is the float network that was trained. A `TileWalk` goes over one tile in coding order: it says how the
next values are distributed and takes them, from the picture or from the stack. Everything in capitals is part of the
format (FORMAT.md).
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Generator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from hcodec.errors import ModelError
from hcodec.models.blocks import depth_to_space, space_to_depth
from hcodec.models.integer.kernels import dense, depthwise
from hcodec.models.integer.products import (
    ACTIVATION_LIMIT,
    STATE_LIMIT,
    IntegerBlock,
    Product,
    integer_block,
    narrow_weights,
    requantize,
    wide_product,
    wide_weights,
)
from hcodec.models.lossless.config import CHANNELS, LATENT, PHASES, SPREAD
from hcodec.models.lossless.neighbors import neighbors
from hcodec.models.tables.likelihood import LOG_SCALE_STEP, MEAN_STEPS, NUM_SCALES, NUM_SHAPES, TAIL_STEP

MIDDLE = 128 * MEAN_STEPS  # gray level that base map 0 stands for
COEFFICIENT_STEPS = 64  # steps of 1 in the shares that a head gives
COEFFICIENT_LIMIT = 4 * COEFFICIENT_STEPS
VALUE_LIMIT = 2047  # of what is fed back of a pixel, in eighths
CORRECTION_LIMIT = 2**13
LATENT_LIMIT = 127 * MEAN_STEPS  # of the means of fine latents, well inside what wraps around
MIN_LATENT_SCALE = 16  # bins of at most 1.3 posterior deviations
# what integers are worth in the float network, for export and back: an eighth of a gray level where pixels are fed back, and
# a step of a head's first outputs (the others are shares)
FED_UNIT = 1 / (MEAN_STEPS * SPREAD)
OUTPUT_UNITS = (1 / (4 * MEAN_STEPS), LOG_SCALE_STEP, TAIL_STEP)


@dataclass(frozen=True)
class Site:
    """The values that come next: pixels at `offset` in cells of 2 x 2 pixels of a pitch, and how they are distributed.

    mean in eighths, scale and shape index: float32 integers (H_cell, W_cell). terms: what a correction may add to the
    mean, float32 multiples of a quarter of an eighth (num_terms, H_cell, W_cell): how far the neighbors' plain mean lies
    from it, detail and slant; then of the channels before, their residuals, and how far their neighbors' means lie from theirs.
    """

    pitch: int
    offset: tuple[int, int]
    channel: int
    mean: Tensor
    scale: Tensor
    shape: Tensor
    terms: Tensor

    @property
    def where(self) -> tuple[slice, slice, int]:
        """The index of these values in an array (H, W, 3) in coding order."""
        rows, columns = (slice(o * self.pitch, None, 2 * self.pitch) for o in self.offset)
        return rows, columns, self.channel


@dataclass(frozen=True)
class Expansion:
    """The first half of a block: state -> depthwise -> activations for the dense products after it."""

    gain: Tensor
    kernel: Product

    def certify(self, name: str) -> None:
        """Raises ModelError unless the kernel is exact."""
        if not self.gain.isfinite().all():
            raise ModelError(f"weights of {name} break the exactness certificate (a gain is not finite)")
        self.kernel.certify(f"{name}.kernel", ACTIVATION_LIMIT)

    def __call__(self, state: Tensor) -> Tensor:
        """Returns activations (1, H, W, width) of a state of that shape."""
        x = (state * self.gain).round().clamp(-ACTIVATION_LIMIT, ACTIVATION_LIMIT)
        y = depthwise(x, self.kernel.weight, self.kernel.bias)
        return requantize(y, self.kernel.gain, -ACTIVATION_LIMIT, ACTIVATION_LIMIT)


@dataclass(frozen=True)
class Head:
    """Activations -> hidden activations -> outputs."""

    fc1: Product
    head: Product

    def certify(self, name: str) -> None:
        """Raises ModelError unless both products are exact."""
        self.fc1.certify(f"{name}.fc1", ACTIVATION_LIMIT)
        self.head.certify(f"{name}.head", ACTIVATION_LIMIT)

    def __call__(self, x: Tensor) -> Tensor:
        """Returns rounded outputs (..., num_out) of activations (..., num_in)."""
        hidden = requantize(dense(x, self.fc1.weight, self.fc1.bias), self.fc1.gain, 0, ACTIVATION_LIMIT)
        return (dense(hidden, self.head.weight, self.head.bias) * self.head.gain).round()


@dataclass(frozen=True)
class IntegerPhase:
    """One phase of a stage."""

    offset: tuple[int, int]
    refine: IntegerBlock
    expand: Expansion
    heads: tuple[Head, ...]
    feed: Product


@dataclass(frozen=True)
class IntegerStage:
    """All phases of one pitch; the first stage has no products that bring in an earlier one."""

    pitch: int
    up: Product | None
    base: Product | None
    known: Product | None
    phases: tuple[IntegerPhase, ...]


class IntegerLossless:
    """The whole lossless layer, from named integer tensors; certified at construction."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        try:
            self.embed = tensors["embed"].float()
            self.block = integer_block(tensors, "block", False)
            self.show, self.enter = wide_weights(tensors, "show"), wide_weights(tensors, "enter")
            self.lack, self.project = wide_weights(tensors, "fine.lack"), wide_weights(tensors, "fine.project")
            self.absent = tensors["fine.absent"].float()
            names = {part: f"fine.{part}" for part in ("prior", "posterior")}
            self.fine = {part: (_expansion(tensors, name), _head(tensors, name)) for part, name in names.items()}
            self.stages = tuple(_stage(tensors, pitch) for pitch in PHASES)
        except KeyError as missing:
            raise ModelError(f"weights lack the tensor {missing}") from None
        self._certify()

    def _certify(self) -> None:
        for name, vector in (("embed", self.embed), ("absent", self.absent)):
            if not vector.abs().max() <= STATE_LIMIT:
                raise ModelError(f"weights of {name} break the exactness certificate (beyond the state's limit)")
        self.block.certify("block")
        for name, product, limit in (("show", self.show, STATE_LIMIT), ("enter", self.enter, STATE_LIMIT),
                                     ("lack", self.lack, VALUE_LIMIT), ("project", self.project, 2**18)):  # fmt: skip
            product.certify(name, limit)
        for part, (expand, head) in self.fine.items():
            expand.certify(part)
            head.certify(part)
        for stage in self.stages:
            _certify_stage(stage)


def _certify_stage(stage: IntegerStage) -> None:
    name = f"stages.{stage.pitch}"
    if stage.up and stage.base and stage.known:
        stage.up.certify(f"{name}.up", STATE_LIMIT)
        stage.base.certify(f"{name}.base", ACTIVATION_LIMIT)
        stage.known.certify(f"{name}.known", VALUE_LIMIT)
    for i, phase in enumerate(stage.phases):
        phase.refine.certify(f"{name}.{i}.refine")
        phase.expand.certify(f"{name}.{i}.expand")
        phase.feed.certify(f"{name}.{i}.feed", VALUE_LIMIT)
        for head in phase.heads:
            head.certify(f"{name}.{i}.heads")


def _expansion(tensors: Mapping[str, Tensor], name: str) -> Expansion:
    return Expansion(tensors[f"{name}.gain"].float(), narrow_weights(tensors, f"{name}.kernel"))


def _head(tensors: Mapping[str, Tensor], name: str) -> Head:
    return Head(narrow_weights(tensors, f"{name}.fc1"), narrow_weights(tensors, f"{name}.head"))


def _stage(tensors: Mapping[str, Tensor], pitch: int) -> IntegerStage:
    name, first = f"stages.{pitch}", pitch == max(PHASES)
    phases = tuple(_phase(tensors, f"{name}.phases.{i}", offset) for i, offset in enumerate(PHASES[pitch]))
    if first:
        return IntegerStage(pitch, None, None, None, phases)
    base, known = (narrow_weights(tensors, f"{name}.{part}") for part in ("base", "known"))
    return IntegerStage(pitch, wide_weights(tensors, f"{name}.up"), base, known, phases)


def _phase(tensors: Mapping[str, Tensor], name: str, offset: tuple[int, int]) -> IntegerPhase:
    heads = tuple(_head(tensors, f"{name}.heads.{c}") for c in range(CHANNELS))
    refine, feed = integer_block(tensors, f"{name}.refine", False), narrow_weights(tensors, f"{name}.feed")
    return IntegerPhase(offset, refine, _expansion(tensors, f"{name}.predict"), heads, feed)


def _within(state: Tensor) -> Tensor:
    return state.clamp(-STATE_LIMIT, STATE_LIMIT)


def _added(state: Tensor, x: Tensor, product: Product) -> Tensor:
    """Returns state plus the requantized float32 product of x."""
    sums = dense(x, product.weight, product.bias)
    return _within(state + requantize(sums, product.gain, -STATE_LIMIT, STATE_LIMIT))


class TileWalk:
    """The state of coding one tile of H x W pixels (multiples of 8), from the base's exact state (1, H/8, W/8, width)."""

    def __init__(self, network: IntegerLossless, state: Tensor, start: int) -> None:
        self.network = network
        state, _ = network.block(_within(state + network.embed[start]))
        maps = requantize(dense(state.double(), network.show.weight, network.show.bias), network.show.gain,
                          -ACTIVATION_LIMIT, ACTIVATION_LIMIT).float()  # fmt: skip
        self.base = depth_to_space(maps, 8)
        self.shown = self.base[..., :CHANNELS] + MIDDLE
        self.state = wide_product(state, network.enter)

    def copy(self) -> TileWalk:
        """Returns an independent walk in the same place."""
        return copy.copy(self)  # tensors are never changed in place once they are stored

    def prior(self) -> tuple[Tensor, Tensor]:
        """Returns mean in eighths and scale index of the fine latents, (H/8, W/8, LATENT) each."""
        expand, head = self.network.fine["prior"]
        return _latent_parameters(head(expand(self.state)))

    def posterior(self, x: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the same of the posterior. x: (1, H, W, 3) in coding order; inside (1, H, W, 1): 1 within the picture."""
        lack = space_to_depth((x * MEAN_STEPS - self.shown) * inside, 8)
        state = _within(self.state + wide_product(lack, self.network.lack))
        expand, head = self.network.fine["posterior"]
        shift, scale = _latent_parameters(head(expand(state)))
        return (self.prior()[0] + shift).clamp(-LATENT_LIMIT, LATENT_LIMIT), scale

    def enter(self, z: Tensor | None) -> None:
        """Takes the fine latents (H/8, W/8, LATENT), or None where there are none, and makes ready for pixels."""
        added = self.network.absent if z is None else wide_product(z[None], self.network.project)
        self.state = _within(self.state + added)

    def pixels(self) -> Generator[Site, Tensor, None]:
        """Yields where the next values lie and how they are distributed; takes these values, float32 (H_cell, W_cell)."""
        values = known = self.state  # the first stage has neither
        for stage in self.network.stages:
            if stage.up and stage.base and stage.known:
                state = depth_to_space(wide_product(self.state, stage.up), 2)
                state = _added(state, space_to_depth(self.base, 2 * stage.pitch), stage.base)
                self.state = _added(state, values, stage.known)
            values, known = yield from self._stage(stage, values, known)

    def _stage(self, stage: IntegerStage, values: Tensor, known: Tensor) -> Generator[Site, Tensor, tuple[Tensor, Tensor]]:
        """Decodes one stage; takes and returns what is fed back of all pixels known so far, and these pixels."""
        pitch, first = stage.pitch, stage.up is None
        shown = space_to_depth(self.shown[:, ::pitch, ::pitch], 2).unflatten(-1, (4, CHANNELS))
        pixels = torch.zeros_like(shown)
        if not first:
            pixels[..., 0, :] = known
        found = {} if first else {(0, 0): values}
        for phase in stage.phases:
            own = phase.offset[0] * 2 + phase.offset[1]
            if phase.offset == (0, 0):
                surroundings = shown[..., 0, :], torch.zeros_like(known[..., :1]), torch.zeros_like(known[..., :1])
            else:
                surroundings = _surroundings(pixels, shown, phase.offset)
            self.state, _ = phase.refine(self.state)
            residuals = yield from self._phase(stage.pitch, phase, pixels, surroundings)
            fed = torch.cat([pixels[..., own, :] * MEAN_STEPS - shown[..., own, :], residuals, residuals.abs()], -1)
            found[phase.offset] = fed.clamp(-VALUE_LIMIT, VALUE_LIMIT)
            self.state = _added(self.state, found[phase.offset], phase.feed)
        order = ((0, 0), (0, 1), (1, 0), (1, 1))
        return depth_to_space(torch.cat([found[o] for o in order], -1), 2), depth_to_space(pixels.flatten(-2), 2)

    def _phase(
        self, pitch: int, phase: IntegerPhase, pixels: Tensor, surroundings: tuple[Tensor, Tensor, Tensor]
    ) -> Generator[Site, Tensor, Tensor]:
        """Decodes one phase into pixels (1, H, W, 4, 3); returns the residuals in eighths (1, H, W, 3)."""
        activations = phase.expand(self.state)
        residuals = away = activations[..., :0]
        for channel, head in enumerate(phase.heads):
            before = torch.cat([residuals, residuals.abs()], -1).clamp(-ACTIVATION_LIMIT, ACTIVATION_LIMIT)
            outputs = head(torch.cat([activations, before], -1))
            mean, scale, shape = _pixel_parameters(outputs, channel, surroundings, residuals)
            fixed, detail, slant = (x[..., min(channel, x.shape[-1] - 1)] for x in surroundings)
            terms = torch.stack([fixed - mean, detail, slant, *residuals.unbind(-1), *away.unbind(-1)], 1)
            x = yield Site(pitch, phase.offset, channel, mean[0], scale[0], shape[0], terms[0])
            pixels[..., phase.offset[0] * 2 + phase.offset[1], channel] = x
            residuals = torch.cat([residuals, (x * MEAN_STEPS - mean)[..., None]], -1)
            away = torch.cat([away, (fixed - mean)[..., None]], -1)
        return residuals


def try_out(network: IntegerLossless, num_starts: int) -> None:
    """Walks over a tile of one cell from each start; RuntimeError or IndexError if the tensors do not fit together."""
    x = torch.zeros(1, 8, 8, CHANNELS)
    for start in range(num_starts):
        walk = TileWalk(network, torch.zeros(1, 1, 1, network.embed.shape[-1]), start)
        mean, _ = walk.posterior(x, x[..., :1])
        walk.enter(mean)
        steps = walk.pixels()
        site = next(steps)
        with contextlib.suppress(StopIteration):
            while True:
                site = steps.send(torch.zeros_like(site.mean))


def _surroundings(pixels: Tensor, shown: Tensor, offset: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Returns `neighbors` in eighths: quarters of them are exact in float32."""
    fixed, detail, slant = neighbors(pixels * MEAN_STEPS, shown, offset)
    return fixed, detail, slant


def _pixel_parameters(
    outputs: Tensor, channel: int, surroundings: tuple[Tensor, Tensor, Tensor], residuals: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns mean in eighths, scale index and shape index, (1, H, W) each; all sums below are exact in float32."""
    fixed, detail, slant = (x[..., min(channel, x.shape[-1] - 1)] for x in surroundings)
    correction, scale, shape, *shares = outputs.unbind(-1)
    weighed = torch.zeros_like(correction)
    for share, term in zip(shares, (detail, slant, *residuals.unbind(-1)), strict=True):
        weighed = weighed + share.clamp(-COEFFICIENT_LIMIT, COEFFICIENT_LIMIT) * term
    moved = fixed + correction.clamp(-CORRECTION_LIMIT, CORRECTION_LIMIT) + (weighed / COEFFICIENT_STEPS)
    mean = moved.round().clamp(0, 255 * MEAN_STEPS)
    return mean, scale.clamp(0, NUM_SCALES - 1), shape.clamp(0, NUM_SHAPES - 1)


def _latent_parameters(outputs: Tensor) -> tuple[Tensor, Tensor]:
    mean, scale = outputs[0, ..., :LATENT], outputs[0, ..., LATENT:]
    return mean.clamp(-LATENT_LIMIT, LATENT_LIMIT), scale.clamp(MIN_LATENT_SCALE, NUM_SCALES - 1)
