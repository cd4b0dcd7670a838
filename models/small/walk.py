"""A chain model as coding takes it: what `descend` needs, made of steps, and the distributions on the way down.

Room: small. numpy only; what a step computes stands in `integer.py`. The posterior is among what must agree, for with
bits back the decoder repeats it. Everything in capitals is part of the format (FORMAT.md, "Small pictures").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hcodec.models.descend import Position, at_stride, descend
from hcodec.models.integer.certificate import ACTIVATION_LIMIT, STATE_LIMIT
from hcodec.models.runtime.steps import Array, Steps
from hcodec.models.small.config import COARSEST, SmallConfig
from hcodec.models.small.planes import Planes
from hcodec.models.tables.likelihood import MAX_DISTANCE, MEAN_STEPS, Ints, locate

MEAN_LIMIT = 127 * MEAN_STEPS  # of a posterior's mean, in eighths; with MAX_DISTANCE it bounds a latent
LATENT_LIMIT = 127 + MAX_DISTANCE
INPUT_STEPS = 2  # planes enter in halves, for centers lie on halves
COEFFICIENT_STEPS = 64
COEFFICIENT_LIMIT = 4 * COEFFICIENT_STEPS
# how large the inputs of each kind of product may be
LIMITS = (
    dict.fromkeys(("down", "up", "select"), STATE_LIMIT)
    | dict.fromkeys(("kernel", "fc1", "fc2", "head"), ACTIVATION_LIMIT)
    | {"project": LATENT_LIMIT}
)
Floats = NDArray[np.float32]
Features = Mapping[int, Array]  # {stride: feature float32 (1, ceil(H / s), ceil(W / s), width)}
Located = tuple[Ints, Ints]  # whole part of the mean and table, as `likelihood.locate` gives them


@dataclass(frozen=True)
class Prior:
    """What is known of a latent before its value: scale and shape index, int32 (1, H_l, W_l, C_l); its mean is zero."""

    scale: Ints
    shape: Ints

    def located(self) -> Located:
        """Returns p(z_l | z_<l)."""
        return locate(np.zeros_like(self.scale), self.scale, self.shape)


@dataclass(frozen=True)
class LatentSteps:
    """One latent, as `descend.Latent`. index: its place in coding order, from 0."""

    index: int
    stride: int
    steps: Steps

    def prior(self, state: Array) -> tuple[Array, Prior]:
        """Returns the new state and the prior."""
        state, scale, shape = self.steps(f"prior.{self.index}", state)
        return state, Prior(scale, shape)

    def advance(self, state: Array, prior: Prior, z: Ints) -> Array:
        """Returns the state with the latent's value (1, H_l, W_l, C_l), of magnitude LATENT_LIMIT at most, added."""
        return self.steps(f"advance.{self.index}", state, z)[0]


@dataclass(frozen=True)
class Visit:
    """A latent of one picture as it is met on the way down."""

    latent: LatentSteps
    state: Array
    prior: Prior

    def posterior(self, features: Features) -> Located:
        """Returns q(z_l | z_<l, x) from the features of x, as `Walk.analyze` gives them."""
        feature = features[self.latent.stride]
        mean, scale = self.latent.steps(f"posterior.{self.latent.index}", self.state, feature, self.prior.scale)
        return locate(mean, scale, np.zeros_like(scale))


Visited = list[tuple[Visit, Ints]]  # latents in coding order, with their values


class Walk:
    """The way through a network, for one picture. start: the integers (width,) that every state begins with."""

    def __init__(self, config: SmallConfig, steps: Steps, start: Floats) -> None:
        self.config, self.steps, self.start = config, steps, start
        self.planes = config.planes()
        self.latents = [LatentSteps(index, stride, steps) for index, (stride, _) in enumerate(config.latents)]

    def analyze(self, planes: Planes) -> Features:
        """Returns the features of planes int32 (H, W, 3)."""
        center = np.array(self.planes.center) * INPUT_STEPS
        x, features = (planes[None] * INPUT_STEPS - center).astype(np.float32), {}
        for stride in (2, 4, 8):
            (x,) = self.steps(f"analysis.{stride}", _evened(x))
            features[stride] = x
        return features

    def ordered_latents(self) -> list[LatentSteps]:
        """Returns the latents in coding order, coarse first."""
        return self.latents

    def begin(self, height: int, width: int) -> Position:
        """Returns where the way down begins for a picture of height x width pixels."""
        grid = 1, -(-height // COARSEST), -(-width // COARSEST), 1
        return Position(np.tile(self.start, grid), COARSEST, height, width)

    def ascend(self, state: Array, stride: int, height: int, width: int) -> Array:
        """Returns the state at `stride` from the one at twice that stride, cut to the grid of the picture."""
        (state,) = self.steps(f"ascend.{stride}", state)
        return np.ascontiguousarray(state[:, : -(-height // stride), : -(-width // stride)])

    def descend(self, size: tuple[int, int], value: Callable[[Visit], Ints], visited: Visited) -> SmallPixels:
        """Returns how the planes of a picture of that height and width are distributed when each latent gets what `value` says.

        visited: takes every latent with its value, also when `value` raises an exception.
        """

        def answer(latent: LatentSteps, state: Array, prior: Prior) -> Ints:
            """Returns the value of a latent."""
            visit = Visit(latent, state, prior)
            visited.append((visit, value(visit)))
            return visited[-1][1]

        end = at_stride(self, descend(self, self.begin(*size), answer), 1)
        mean, scale, shape, coefficient = (found[0] for found in self.steps("pixels", end.state))
        return SmallPixels(self, mean, scale, shape, coefficient)


def _evened(x: Array) -> Array:
    """Returns maps (1, H, W, C) with the last row and column repeated where H or W is odd."""
    if x.shape[1] % 2 or x.shape[2] % 2:
        x = np.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)), mode="edge")
    return x


@dataclass(frozen=True)
class SmallPixels:
    """The likelihood of one picture's planes, each given those before it; int32 (H, W, 3), from the step `pixels`."""

    walk: Walk
    mean: Ints
    scale: Ints
    shape: Ints
    coefficient: Ints

    def given(self, planes: Planes, plane: int) -> Located:
        """Returns the distribution of one plane (H, W) given the planes before it; those after it do not matter."""
        mean = self._conditioned(planes, plane) if self.walk.config.channels == 3 else self.mean[..., plane]
        low, high = (MEAN_STEPS * int(limit[plane]) for limit in (self.walk.planes.low, self.walk.planes.high))
        return locate(mean.clip(low, high), self.scale[..., plane], self.shape[..., plane])

    def _conditioned(self, planes: Planes, plane: int) -> Ints:
        """Returns the mean in eighths with shares of the residuals of the planes before: of green for red, of both for blue."""
        residual = (planes * MEAN_STEPS - self.mean)[..., :plane]
        shares = self.coefficient[..., plane * (plane - 1) // 2 :][..., :plane]
        change: Ints = ((residual * shares).sum(-1, dtype=np.int32) + COEFFICIENT_STEPS // 2) // COEFFICIENT_STEPS
        return self.mean[..., plane] + change
