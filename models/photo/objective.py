"""Rate and distortion, summed over all prefixes of a stream: what training lowers, and what the encoder's search lowers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

# How much less an exit counts than one whose distortion weighs less: lmbda ** -exponent. With 0.55 a percent of rate counts
# nearly alike at every level, as it does in a BD-rate; one over the rate of each level would be a little steeper still. The
# search was tuned with 0.4, for the last levels a little more: it descends on one picture, where each level's bits are few.
TRAINING_EXPONENT, SEARCH_EXPONENT = 0.55, 0.4


def exit_weights(lmbda: Sequence[float], levels: int, exponent: float) -> tuple[float, ...]:
    """Returns what streams that end at levels 1..levels count in the objective: lmbda ** -exponent; sum 1."""
    weights = [(lmbda[-1] / each) ** exponent for each in lmbda[:levels]]
    return tuple(weight / sum(weights) for weight in weights)


def mean_squared_error(x_hat: Tensor, x: Tensor) -> Tensor:
    """Returns the MSE of each picture (B,), on the 0..255 scale, from tensors (B, 3, H, W) in [0, 1]."""
    return (x_hat.float() - x).square().mean((1, 2, 3)) * 255**2
