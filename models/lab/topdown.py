"""The walk that most families share: one top-down path, and at each layer a prior and, given a picture, a posterior.

Room: network. `infer` and `generate` are the same walk with another visitor; so training needs only one walk, whose terms equal
those of the two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from hcodec.models.lab.distributions import Distribution, divergence
from hcodec.models.lab.layers import PixelHead, Pyramid, Residual, Rise, grid
from hcodec.models.lab.protocol import PIXELS, Answer, Family, Given, Terms, total

Visit = Callable[[str, Distribution, Distribution | None], Tensor]
Features = Mapping[int, Tensor]


class Layer(nn.Module):
    """One latent of a top-down path, at a stride; `name` is set by its network."""

    stride: int
    name: str

    def forward(self, state: Tensor, feature: Tensor | None, visit: Visit) -> Tensor:
        """Returns the next state from the state (B, width, H_s, W_s) and, given a picture, its feature there."""
        raise NotImplementedError


class TopDown(Family):
    """Layers from coarse to fine between a learned start and the pixels; widths of states at strides 1, 2, 4, ..."""

    def __init__(self, channels: int, widths: Sequence[int], layers: Sequence[Layer]) -> None:
        super().__init__()
        self.coarsest = 1 << len(widths) - 1
        self.start = nn.Parameter(torch.zeros(widths[-1]))
        self.rises = nn.ModuleList(Rise(above, width) for width, above in zip(widths, widths[1:], strict=False))
        self.layers = nn.ModuleList(layers)
        for number, layer in enumerate(layers):
            layer.name = f"z{number + 1}"
        self.bottom_up = self.make_bottom_up(channels, widths)
        self.last = nn.Sequential(Residual(widths[0]), Residual(widths[0]))
        self.head = PixelHead(widths[0], channels)

    def make_bottom_up(self, channels: int, widths: Sequence[int]) -> nn.Module:
        """Returns the network that makes {stride: feature} of pixels."""
        return Pyramid(channels, widths)

    def walk(self, shape: torch.Size, visit: Visit, features: Features | None = None) -> Tensor:
        """Visits all latents, coarse to fine; returns the state at stride 1."""
        height, width = shape[2:]
        stride = self.coarsest
        state = self.start[:, None, None].expand(shape[0], -1, grid(height, stride), grid(width, stride))
        for layer in self.layers:
            state = self._rise(state, stride, layer.stride, shape)
            stride = layer.stride
            state = layer(state, None if features is None else features[stride], visit)
        return self._rise(state, stride, 1, shape)

    def _rise(self, state: Tensor, stride: int, target: int, shape: torch.Size) -> Tensor:
        while stride > target:
            stride //= 2
            rise = self.rises[stride.bit_length() - 1]
            state = rise(state, grid(shape[2], stride), grid(shape[3], stride))
        return state

    def infer(self, x: Tensor, answer: Answer) -> None:
        """Visits q(z | x), coarse to fine."""
        self.walk(x.shape, lambda name, _prior, posterior: answer(name, _there(posterior)), self.bottom_up(x))

    def generate(self, shape: torch.Size, answer: Answer) -> Tensor:
        """Visits p(z), coarse to fine, then p(x | z)."""
        return self.paint(self.walk(shape, lambda name, prior, _posterior: answer(name, prior)), answer)

    def paint(self, state: Tensor, answer: Answer) -> Tensor:
        """Asks for the pixels; returns them (B, C, H, W)."""
        return self.head.ask(self.last(state), answer)

    def terms(self, x: Tensor) -> Terms:
        """Returns the same terms as `protocol.bound`, in one walk instead of two."""
        kl: dict[str, Tensor] = {}

        def visit(name: str, prior: Distribution, posterior: Distribution | None) -> Tensor:
            q = _there(posterior)
            value = q.sample()
            kl[name] = total(divergence(q, prior, value, self.closed))
            return value

        state = self.walk(x.shape, visit, self.bottom_up(x))
        pixels = Given({PIXELS: x})
        self.paint(state, pixels)
        return Terms(pixels.nats(), kl)


def _there(posterior: Distribution | None) -> Distribution:
    if posterior is None:
        raise ValueError("a layer gave no posterior although there is a picture")
    return posterior
