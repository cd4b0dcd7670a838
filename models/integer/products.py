"""Exact products and blocks, of which every agreed path is made: the same integers on every machine.

Room: integer (encode steps 6, 7 and 10; decode steps 4, 5 and 7). Integers are held in floating-point tensors, so
that ordinary kernels run at full speed; `certificate` sees to it that no partial sum can reach 2^24 (float32) or 2^53
(float64), hence no order of summation, instruction set, thread count or device can change a result.
Between products stands one correctly rounded multiplication, rounding half to even, and a clamp; nothing else.

Everything in capitals below is part of the format (FORMAT.md, "Layers").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from hcodec.models.integer.certificate import ACTIVATION_LIMIT, STATE_LIMIT
from hcodec.models.integer.kernels import dense, depthwise

STATE_UNIT = 2.0**-12  # one integer step of the state, in the float network's units


def requantize(sums: Tensor, gain: Tensor, low: int, high: int) -> Tensor:
    """Returns clamp(round_half_even(sums * gain), low, high)."""
    return (sums * gain).round().clamp(low, high)


@dataclass(frozen=True)
class Product:
    """One integer matrix or depthwise kernel: weight (out, ...), bias (out,), gain (out,) that follows it."""

    weight: Tensor
    bias: Tensor
    gain: Tensor


@dataclass(frozen=True)
class IntegerBlock:
    """`blocks.Block` on integers; head, where present, predicts mean and scale index from the hidden activations."""

    gain: Tensor  # state -> activation
    kernel: Product
    fc1: Product
    fc2: Product
    head: Product | None

    def __call__(self, state: Tensor) -> tuple[Tensor, Tensor | None]:
        """Returns the new state and, with a head, its output (B, H, W, 2 C_l); state (B, H, W, width)."""
        return self.joined(state, self.gathered(state))

    def gathered(self, state: Tensor) -> Tensor:
        """Returns what each cell takes from those around it, (B, H, W, width)."""
        x = requantize(state, self.gain, -ACTIVATION_LIMIT, ACTIVATION_LIMIT)
        return depthwise(x, self.kernel.weight, self.kernel.bias)

    def joined(self, state: Tensor, gathered: Tensor) -> tuple[Tensor, Tensor | None]:
        """Returns what the block makes of a state, cell by cell, from what has been gathered."""
        y = gathered.reshape(-1, state.shape[3])
        y = requantize(y, self.kernel.gain, -ACTIVATION_LIMIT, ACTIVATION_LIMIT)
        hidden = requantize(_dense(y, self.fc1), self.fc1.gain, 0, ACTIVATION_LIMIT)
        delta = requantize(_dense(hidden, self.fc2), self.fc2.gain, -STATE_LIMIT, STATE_LIMIT)
        new = (delta.reshape(state.shape) + state).clamp(-STATE_LIMIT, STATE_LIMIT)
        if self.head is None:
            return new, None
        return new, (_dense(hidden, self.head) * self.head.gain).round().reshape(*state.shape[:3], -1)


def _dense(x: Tensor, product: Product) -> Tensor:
    return dense(x, product.weight, product.bias)


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
