"""The agreed path: every prior mean and scale index, computed on integers, the same on every machine.

Room: photo (encode steps 6, 7 and 10; decode steps 4, 5 and 7). The arithmetic is that of `integer.products`.
Everything in capitals is part of the format (FORMAT.md, "Layers").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from hcodec.errors import ModelError
from hcodec.models.blocks import depth_to_space
from hcodec.models.descend import Position
from hcodec.models.integer.certificate import STATE_LIMIT
from hcodec.models.integer.products import IntegerBlock, Product, integer_block, wide_product, wide_weights
from hcodec.models.photo.config import COARSEST, Config
from hcodec.models.photo.walk import MEAN_LIMIT, MEAN_UNIT
from hcodec.models.tables.scales import NUM_SCALES

_MEAN_STEPS = round(1 / MEAN_UNIT)


@dataclass(frozen=True)
class IntegerPrior:
    """What is known of a latent before its symbols: mean in MEAN_UNITs, float32, and scale index, uint8, (B, H_l, W_l, C_l)."""

    mean: Tensor
    index: Tensor


@dataclass(frozen=True)
class IntegerLatent:
    """The agreed part of one latent: what encoder and decoder both compute. index: its place in coding order, from 0."""

    index: int
    level: int
    stride: int
    channels: int
    refine: tuple[IntegerBlock, ...]
    block: IntegerBlock
    project: Product

    def prior(self, state: Tensor) -> tuple[Tensor, IntegerPrior]:
        """Returns the refined state and the prior."""
        for refine in self.refine:
            state, _ = refine(state)
        return self.predicted(state, self.block.gathered(state))

    def predicted(self, state: Tensor, gathered: Tensor) -> tuple[Tensor, IntegerPrior]:
        """Returns the same of the state after the refining blocks, from what the last block has gathered of it."""
        state, head = self.block.joined(state, gathered)
        assert head is not None  # noqa: S101 (for the type checker: a latent's block has a head)
        mean = head[..., : self.channels].clamp(-MEAN_LIMIT, MEAN_LIMIT)
        return state, IntegerPrior(mean, head[..., self.channels :].clamp(0, NUM_SCALES - 1).to(torch.uint8))

    def advance(self, state: Tensor, prior: IntegerPrior, symbols: Tensor) -> Tensor:
        """Returns the state with the decoded latent added; symbols (B, H, W, C), of magnitude MAX_SYMBOL at most."""
        z_hat = prior.mean + symbols * _MEAN_STEPS
        return (state + wide_product(z_hat, self.project)).clamp(-STATE_LIMIT, STATE_LIMIT)


class Agreed:
    """The whole agreed path, from named integer tensors; `integer.certificate` certifies them."""

    def __init__(self, config: Config, tensors: Mapping[str, Tensor]) -> None:
        self.config = config
        try:
            self.start = tensors["start"].float()
            self.up = {s: wide_weights(tensors, f"up.{s}") for s in (32, 16, 8)}
            pairs = [(level, *latent) for level, latents in enumerate(config.levels, 1) for latent in latents]
            self.latents = [_latent(config, tensors, i, *pair) for i, pair in enumerate(pairs)]
        except KeyError as missing:
            raise ModelError(f"weights lack the tensor {missing}") from None

    def ordered_latents(self) -> list[IntegerLatent]:
        """Returns the latents in coding order, coarse first."""
        return self.latents

    def begin(self, height: int, width: int) -> Position:
        """Returns where the way down begins for a picture of height x width pixels."""
        state = self.start.expand(1, -(-height // COARSEST), -(-width // COARSEST), -1)
        return Position(state, COARSEST, height, width)

    def ascended(self, state: Tensor, stride: int) -> Tensor:
        """Returns the state at `stride`, of twice as many rows and columns, from the one at twice that stride."""
        return depth_to_space(wide_product(state, self.up[stride]), 2)

    def ascend(self, state: Tensor, stride: int, height: int, width: int) -> Tensor:
        """Returns the state at `stride` from the one at twice that stride, cut to the grid of the picture."""
        return self.ascended(state, stride)[:, : -(-height // stride), : -(-width // stride)]


def _latent(config: Config, tensors: Mapping[str, Tensor], index: int, level: int, stride: int, channels: int) -> IntegerLatent:
    """Returns a latent from named integer tensors; KeyError if some are missing."""
    name = f"latents.{index}"
    refine = tuple(integer_block(tensors, f"{name}.refine.{j}", False) for j in range(config.refine_blocks[stride]))
    block, project = integer_block(tensors, f"{name}.block", True), wide_weights(tensors, f"{name}.project")
    return IntegerLatent(index, level, stride, channels, refine, block, project)
