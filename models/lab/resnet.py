"""The ResNet-VAE: residual both ways, each posterior the sum of what the way up and the way down say.

Room: network. Kingma et al. 2016, arXiv 1606.04934, section 4 and figure 3, with a diagonal Gaussian in place of the
autoregressive flow: a decoder of bits back must evaluate the posterior in one pass. Its free bits are an option of every family.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hcodec.models.lab.distributions import Gaussian, bounded
from hcodec.models.lab.layers import GaussianHead, Residual, conv, down, normalize, zero
from hcodec.models.lab.topdown import Layer, TopDown, Visit, width_at

_BRANCH = 0.5  # what a residual branch counts at first


@dataclass(frozen=True)
class Config:
    """channels: of a picture. widths: of states at strides 1, 2, 4, ... latents: (stride, channels), coarse to fine."""

    channels: int = 1
    widths: tuple[int, ...] = (16, 32, 32, 32)
    latents: tuple[tuple[int, int], ...] = ((8, 8), (8, 8), (4, 6), (4, 6), (2, 2))


TINY = Config(widths=(8, 8, 8), latents=((4, 2), (4, 2), (2, 2)))


class BottomUp(nn.Module):
    """The way up: one residual block for each latent, fine to coarse, which also says its part of that latent's posterior."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.strides = [stride for stride, _ in reversed(config.latents)]
        self.stem = conv(config.channels, config.widths[0], 3)
        self.downs = nn.ModuleList(_downs(config.widths, self.strides))
        self.blocks = nn.ModuleList(Residual(width_at(config.widths, stride)) for stride in self.strides)
        heads = [GaussianHead(width_at(config.widths, stride), count, ready=True) for stride, count in reversed(config.latents)]
        self.heads = cast("list[GaussianHead]", nn.ModuleList(heads))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Returns {name of a latent: its mean and raw log scale (B, 2, channels, H_s, W_s)}."""
        state, found = self.stem(normalize(x)), {}
        parts = zip(self.downs, self.blocks, self.heads, strict=True)
        for number, (descent, block, head) in zip(range(len(self.strides), 0, -1), parts, strict=True):
            state = block(descent(state))
            found[f"z{number}"] = torch.stack(head.parameters_of(state), 1)
        return found


def _downs(widths: Sequence[int], strides: Sequence[int]) -> list[nn.Module]:
    """Returns for each stride what leads there from the one before, beginning at 1."""
    return [_descent(widths, a, b) for a, b in zip([1, *strides], strides, strict=False)]


def _descent(widths: Sequence[int], start: int, target: int) -> nn.Module:
    steps = range(start.bit_length(), target.bit_length())
    return nn.Sequential(*(down(widths[i - 1], widths[i]) for i in steps))


class Bidirectional(Layer):
    """The way down at one latent: prior, this way's part of the posterior, and a deterministic part beside z."""

    def __init__(self, stride: int, width: int, channels: int) -> None:
        super().__init__()
        self.stride, self.channels = stride, channels
        self.first = conv(width, width, 3)
        self.heads = zero(conv(width, 4 * channels, 1))
        self.second = conv(width + channels, width, 3)

    @property
    def key(self) -> Any:
        """The bottom-up path speaks to each latent by its name."""
        return self.name

    def forward(self, state: Tensor, feature: Tensor | None, visit: Visit) -> Tensor:
        """Returns the state after z."""
        hidden = F.silu(self.first(F.silu(state)))
        mean, raw, *own = self.heads(hidden).float().chunk(4, 1)
        posterior = None
        if feature is not None:
            seen_mean, seen_raw = feature.unbind(1)
            posterior = Gaussian(own[0] + seen_mean, bounded(own[1] + seen_raw))
        z = visit(self.name, Gaussian(mean, bounded(raw)), posterior)
        branch: Tensor = self.second(torch.cat([hidden, z], 1))
        return state + _BRANCH * branch


class Network(TopDown):
    """The whole model."""

    def __init__(self, config: Config) -> None:
        layers = [Bidirectional(s, width_at(config.widths, s), c) for s, c in config.latents]
        super().__init__(config.channels, config.widths, layers, BottomUp(config))
        self.config = config
