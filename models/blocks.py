"""The building blocks of the float network: everything works on (B, H, W, C) tensors.

Room: network. A 1x1 convolution is a matrix product over the last axis and the only spatial operators are depthwise
3x3 convolutions, because both stay exact when `exact.py` repeats them on integers. Must not import anything of ours.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_FARTHEST = 6.0  # spreads from the center that a centered block still tells apart


class LowerBound(torch.autograd.Function):
    """max(x, bound), passing the gradient wherever it pushes x back up (Ballé et al. 2018, arXiv 1802.01436)."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, bound: float) -> Tensor:
        """Returns max(x, bound)."""
        ctx.save_for_backward(x < bound)
        return x.clamp(min=bound)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[Tensor, None]:
        """Returns the gradient for x, without that part which would only push values further below the bound."""
        (below,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return torch.where(below & (grad > 0), torch.zeros_like(grad), grad), None


def depthwise(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Returns the 3x3 depthwise convolution of x (B, H, W, C) with weight (C, 1, 3, 3), zero-padded, same shape."""
    y = F.conv2d(x.permute(0, 3, 1, 2), weight, bias, padding=1, groups=weight.shape[0])
    return y.permute(0, 2, 3, 1)


def space_to_depth(x: Tensor, factor: int) -> Tensor:
    """Returns (B, H/f, W/f, f*f*C) from (B, H, W, C): the children of a cell side by side, row by row."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // factor, factor, w // factor, factor, c)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(b, h // factor, w // factor, factor * factor * c)


def depth_to_space(x: Tensor, factor: int) -> Tensor:
    """Returns (B, H*f, W*f, C/(f*f)) from (B, H, W, C): the inverse of `space_to_depth`."""
    b, h, w, c = x.shape
    x = x.reshape(b, h, w, factor, factor, c // (factor * factor))
    return x.permute(0, 1, 3, 2, 4, 5).reshape(b, h * factor, w * factor, c // (factor * factor))


class Dense(nn.Module):
    """A matrix product over the last axis, between fixed diagonal gains: y = (W (x * gain_in) + bias) * gain_out.

    The gains put rows and columns into the units in which the learned matrix is near orthonormal, so that one learning
    rate fits them all; export folds them into the weights.
    """

    gain_in: Tensor
    gain_out: Tensor

    def __init__(self, num_in: int, num_out: int, std: float | None = None) -> None:
        super().__init__()
        std = 1 / math.sqrt(num_in) if std is None else std
        self.weight = nn.Parameter(torch.randn(num_out, num_in) * std)
        self.bias = nn.Parameter(torch.zeros(num_out))
        self.register_buffer("gain_in", torch.ones(num_in))
        self.register_buffer("gain_out", torch.ones(num_out))

    def folded(self) -> tuple[Tensor, Tensor]:
        """Returns the weight (out, in) and bias (out,) with both gains multiplied in."""
        return self.gain_out[:, None] * self.weight * self.gain_in, self.bias * self.gain_out

    def forward(self, x: Tensor) -> Tensor:
        """Returns (..., num_out) from (..., num_in), always in float32: these products carry the signal itself."""
        weight, bias = self.folded()
        with torch.autocast(x.device.type, enabled=False):
            return F.linear(x.float(), weight, bias)


class Spread(nn.Module):
    """A 3x3 depthwise kernel and a matrix to hidden units: how blocks begin.

    Some channels are a hundred times as large as others or far from zero. The balance, one fixed number a channel, brings
    them to about 1, so that one learning rate fits all weights; otherwise a few steps along one such channel silence every
    hidden unit for good. It is 1 until `revive` measures it. Where nothing has to agree (centered), inputs are also
    centered before the kernel, so that its zero padding is the mean, and limited, for they drift as training goes on.
    """

    balance: Tensor
    center: Tensor

    def __init__(self, width: int, hidden: int, centered: bool = False) -> None:
        super().__init__()
        kernel = 0.1 * torch.randn(width, 1, 3, 3)
        kernel[:, :, 1, 1] += 1
        self.kernel = nn.Parameter(kernel)
        self.kernel_bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("balance", torch.ones(width))
        self.centered = centered
        if centered:
            self.register_buffer("center", torch.zeros(width))
        self.fc1 = nn.Linear(width, hidden)
        nn.init.normal_(self.fc1.weight, std=1 / math.sqrt(width))
        nn.init.zeros_(self.fc1.bias)

    def folded_kernel(self) -> tuple[Tensor, Tensor]:
        """Returns the kernel (width, 1, 3, 3) and its bias (width,) with the balance multiplied in."""
        return self.kernel * self.balance[:, None, None, None], self.kernel_bias * self.balance

    def spread(self, x: Tensor) -> Tensor:
        """Returns hidden units before they are rectified (B, H, W, hidden), from x (B, H, W, width)."""
        if self.centered:
            x = ((x - self.center) * self.balance).clamp(-_FARTHEST, _FARTHEST)
            hidden: Tensor = self.fc1(depthwise(x, self.kernel, self.kernel_bias))
        else:
            hidden = self.fc1(depthwise(x, *self.folded_kernel()))
        return hidden


class Block(Spread):
    """x + fc2(relu(fc1(depthwise(x)))), the residual block of every stride; zero at initialization.

    Shapes: x (B, H, W, width). Products run in the autocast type, the sum in float32.
    """

    def __init__(self, width: int, hidden: int, centered: bool = False) -> None:
        super().__init__(width, hidden, centered)
        self.fc2 = nn.Linear(hidden, width)
        nn.init.normal_(self.fc2.weight, std=1e-3 / math.sqrt(hidden))
        nn.init.zeros_(self.fc2.bias)

    def expand(self, x: Tensor) -> Tensor:
        """Returns the hidden activations (B, H, W, hidden), not negative."""
        return F.relu(self.spread(x))

    def forward(self, x: Tensor) -> Tensor:
        """Returns (B, H, W, width)."""
        return x + self.fc2(self.expand(x))
