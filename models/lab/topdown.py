"""The walk that most families share: one top-down path, and at each layer a prior and, given a picture, a posterior.

Room: network. `infer` and `generate` are the same walk with another visitor; so training needs only one walk, whose terms equal
those of the two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn

from hcodec.models.lab.distributions import Distribution, divergence
from hcodec.models.lab.layers import PixelHead, Pyramid, Residual, Rise, grid
from hcodec.models.lab.protocol import PIXELS, Answer, Family, Given, Terms, total

Visit = Callable[[str, Distribution, Distribution | None], Tensor]
Features = Mapping[Any, Tensor]


class Walk(Family):
    """A family with one walk for both visits: subclasses say how pixels become features, how to walk, and how to paint."""

    def analyze(self, x: Tensor) -> Features:
        """Returns the features of pixels float32 (B, C, H, W), 0..255."""
        raise NotImplementedError

    def walk(self, shape: torch.Size, visit: Visit, features: Features | None = None) -> Tensor:
        """Visits all latents with prior and, given features, posterior; returns the state of the pixels."""
        raise NotImplementedError

    def paint(self, state: Tensor, answer: Answer) -> Tensor:
        """Asks for the pixels; returns them (B, C, H, W)."""
        raise NotImplementedError

    def infer(self, x: Tensor, answer: Answer) -> None:
        """Visits q(z | x), coarse to fine."""
        self.walk(x.shape, lambda name, _prior, posterior: answer(name, _there(posterior)), self.analyze(x))

    def generate(self, shape: torch.Size, answer: Answer) -> Tensor:
        """Visits p(z), coarse to fine, then p(x | z)."""
        return self.paint(self.walk(shape, lambda name, prior, _posterior: answer(name, prior)), answer)

    def terms(self, x: Tensor) -> Terms:
        """Returns the same terms as `protocol.bound`, in one walk instead of two."""
        kl: dict[str, Tensor] = {}

        def visit(name: str, prior: Distribution, posterior: Distribution | None) -> Tensor:
            """Draws a variable from its posterior and counts what that costs."""
            q = _there(posterior)
            value = q.sample()
            kl[name] = total(divergence(q, prior, value, self.closed))
            return value

        state = self.walk(x.shape, visit, self.analyze(x))
        pixels = Given({PIXELS: x})
        self.paint(state, pixels)
        return Terms(pixels.nats(), kl)


class Layer(nn.Module):
    """One latent of a top-down path, at a stride. Its network sets `name`."""

    stride: int
    name: str

    @property
    def key(self) -> Any:
        """Which feature the layer sees: that of its stride."""
        return self.stride

    def forward(self, state: Tensor, feature: Tensor | None, visit: Visit) -> Tensor:
        """Returns the next state from the state (B, width, H_s, W_s) and, given a picture, its feature."""
        raise NotImplementedError


class TopDown(Walk):
    """Layers from coarse to fine between a learned start and the pixels; widths of states at strides 1, 2, 4, ..."""

    def __init__(self, channels: int, widths: Sequence[int], layers: Sequence[Layer], bottom_up: nn.Module | None = None) -> None:
        super().__init__()
        self.coarsest = 1 << len(widths) - 1
        self.start = nn.Parameter(torch.zeros(widths[-1]))
        self.rises = nn.ModuleList(Rise(above, width) for width, above in pairwise(widths))
        self.layers = cast("list[Layer]", nn.ModuleList(layers))
        for number, layer in enumerate(layers):
            layer.name = f"z{number + 1}"
        self.bottom_up = Pyramid(channels, widths) if bottom_up is None else bottom_up
        self.last = nn.Sequential(Residual(widths[0]), Residual(widths[0]))
        self.head = PixelHead(widths[0], channels)

    def analyze(self, x: Tensor) -> Features:
        """Returns the features that the layers see."""
        features: Features = self.bottom_up(x)
        return features

    def walk(self, shape: torch.Size, visit: Visit, features: Features | None = None) -> Tensor:
        """Visits all latents, coarse to fine; returns the state at stride 1."""
        height, width = shape[2:]
        stride = self.coarsest
        state = self.start[:, None, None].expand(shape[0], -1, grid(height, stride), grid(width, stride))
        for layer in self.layers:
            state = self._rise(state, stride, layer.stride, shape)
            stride = layer.stride
            state = layer(state, None if features is None else features[layer.key], visit)
        return self._rise(state, stride, 1, shape)

    def paint(self, state: Tensor, answer: Answer) -> Tensor:
        """Asks for the pixels; returns them (B, C, H, W)."""
        return self.head.ask(self.last(state), answer)

    def _rise(self, state: Tensor, stride: int, target: int, shape: torch.Size) -> Tensor:
        while stride > target:
            stride //= 2
            rise = self.rises[stride.bit_length() - 1]
            state = rise(state, grid(shape[2], stride), grid(shape[3], stride))
        return state


def _there(posterior: Distribution | None) -> Distribution:
    if posterior is None:
        raise ValueError("a layer gave no posterior although there is a picture")
    return posterior


def width_at(widths: Sequence[int], stride: int) -> int:
    """Returns the width at a stride of widths that start at stride 1 and go on with each power of two."""
    return widths[stride.bit_length() - 1]
