"""The shortcut: from a finest state to a preview, without the latents that are missing and without synthesis.

Room: photo. Float, and for pictures alone that are soon replaced: nothing that is decoded depends on it. The hidden units serve
all levels, what is made of them each has for itself; see `train_shortcut.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hcodec.models.blocks import depthwise
from hcodec.models.integer.products import STATE_UNIT
from hcodec.models.photo.config import NUM_COEFFICIENTS
from hcodec.models.runtime.steps import Reach
from hcodec.models.runtime.torch_steps import Half, TorchStep

_FARTHEST = 8.0  # spreads from the center that a hidden unit still tells apart


@dataclass(frozen=True)
class Shape:
    """What shapes a shortcut. levels: those it is for; width: of the state; near: numbers that a cell takes of each neighbor."""

    levels: tuple[int, ...]
    width: int
    hidden: int = 768
    near: int = 64


class Output(nn.Module):
    """What one level makes of a state, of its neighbors and of hidden units: pixels in [-1/2, 1/2], (..., 192)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.bias1 = nn.Parameter(torch.zeros(shape.hidden))  # of hidden units
        self.own = nn.Linear(shape.width, NUM_COEFFICIENTS, bias=False)
        self.beside = nn.Linear(4 * shape.near, NUM_COEFFICIENTS, bias=False)
        self.fc2 = nn.Linear(shape.hidden, NUM_COEFFICIENTS)

    def forward(self, x: Tensor, beside: Tensor, hidden: Tensor) -> Tensor:
        """Returns pixels from the three, each (..., its channels)."""
        out: Tensor = self.own(x) + self.beside(beside) + self.fc2(hidden)
        return out


class Shortcut(nn.Module):
    """All levels' shortcuts. States are (B, H/8, W/8, width), in units of the float network."""

    center: Tensor
    balance: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.register_buffer("center", torch.zeros(shape.width))
        self.register_buffer("balance", torch.ones(shape.width))
        kernel = 0.05 * torch.randn(shape.width, 1, 5, 5)
        kernel[:, :, 2, 2] += 1
        self.kernel = nn.Parameter(kernel)
        self.kernel_bias = nn.Parameter(torch.zeros(shape.width))
        self.near = nn.Linear(shape.width, shape.near, bias=False)
        self.fc1 = nn.Linear(shape.width, shape.hidden, bias=False)
        self.outputs = nn.ModuleDict({str(level): Output(shape) for level in shape.levels})

    def balanced(self, state: Tensor) -> Tensor:
        """Returns a state with channels of about the same spread."""
        return (state - self.center) * self.balance

    def gathered(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """Returns what hidden units see (B, H/8, W/8, width), and what a cell takes of its four neighbors (..., 4 * near)."""
        x = self.balanced(state)
        seen = depthwise(x.clamp(-_FARTHEST, _FARTHEST), self.kernel, self.kernel_bias)
        return seen, neighbors(self.near(x.flatten(0, 2)).reshape(*x.shape[:3], self.shape.near))

    def hidden(self, seen: Tensor, level: int) -> Tensor:
        """Returns the hidden units (N, hidden) of cells (N, width)."""
        seen = seen * torch.rsqrt(1 + seen.square().mean(-1, keepdim=True))
        return F.gelu(F.linear(seen, self.fc1.weight, self.output(level).bias1), approximate="tanh")

    def output(self, level: int) -> Output:
        """Returns the part of a level."""
        found = self.outputs[str(level)]
        assert isinstance(found, Output)  # noqa: S101 (for the type checker)
        return found

    def joined(self, state: Tensor, seen: Tensor, beside: Tensor, level: int) -> Tensor:
        """Returns pixels in [-1/2, 1/2], 8 rows of 8 columns of 3, (B, H/8, W/8, 192), from a state and what `gathered` says."""
        x, seen, beside = (each.flatten(0, 2) for each in (self.balanced(state), seen, beside))
        pixels: Tensor = self.output(level)(x, beside, self.hidden(seen, level))
        return pixels.reshape(*state.shape[:3], NUM_COEFFICIENTS)

    def forward(self, state: Tensor, level: int) -> Tensor:
        """Returns what `joined` returns of a state."""
        return self.joined(state, *self.gathered(state), level)


def neighbors(x: Tensor) -> Tensor:
    """Returns the cells above, below, left and right of each, (B, H, W, 4 * C); beyond the edge it is the cell itself."""
    parts = []
    for axis in (1, 2):
        length = x.shape[axis]
        parts.append(torch.cat([x.narrow(axis, 0, 1), x.narrow(axis, 0, length - 1)], axis))
        parts.append(torch.cat([x.narrow(axis, 1, length - 1), x.narrow(axis, length - 1, 1)], axis))
    return torch.cat(parts, -1)


def restored(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, TorchStep]]:
    """Yields the steps of a shortcut from its state: `preview.LEVEL`, a state of integers to pixels, uint8 (1, H/8, W/8, 192)."""
    (near, width), hidden = tensors["near.weight"].shape, len(tensors["fc1.weight"])
    levels = tuple(int(name.split(".")[1]) for name in tensors if name.endswith("bias1"))
    shortcut = Shortcut(Shape(levels, width, hidden, near)).requires_grad_(False)
    shortcut.load_state_dict(tensors)
    shortcut.to(tensors["near.weight"].device)
    for level in levels:
        yield f"preview.{level}", _step(shortcut, level)


def _step(shortcut: Shortcut, level: int) -> TorchStep:
    def function(state: Tensor, seen: Tensor, beside: Tensor) -> tuple[Tensor]:
        """Returns pixels of cells."""
        pixels = (shortcut.joined(state * STATE_UNIT, seen, beside, level) + 0.5) * 255
        return (pixels.round().clamp(0, 255).to(torch.uint8),)

    state = torch.zeros(1, 4, 6, shortcut.shape.width)
    gather = Half(lambda state: shortcut.gathered(state * STATE_UNIT))
    return TorchStep(function, (state,), Reach(2), exact=False, gather=gather)
