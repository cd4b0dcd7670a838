"""Exact products and blocks, of which every agreed path is made: the same integers on every machine.

Room: integer (encode steps 6, 7 and 10; decode steps 4, 5 and 7). Integers are held in floating-point tensors, so
that ordinary kernels run at full speed; each product carries a certificate that no partial sum can reach 2^24
(float32) or 2^53 (float64), hence no order of summation, instruction set, thread count or device can change a result.
Between products stands one correctly rounded multiplication, rounding half to even, and a clamp; nothing else.

Everything in capitals below is part of the format (FORMAT.md, "Layers").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from hcodec.errors import ModelError
from hcodec.models.integer.kernels import FLOAT32_EXACT, FLOAT64_EXACT, dense, depthwise

STATE_UNIT = 2.0**-12  # one integer step of the state, in the float network's units
STATE_LIMIT = 2**22 - 1
ACTIVATION_LIMIT = 1023  # of the inputs of depthwise and dense products
_ROWS = 1024  # cells that go through a block at a time, so that hidden activations stay in the cache


def requantize(sums: Tensor, gain: Tensor, low: int, high: int) -> Tensor:
    """Returns clamp(round_half_even(sums * gain), low, high); overwrites sums."""
    return sums.mul_(gain).round_().clamp_(low, high)


@dataclass(frozen=True)
class Product:
    """One integer matrix or depthwise kernel: weight (out, ...), bias (out,), gain (out,) that follows it."""

    weight: Tensor
    bias: Tensor
    gain: Tensor

    def certify(self, name: str, limit: int) -> None:
        """Raises ModelError unless inputs up to `limit` keep every partial sum exact in the type that holds them."""
        exact = FLOAT64_EXACT if self.weight.dtype == torch.float64 else FLOAT32_EXACT
        rows = self.weight.double().reshape(len(self.weight), -1)
        worst = (rows.abs().sum(1) * limit + self.bias.double().abs()).max().item()
        whole = all(bool((t == t.round()).all()) for t in (self.weight, self.bias))
        if not (whole and worst < exact and bool(self.gain.isfinite().all())):
            raise ModelError(f"weights of {name} break the exactness certificate ({worst:.0f} of {exact})")


@dataclass(frozen=True)
class IntegerBlock:
    """`blocks.Block` on integers; head, where present, predicts mean and scale index from the hidden activations."""

    gain: Tensor  # state -> activation
    kernel: Product
    fc1: Product
    fc2: Product
    head: Product | None

    def certify(self, name: str) -> None:
        """Raises ModelError unless all products are exact."""
        if not self.gain.isfinite().all():
            raise ModelError(f"weights of {name} break the exactness certificate (a gain is not finite)")
        for part, product in (("kernel", self.kernel), ("fc1", self.fc1), ("fc2", self.fc2), ("head", self.head)):
            if product is not None:
                product.certify(f"{name}.{part}", ACTIVATION_LIMIT)

    def __call__(self, state: Tensor) -> tuple[Tensor, Tensor | None]:
        """Returns the new state and, with a head, its output (B, H, W, 2 C_l); state (B, H, W, width)."""
        x = (state * self.gain).round_().clamp_(-ACTIVATION_LIMIT, ACTIVATION_LIMIT)
        y = depthwise(x, self.kernel.weight, self.kernel.bias).reshape(-1, x.shape[3])
        flat = state.reshape(-1, state.shape[3])
        parts = [self._cells(flat[i : i + _ROWS], y[i : i + _ROWS]) for i in range(0, len(flat), _ROWS)]
        new = torch.cat([part[0] for part in parts]).reshape(state.shape)
        if self.head is None:
            return new, None
        return new, torch.cat([part[1] for part in parts]).reshape(*state.shape[:3], -1)

    def _cells(self, state: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        y = requantize(y, self.kernel.gain, -ACTIVATION_LIMIT, ACTIVATION_LIMIT)
        hidden = requantize(dense(y, self.fc1.weight, self.fc1.bias), self.fc1.gain, 0, ACTIVATION_LIMIT)
        delta = requantize(dense(hidden, self.fc2.weight, self.fc2.bias), self.fc2.gain, -STATE_LIMIT, STATE_LIMIT)
        new = delta.add_(state).clamp_(-STATE_LIMIT, STATE_LIMIT)
        if self.head is None:
            return new, new
        return new, dense(hidden, self.head.weight, self.head.bias).mul_(self.head.gain).round_()


def wide_product(x: Tensor, product: Product) -> Tensor:
    """Returns the requantized product of x with a float64 matrix, as float32 integers within the state's limit."""
    sums = dense(x.double(), product.weight, product.bias)
    return requantize(sums, product.gain, -STATE_LIMIT, STATE_LIMIT).float()


def wide_weights(tensors: Mapping[str, Tensor], name: str) -> Product:
    """Returns the product of that name as `wide_product` takes it; KeyError if tensors are missing."""
    return Product(tensors[f"{name}.weight"].double(), tensors[f"{name}.bias"].double(), tensors[f"{name}.gain"].double())


def narrow_weights(tensors: Mapping[str, Tensor], name: str) -> Product:
    """Returns the product of that name in float32; KeyError if tensors are missing."""
    return Product(tensors[f"{name}.weight"].float(), tensors[f"{name}.bias"].float(), tensors[f"{name}.gain"].float())


def integer_block(tensors: Mapping[str, Tensor], name: str, with_head: bool) -> IntegerBlock:
    """Returns the block of that name; KeyError if tensors are missing."""
    head = narrow_weights(tensors, f"{name}.head") if with_head else None
    kernel, fc1, fc2 = (narrow_weights(tensors, f"{name}.{part}") for part in ("kernel", "fc1", "fc2"))
    return IntegerBlock(tensors[f"{name}.gain"].float(), kernel, fc1, fc2, head)
