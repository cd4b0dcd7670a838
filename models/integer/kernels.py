"""The two kernels of the agreed path, dense and depthwise, and what keeps torch from making them inexact.

Room: integer, below `products`. Both work on integers held in float32 or float64. As long as no partial sum leaves
the exact range of the type, the order of summation does not matter; what would matter is a kernel that rounds its
inputs (TF32, bfloat16) or sums something else than products of inputs and weights (Winograd, FFT).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def dense(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Returns weight (out, in) times x (..., in) plus bias (out,)."""
    if x.dim() == 2:
        return F.linear(x, weight, bias)
    return F.linear(x.reshape(-1, x.shape[-1]), weight, bias).reshape(*x.shape[:-1], len(weight))


def depthwise(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Returns the 3x3 depthwise convolution of x (B, H, W, C) with weight (C, 1, 3, 3), zeros outside, same shape."""
    padding = 1
    if x.shape[1] == x.shape[2] == 1:
        # a lone cell would count as channels-first, for which builds of torch for ARM take a Winograd kernel
        x, padding = F.pad(x, (0, 0, 1, 1, 1, 1)), 0
    return F.conv2d(x.permute(0, 3, 1, 2), weight, bias, padding=padding, groups=len(weight)).permute(0, 2, 3, 1)


class _Switches:
    """torch's switches for reduced precision, which hold for the whole process: off while any thread needs them off."""

    def __init__(self) -> None:
        self.lock, self.num_holders = threading.Lock(), 0
        self.matmul = "highest"
        self.parts: list[tuple[Any, str, Any]] = []

    def hold(self) -> None:
        """Switches everything off, if nobody did yet."""
        with self.lock:
            self.num_holders += 1
            if self.num_holders == 1:
                self.parts = [(part, name, getattr(part, name)) for part, name in _parts()]
                self.matmul = _matmul_precision()
                torch.set_float32_matmul_precision("highest")
                for part, name, _ in self.parts:
                    setattr(part, name, False if name == "allow_tf32" else "ieee")

    def release(self) -> None:
        """Puts everything back as it was, if nobody else needs it off."""
        with self.lock:
            self.num_holders -= 1
            if self.num_holders == 0:
                torch.set_float32_matmul_precision(self.matmul)
                for part, name, value in self.parts:
                    setattr(part, name, value)


_SWITCHES = _Switches()


def _parts() -> list[tuple[Any, str]]:
    """Returns the switches beside that of matrix products, as objects and names of attributes."""
    backends: Any = torch.backends
    if not hasattr(backends.mkldnn, "conv"):  # before torch 2.9
        return [(backends.cudnn, "allow_tf32")]
    parts = (backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul, backends.mkldnn.conv)
    return [(part, "fp32_precision") for part in parts]


def _matmul_precision() -> str:
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:  # torch refuses to say once a part was set by itself; then the parts say all
        return "highest"


@contextmanager
def exact_products() -> Iterator[None]:
    """Switches off every reduced-precision shortcut that torch may take for float32 products, and recording of gradients."""
    _SWITCHES.hold()
    try:
        with torch.autocast("cuda", enabled=False), torch.autocast("cpu", enabled=False), torch.inference_mode():
            yield
    finally:
        _SWITCHES.release()
