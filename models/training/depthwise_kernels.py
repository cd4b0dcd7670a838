"""The depthwise convolution and the gradient of its weight as Triton kernels, for `depthwise.py`.

Room: training. Maps are contiguous (B, H, W, C); sums are float32. Without Triton (it comes with torch for CUDA) nothing here
is usable.
"""

from __future__ import annotations

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:
    triton = None

_ROWS, _CHANNELS = 64, 32  # cells and channels of a block of `_weight_kernel`
_MOST_SPLITS = 64  # partial sums of the weight's gradient
on_cpu = False  # tests with Triton's interpreter set it


def present() -> bool:
    """Whether there is a Triton."""
    return triton is not None


def usable(x: Tensor) -> bool:
    """Whether the kernels can take a tensor."""
    return triton is not None and (x.is_cuda or on_cpu)


def convolve(x: Tensor, weight: Tensor) -> Tensor:
    """Returns the convolution of x (B, H, W, C) with weight (K, K, C), zero-padded, in x's type."""
    x, weight = x.contiguous(), weight.contiguous().float()
    y, (batch, height, width, channels) = torch.empty_like(x), x.shape
    columns = min(32, max(4, triton.next_power_of_2(width)))
    block = min(64, triton.next_power_of_2(channels))
    grid = (batch * height * triton.cdiv(width, columns), triton.cdiv(channels, block))
    _convolve_kernel[grid](x, weight, y, height, width, channels, K=len(weight), BW=columns, BC=block, num_warps=4)
    return y


def backward_weight(gradient: Tensor, x: Tensor, size: int) -> Tensor:
    """Returns the gradient for the weight, float32 (size, size, C)."""
    gradient, x = gradient.contiguous(), x.contiguous()
    (_, height, width, channels), total = x.shape, x[..., 0].numel()
    splits = max(1, min(_MOST_SPLITS, total // 256))
    steps = triton.cdiv(triton.cdiv(total, splits), _ROWS)
    parts = x.new_empty(splits, size * size, channels, dtype=torch.float32)
    grid = (splits, size * size, triton.cdiv(channels, _CHANNELS))
    _weight_kernel[grid](x, gradient, parts, height, width, channels, total, N=steps, K=size, BR=_ROWS, BC=_CHANNELS, num_warps=4)
    return parts.sum(0).view(size, size, channels)


if triton is not None:

    @triton.jit
    def _convolve_kernel(x, w, y, H, W, C, K: tl.constexpr, BW: tl.constexpr, BC: tl.constexpr):
        """Computes BW cells of one row and BC channels; grid (B * H * ceil(W / BW), ceil(C / BC))."""
        c = tl.program_id(1) * BC + tl.arange(0, BC)
        across = tl.cdiv(W, BW)
        row = tl.program_id(0) // across
        col = (tl.program_id(0) % across) * BW + tl.arange(0, BW)
        h = row % H
        kept = c < C
        total = tl.zeros((BW, BC), dtype=tl.float32)
        for i in tl.static_range(K):
            hh = h + i - K // 2
            base = (row + i - K // 2).to(tl.int64) * W
            for j in tl.static_range(K):
                ww = col + j - K // 2
                inside = (hh >= 0) & (hh < H) & (ww >= 0) & (ww < W)
                weight = tl.load(w + (i * K + j) * C + c, mask=kept, other=0.0)
                value = tl.load(x + (base + ww)[:, None] * C + c[None, :], mask=inside[:, None] & kept[None, :], other=0.0)
                total += value.to(tl.float32) * weight[None, :]
        where = (row.to(tl.int64) * W + col)[:, None] * C + c[None, :]
        tl.store(y + where, total.to(y.dtype.element_ty), mask=(col < W)[:, None] & kept[None, :])

    @triton.jit
    def _weight_kernel(x, g, parts, H, W, C, cells, N: tl.constexpr, K: tl.constexpr, BR: tl.constexpr, BC: tl.constexpr):
        """Sums gradient * shifted x over N * BR cells; grid (splits, K * K, ceil(C / BC)), parts (splits, K * K, C)."""
        split, tap = tl.program_id(0), tl.program_id(1)
        c = tl.program_id(2) * BC + tl.arange(0, BC)
        kept = c < C
        i, j = tap // K - K // 2, tap % K - K // 2
        total = tl.zeros((BC,), dtype=tl.float32)
        for step in range(N):
            cell = split.to(tl.int64) * (N * BR) + step * BR + tl.arange(0, BR)
            ww, hh = (cell % W) + j, (cell // W) % H + i
            inside = (cell < cells) & (ww >= 0) & (ww < W) & (hh >= 0) & (hh < H)
            mask = inside[:, None] & kept[None, :]
            gradient = tl.load(g + cell[:, None] * C + c[None, :], mask=mask, other=0.0)
            value = tl.load(x + (cell + i * W + j)[:, None] * C + c[None, :], mask=mask, other=0.0)
            total += tl.sum(gradient.to(tl.float32) * value.to(tl.float32), 0)
        tl.store(parts + (split * K * K + tap) * C + c, total, mask=kept)
