"""A chain model on integers: priors, posteriors and likelihood, the same on every machine.

Room: small. The arithmetic is that of `integer.products`; `network.py` is the float network that was trained. The
posterior is among what must agree, for with bits back the decoder repeats it. `descend_with` goes down one picture's
levels. Callers hold `kernels.exact_products`. Everything in capitals is part of the format (FORMAT.md, "Small
pictures").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hcodec.errors import ModelError
from hcodec.models.blocks import depth_to_space, pad_even, space_to_depth
from hcodec.models.descend import Position, at_stride, descend
from hcodec.models.integer.products import (
    STATE_LIMIT,
    STATE_UNIT,
    IntegerBlock,
    Product,
    integer_block,
    wide_product,
    wide_weights,
)
from hcodec.models.small.config import COARSEST, MIN_INDEX, NUM_COEFFICIENTS, SmallConfig
from hcodec.models.small.planes import NUM_PLANES, Planes
from hcodec.models.tables.likelihood import MAX_DISTANCE, MEAN_STEPS, NUM_SCALES, NUM_SHAPES, Ints, locate

MEAN_LIMIT = 127 * MEAN_STEPS  # of a posterior's mean, in eighths; with MAX_DISTANCE it bounds a latent
LATENT_LIMIT = 127 + MAX_DISTANCE
INPUT_STEPS = 2  # planes enter in halves, for centers lie on halves
COEFFICIENT_STEPS = 64
COEFFICIENT_LIMIT = 4 * COEFFICIENT_STEPS
INPUT_LIMIT = 255 * INPUT_STEPS
Located = tuple[Ints, Ints]  # whole part of the mean and table, as `likelihood.locate` gives them


@dataclass(frozen=True)
class SmallIntegerLatent:
    """One latent: prior, posterior, and what its value adds to the state."""

    stride: int
    channels: int
    block: IntegerBlock
    inference: IntegerBlock
    select: Product
    project: Product

    def certify(self, name: str) -> None:
        """Raises ModelError unless all products are exact."""
        self.block.certify(f"{name}.block")
        self.inference.certify(f"{name}.inference")
        self.select.certify(f"{name}.select", STATE_LIMIT)
        self.project.certify(f"{name}.project", LATENT_LIMIT)

    def prior(self, state: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Returns the new state, and scale and shape index of the prior (B, H, W, C)."""
        state, head = self.block(state)
        assert head is not None  # noqa: S101 (for the type checker: a latent's block has a head)
        scale = head[..., : self.channels].clamp(MIN_INDEX, NUM_SCALES - 1)
        return state, (scale, head[..., self.channels :].clamp(0, NUM_SHAPES - 1))

    def posterior(self, lack: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Returns mean in eighths and scale index of the posterior; lack: feature - state, overwritten; scale: the prior's."""
        lack, head = self.inference(lack.clamp(-STATE_LIMIT, STATE_LIMIT))
        assert head is not None  # noqa: S101 (for the type checker)
        mean = (wide_product(lack, self.select) + head[..., : self.channels]).clamp(-MEAN_LIMIT, MEAN_LIMIT)
        return mean, (scale + head[..., self.channels :]).clamp(MIN_INDEX, NUM_SCALES - 1)

    def advance(self, state: Tensor, prior: tuple[Tensor, Tensor], z: Tensor) -> Tensor:
        """Returns the state with the latent's value (B, H, W, C), of magnitude LATENT_LIMIT at most, added."""
        return (state + wide_product(z, self.project)).clamp(-STATE_LIMIT, STATE_LIMIT)


class IntegerSmall:
    """The whole model, from named integer tensors; certified at construction. Inputs are planes int32 (B, H, W, 3)."""

    def __init__(self, config: SmallConfig, tensors: Mapping[str, Tensor]) -> None:
        self.config, self.planes = config, config.planes()
        try:
            self.start = tensors["start"].float()
            self.down = {s: wide_weights(tensors, f"down.{s}") for s in (2, 4, 8)}
            self.analysis = {s: integer_block(tensors, f"analysis.{s}", False) for s in (2, 4, 8)}
            self.up = {s: wide_weights(tensors, f"up.{s}") for s in (4, 2, 1)}
            self.latents = [_latent(tensors, f"latents.{i}", *pair) for i, pair in enumerate(config.latents)]
            self.last = integer_block(tensors, "last", True)
        except KeyError as missing:
            raise ModelError(f"weights lack the tensor {missing}") from None
        self._certify()

    def _certify(self) -> None:
        if not self.start.abs().max() <= STATE_LIMIT:
            raise ModelError("weights of start break the exactness certificate (beyond the state's limit)")
        for stride in (2, 4, 8):
            self.down[stride].certify(f"down.{stride}", INPUT_LIMIT if stride == 2 else STATE_LIMIT)
            self.analysis[stride].certify(f"analysis.{stride}")
            self.up[stride // 2].certify(f"up.{stride // 2}", STATE_LIMIT)
        for i, latent in enumerate(self.latents):
            latent.certify(f"latents.{i}")
        self.last.certify("last")

    def analyze(self, planes: Planes) -> dict[int, Tensor]:
        """Returns {stride: feature}."""
        center = torch.tensor([round(INPUT_STEPS * c) for c in self.planes.center], dtype=torch.float32)
        x, features = torch.from_numpy(planes).float() * INPUT_STEPS - center, {}
        for stride in (2, 4, 8):
            x = wide_product(space_to_depth(pad_even(x), 2), self.down[stride])
            features[stride] = x = self.analysis[stride](x)[0]
        return features

    def ordered_latents(self) -> list[SmallIntegerLatent]:
        """Returns the latents in coding order, coarse first."""
        return self.latents

    def begin(self, batch: int, height: int, width: int) -> Position:
        """Returns where the way down begins."""
        state = self.start.expand(batch, -(-height // COARSEST), -(-width // COARSEST), -1)
        return Position(state, COARSEST, height, width)

    def ascend(self, state: Tensor, stride: int, height: int, width: int) -> Tensor:
        """Returns the state at `stride` from the one at twice that stride, cut to the grid of the picture."""
        state = depth_to_space(wide_product(state, self.up[stride]), 2)
        return state[:, : -(-height // stride), : -(-width // stride)].contiguous()

    def parameters(self, state: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Returns mean in eighths, scale and shape index, and coefficients of planes (B, H, W, 3), from the state at stride 1."""
        state, head = self.last(state)
        assert head is not None  # noqa: S101 (for the type checker)
        # the steps are powers of two: both the product and its rounding are exact
        steps = torch.tensor([STATE_UNIT * MEAN_STEPS * s for s in self.planes.spread], dtype=torch.float32)
        mean = (state[..., :NUM_PLANES] * steps).round() + MEAN_STEPS * torch.tensor(self.planes.center, dtype=torch.float32)
        scale, shape, coefficient = head.split([NUM_PLANES, NUM_PLANES, NUM_COEFFICIENTS], -1)
        limited = scale.clamp(0, NUM_SCALES - 1), shape.clamp(0, NUM_SHAPES - 1)
        return mean, *limited, coefficient.clamp(-COEFFICIENT_LIMIT, COEFFICIENT_LIMIT)


@dataclass(frozen=True)
class Visit:
    """A latent of one picture as it is met on the way down; scale, shape: indices of its prior (1, H_l, W_l, C_l)."""

    latent: SmallIntegerLatent
    state: Tensor
    scale: Tensor
    shape: Tensor

    def prior(self) -> Located:
        """Returns p(z_l | z_<l), int32 (1, H_l, W_l, C_l) each."""
        indices = _integers(self.scale)
        return locate(np.zeros_like(indices), indices, _integers(self.shape))

    def posterior(self, features: Mapping[int, Tensor]) -> Located:
        """Returns q(z_l | z_<l, x) from the features of x, as `IntegerSmall.analyze` gives them."""
        mean, spread = self.latent.posterior(features[self.latent.stride] - self.state, self.scale)
        indices = _integers(spread)
        return locate(_integers(mean), indices, np.zeros_like(indices))


Visited = list[tuple[Visit, Ints]]  # latents in coding order, with their values


def descend_with(model: IntegerSmall, size: tuple[int, int], value: Callable[[Visit], Ints], visited: Visited) -> SmallPixels:
    """Returns how the planes of a picture of that height and width are distributed when each latent gets what `value` says.

    visited: takes every latent with its value, also when `value` raises an exception.
    """

    def answer(latent: SmallIntegerLatent, state: Tensor, prior: tuple[Tensor, Tensor]) -> Tensor:
        """Returns the value of a latent as the network takes it."""
        visit = Visit(latent, state, *prior)
        visited.append((visit, value(visit)))
        return torch.from_numpy(visited[-1][1]).float()

    end = at_stride(model, descend(model, model.begin(1, *size), answer), 1)
    return SmallPixels(model, *(_integers(found)[0] for found in model.parameters(end.state)))


@dataclass(frozen=True)
class SmallPixels:
    """The likelihood of one picture's planes, each given those before it; arrays int32 (H, W, 3), as `parameters` gives them."""

    model: IntegerSmall
    mean: Ints
    scale: Ints
    shape: Ints
    coefficient: Ints

    def given(self, planes: Planes, plane: int) -> Located:
        """Returns the distribution of one plane (H, W) given the planes before it; those after it do not matter."""
        mean = self._conditioned(planes, plane) if self.model.config.channels == 3 else self.mean[..., plane]
        low, high = (MEAN_STEPS * int(limit[plane]) for limit in (self.model.planes.low, self.model.planes.high))
        return locate(mean.clip(low, high), self.scale[..., plane], self.shape[..., plane])

    def _conditioned(self, planes: Planes, plane: int) -> Ints:
        """Returns the mean in eighths with shares of the residuals of the planes before: of green for red, of both for blue."""
        residual = (planes * MEAN_STEPS - self.mean)[..., :plane]
        shares = self.coefficient[..., plane * (plane - 1) // 2 :][..., :plane]
        change: Ints = ((residual * shares).sum(-1, dtype=np.int32) + COEFFICIENT_STEPS // 2) // COEFFICIENT_STEPS
        return self.mean[..., plane] + change


def _integers(tensor: Tensor) -> Ints:
    found: Ints = tensor.numpy().astype(np.int32)
    return found


def _latent(tensors: Mapping[str, Tensor], name: str, stride: int, channels: int) -> SmallIntegerLatent:
    block, inference = (integer_block(tensors, f"{name}.{part}", True) for part in ("block", "inference"))
    select, project = (wide_weights(tensors, f"{name}.{part}") for part in ("select", "project"))
    return SmallIntegerLatent(stride, channels, block, inference, select, project)
