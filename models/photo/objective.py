"""Rate and distortion: what training lowers, summed over all prefixes of a stream."""

from __future__ import annotations

from torch import Tensor


def exit_weights(lmbda: Tensor) -> Tensor:
    """Returns what the loss of each exit counts (num_levels,), 1 on average: lmbda ** -0.55.

    So a percent of rate counts more nearly alike at every level, as it does in a BD-rate, than with a smaller exponent, which
    favors the last levels; one over the rate of each level would be a little steeper still.
    """
    weight = lmbda**-0.55
    return weight / weight.mean()


def mean_squared_error(x_hat: Tensor, x: Tensor) -> Tensor:
    """Returns the MSE of each picture (B,), on the 0..255 scale, from tensors (B, 3, H, W) in [0, 1]."""
    return (x_hat.float() - x).square().mean((1, 2, 3)) * 255**2
