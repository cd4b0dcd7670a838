"""A chain model on integers, in torch: what graphs are made from, and what is measured in batches.

Room: small. The arithmetic is that of `integer.products`; `network.py` is the float network that was trained, `walk.py`
what coding calls. Callers hold `kernels.exact_products`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from hcodec.errors import ModelError
from hcodec.models.blocks import depth_to_space, pad_even, space_to_depth
from hcodec.models.descend import Position
from hcodec.models.integer.certificate import STATE_LIMIT
from hcodec.models.integer.products import STATE_UNIT, IntegerBlock, Product, integer_block, wide_product, wide_weights
from hcodec.models.small.config import COARSEST, MIN_INDEX, NUM_COEFFICIENTS, SmallConfig
from hcodec.models.small.planes import NUM_PLANES, Planes
from hcodec.models.small.walk import COEFFICIENT_LIMIT, INPUT_STEPS, MEAN_LIMIT
from hcodec.models.tables.likelihood import MEAN_STEPS, NUM_SCALES, NUM_SHAPES


@dataclass(frozen=True)
class SmallIntegerLatent:
    """One latent: prior, posterior, and what its value adds to the state. index: its place in coding order, from 0."""

    index: int
    stride: int
    channels: int
    block: IntegerBlock
    inference: IntegerBlock
    select: Product
    project: Product

    def prior(self, state: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Returns the new state, and scale and shape index of the prior (B, H, W, C)."""
        state, head = self.block(state)
        assert head is not None  # noqa: S101 (for the type checker: a latent's block has a head)
        scale = head[..., : self.channels].clamp(MIN_INDEX, NUM_SCALES - 1)
        return state, (scale, head[..., self.channels :].clamp(0, NUM_SHAPES - 1))

    def posterior(self, lack: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Returns mean in eighths and scale index of the posterior; lack: feature - state; scale: the prior's."""
        lack, head = self.inference(lack.clamp(-STATE_LIMIT, STATE_LIMIT))
        assert head is not None  # noqa: S101 (for the type checker)
        mean = (wide_product(lack, self.select) + head[..., : self.channels]).clamp(-MEAN_LIMIT, MEAN_LIMIT)
        return mean, (scale + head[..., self.channels :]).clamp(MIN_INDEX, NUM_SCALES - 1)

    def advance(self, state: Tensor, prior: tuple[Tensor, Tensor], z: Tensor) -> Tensor:
        """Returns the state with the latent's value (B, H, W, C), of magnitude LATENT_LIMIT at most, added."""
        return (state + wide_product(z, self.project)).clamp(-STATE_LIMIT, STATE_LIMIT)


class IntegerSmall:
    """The whole model, from named integer tensors; `integer.certificate` certifies them. Inputs are planes int32 (B, H, W, 3)."""

    def __init__(self, config: SmallConfig, tensors: Mapping[str, Tensor]) -> None:
        self.config, self.planes = config, config.planes()
        self.center = torch.tensor(self.planes.center)
        # the steps are powers of two: both a product with them and its rounding are exact
        self.mean_steps = torch.tensor([STATE_UNIT * MEAN_STEPS * spread for spread in self.planes.spread])
        try:
            self.start = tensors["start"].float()
            self.down = {s: wide_weights(tensors, f"down.{s}") for s in (2, 4, 8)}
            self.analysis = {s: integer_block(tensors, f"analysis.{s}", False) for s in (2, 4, 8)}
            self.up = {s: wide_weights(tensors, f"up.{s}") for s in (4, 2, 1)}
            self.latents = [_latent(tensors, index, *pair) for index, pair in enumerate(config.latents)]
            self.last = integer_block(tensors, "last", True)
        except KeyError as missing:
            raise ModelError(f"weights lack the tensor {missing}") from None

    def analyze(self, planes: Planes) -> dict[int, Tensor]:
        """Returns {stride: feature}."""
        x, features = (torch.from_numpy(planes) - self.center) * INPUT_STEPS, {}
        for stride in (2, 4, 8):
            features[stride] = x = self.halved(pad_even(x), stride)
        return features

    def halved(self, x: Tensor, stride: int) -> Tensor:
        """Returns the feature at a stride from that at half of it, even rows and columns of it; at stride 2 from the planes."""
        return self.analysis[stride](wide_product(space_to_depth(x, 2), self.down[stride]))[0]

    def ordered_latents(self) -> list[SmallIntegerLatent]:
        """Returns the latents in coding order, coarse first."""
        return self.latents

    def begin(self, batch: int, height: int, width: int) -> Position:
        """Returns where the way down begins."""
        state = self.start.expand(batch, -(-height // COARSEST), -(-width // COARSEST), -1)
        return Position(state, COARSEST, height, width)

    def ascended(self, state: Tensor, stride: int) -> Tensor:
        """Returns the state at `stride`, of twice as many rows and columns, from the one at twice that stride."""
        return depth_to_space(wide_product(state, self.up[stride]), 2)

    def ascend(self, state: Tensor, stride: int, height: int, width: int) -> Tensor:
        """Returns the state at `stride` from the one at twice that stride, cut to the grid of the picture."""
        return self.ascended(state, stride)[:, : -(-height // stride), : -(-width // stride)].contiguous()

    def parameters(self, state: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Returns mean in eighths, scale and shape index, and coefficients of planes (B, H, W, 3), from the state at stride 1."""
        state, head = self.last(state)
        assert head is not None  # noqa: S101 (for the type checker)
        mean = (state[..., :NUM_PLANES] * self.mean_steps).round() + MEAN_STEPS * self.center
        scale, shape, coefficient = head.split([NUM_PLANES, NUM_PLANES, NUM_COEFFICIENTS], -1)
        limited = scale.clamp(0, NUM_SCALES - 1), shape.clamp(0, NUM_SHAPES - 1)
        return mean, *limited, coefficient.clamp(-COEFFICIENT_LIMIT, COEFFICIENT_LIMIT)


def _latent(tensors: Mapping[str, Tensor], index: int, stride: int, channels: int) -> SmallIntegerLatent:
    name = f"latents.{index}"
    block, inference = (integer_block(tensors, f"{name}.{part}", True) for part in ("block", "inference"))
    select, project = (wide_weights(tensors, f"{name}.{part}") for part in ("select", "project"))
    return SmallIntegerLatent(index, stride, channels, block, inference, select, project)
