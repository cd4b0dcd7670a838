"""The agreed path as coding takes it: what `descend` needs, made of steps.

Room: photo (encode steps 6, 7 and 10; decode steps 4, 5 and 7). What a step computes stands in `agreed.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hcodec.models.descend import Position
from hcodec.models.integer.certificate import ACTIVATION_LIMIT, STATE_LIMIT
from hcodec.models.photo.config import COARSEST, FINEST, STRIDES, Config
from hcodec.models.runtime.steps import Array, Steps

MEAN_UNIT = 2.0**-8  # format: one integer step of a prior mean and of a decoded latent, in quantization steps
MEAN_LIMIT = 2**18  # format
# how large the inputs of each kind of product may be
LIMITS = {"up": STATE_LIMIT, "project": 2 * MEAN_LIMIT} | dict.fromkeys(("kernel", "fc1", "fc2", "head"), ACTIVATION_LIMIT)
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Prior:
    """What is known of a latent before its symbols: mean in MEAN_UNITs, float32, and scale index, uint8, (1, H_l, W_l, C_l)."""

    mean: Floats
    index: NDArray[np.uint8]


@dataclass(frozen=True)
class LatentSteps:
    """One latent, as `descend.Latent`. index: its place in coding order, from 0; num_refining: of blocks before its prior's."""

    index: int
    level: int
    stride: int
    channels: int
    steps: Steps
    num_refining: int

    def prior(self, state: Floats) -> tuple[Array, Prior]:
        """Returns the refined state and the prior."""
        for k in range(self.num_refining):
            (state,) = self.steps(f"prior.{self.index}.{k}", state)
        state, mean, index = self.steps(f"prior.{self.index}", state)
        return state, Prior(mean, index)

    def advance(self, state: Floats, prior: Prior, symbols: Floats) -> Array:
        """Returns the state with the decoded latent added; symbols (1, H_l, W_l, C_l), of magnitude MAX_SYMBOL at most.

        The state, as `prior` returned it, is not to be used any more.
        """
        return self.steps(f"advance.{self.index}", state, prior.mean, symbols, into=state)[0]


class Walk:
    """The agreed path of a network. start: the integers (width,) that every state begins with; kind: of its latents."""

    def __init__(self, config: Config, steps: Steps, start: Floats, kind: type[LatentSteps] = LatentSteps) -> None:
        self.config, self.steps, self.start = config, steps, start
        pairs = [(level, *latent) for level, latents in enumerate(config.levels, 1) for latent in latents]
        self.latents = [kind(index, *pair, steps, config.refine_blocks[pair[1]]) for index, pair in enumerate(pairs)]

    def ordered_latents(self) -> list[LatentSteps]:
        """Returns the latents in coding order, coarse first."""
        return self.latents

    def begin(self, height: int, width: int) -> Position:
        """Returns where the way down begins for a picture of height x width pixels."""
        grid = 1, -(-height // COARSEST), -(-width // COARSEST), 1
        return Position(np.tile(self.start, grid), COARSEST, height, width)

    def ascend(self, state: Floats, stride: int, height: int, width: int) -> Array:
        """Returns the state at `stride` from the one at twice that stride, cut to the grid of the picture."""
        (state,) = self.steps(f"ascend.{stride}", state)
        return np.ascontiguousarray(state[:, : -(-height // stride), : -(-width // stride)])


def analyze(config: Config, steps: Steps, pixels: NDArray[np.uint8], strides: Sequence[int] = STRIDES) -> dict[int, Array]:
    """Returns {stride: feature float32 (1, ceil(H/s), ceil(W/s), width)} of a picture uint8 (H, W, 3), at these strides."""
    x = _padded(pixels[None], 8).astype(np.float32) / 255
    (fine,) = steps("stem", x)
    for k in range(config.tail_blocks + config.stem_float_blocks):
        (fine,) = steps(f"stem.{k}", fine)
    (x,) = steps("stem.out", x, fine)
    features = {}
    for stride in sorted(config.width):
        if stride > max(strides):
            break
        if stride > FINEST:
            (x,) = steps(f"down.{stride}", _padded(x, 2))
        for k in range(config.analysis_blocks[stride]):
            (x,) = steps(f"analysis.{stride}.{k}", x)
        if stride in strides:
            features[stride] = x
    return features


def _padded(x: Array, unit: int) -> Array:
    """Returns maps (1, H, W, C) with their edge repeated to multiples of `unit` rows and columns."""
    return np.pad(x, ((0, 0), (0, -x.shape[1] % unit), (0, -x.shape[2] % unit), (0, 0)), mode="edge")
