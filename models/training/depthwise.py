"""The depthwise convolution as one operator that `torch.compile` takes as a whole, forward and backward.

Room: training. What a compiler makes of a depthwise convolution on (B, H, W, C) is a change of layout before and after a slow
kernel; on a GPU the three Triton kernels here read and write each number once. Elsewhere conv2d does the same. `check` compares
both with conv2d in float64. The kernels have run on a GPU outside this repository; here only their twin is tested.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, library

from hcodec.models.training import depthwise_kernels as kernels

_SHAPES = ((2, 7, 9, 40, 5), (1, 32, 32, 224, 3), (3, 4, 4, 256, 5), (1, 1, 1, 16, 3))  # B, H, W, C, K that `check` tries
_CLOSE = 1e-4  # relative error that float32 sums may have


@library.custom_op("hcodec::depthwise", mutates_args=())
def convolve(x: Tensor, weight: Tensor) -> Tensor:
    """Returns the depthwise K x K convolution of x (B, H, W, C) with weight (K, K, C), zero-padded, K odd, in x's type."""
    return _convolve(x, weight)


@library.custom_op("hcodec::depthwise_backward_x", mutates_args=())
def _backward_x(gradient: Tensor, weight: Tensor) -> Tensor:
    """Returns the gradient for x: the same convolution with the kernel turned by half a turn."""
    return _convolve(gradient, weight.flip(0, 1))


@library.custom_op("hcodec::depthwise_backward_weight", mutates_args=())
def _backward_weight(gradient: Tensor, x: Tensor, size: int) -> Tensor:
    """Returns the gradient for the weight, float32 (K, K, C)."""
    if kernels.usable(x):
        return kernels.backward_weight(gradient, x, size)
    margin, (height, width) = size // 2, x.shape[1:3]
    padded, gradient = F.pad(x.float(), (0, 0, margin, margin, margin, margin)), gradient.float()
    windows = [padded[:, i : i + height, j : j + width] for i in range(size) for j in range(size)]
    return torch.stack([(window * gradient).sum((0, 1, 2)) for window in windows]).unflatten(0, (size, size))


def _convolve(x: Tensor, weight: Tensor) -> Tensor:
    if kernels.usable(x):
        return kernels.convolve(x, weight)
    stacked = weight.permute(2, 0, 1)[:, None].to(x.dtype)
    y = F.conv2d(x.permute(0, 3, 1, 2), stacked, padding=len(weight) // 2, groups=x.shape[3])
    return y.permute(0, 2, 3, 1).contiguous()


@convolve.register_fake
@_backward_x.register_fake
def _like(x: Tensor, weight: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


@_backward_weight.register_fake
def _weight_like(gradient: Tensor, x: Tensor, size: int) -> Tensor:
    return x.new_empty(size, size, x.shape[3], dtype=torch.float32)


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
    x, weight = ctx.saved_tensors
    gradient = gradient.to(x.dtype)
    return _backward_x(gradient, weight), _backward_weight(gradient, x, len(weight)).to(weight.dtype)


convolve.register_autograd(_backward, setup_context=_keep)


def depthwise(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Does what `blocks.depthwise` does: weight (C, 1, K, K), bias (C,); under autocast in its type, as conv2d is."""
    if torch.is_autocast_enabled(x.device.type):
        x = x.to(torch.get_autocast_dtype(x.device.type))
    return convolve(x, weight[:, 0].permute(1, 2, 0)) + bias.to(x.dtype)


def check(device: torch.device | str) -> None:
    """Raises `ArithmeticError` unless forward and both gradients agree with conv2d in float64."""
    for *shape, size in _SHAPES:
        x, weight = torch.randn(shape, device=device), torch.randn(size, size, shape[3], device=device)
        toward = torch.randn_like(x)
        found = _with_gradients(convolve, x, weight, toward)
        wanted = _with_gradients(_reference, x.double(), weight.double(), toward.double())
        for name, one, other in zip(("output", "gradient of x", "gradient of weight"), found, wanted, strict=True):
            error = ((one.double() - other).norm() / other.norm()).item()
            if not error < _CLOSE:
                raise ArithmeticError(f"depthwise convolution, {name}, of {shape} by {size}: relative error {error:.1e}")


def _reference(x: Tensor, weight: Tensor) -> Tensor:
    y = F.conv2d(x.permute(0, 3, 1, 2), weight.permute(2, 0, 1)[:, None], padding=len(weight) // 2, groups=x.shape[3])
    return y.permute(0, 2, 3, 1)


def _with_gradients(function: Any, x: Tensor, weight: Tensor, toward: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns what a function makes of x and weight, and its gradients."""
    x, weight = x.clone().requires_grad_(), weight.clone().requires_grad_()
    y = function(x, weight)
    y.backward(toward)
    assert x.grad is not None and weight.grad is not None  # noqa: S101 (for the type checker)
    return y.detach(), x.grad, weight.grad
