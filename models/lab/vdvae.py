"""The very deep VAE: many latents on one residual way down, without any normalization.

Room: network. Child 2021, arXiv 2011.10650, section 3 and figure 3. Nearest-neighbor upsampling; what blocks and latents add
is scaled by one over the root of their number; the last projections of prior and posterior are zero at first, so that the KL
is. (There it is those of the prior alone.) Gradient skipping is an option of every family.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hcodec.models.lab.distributions import Gaussian, bounded
from hcodec.models.lab.layers import conv, normalize
from hcodec.models.lab.topdown import Layer, TopDown, Visit, width_at


@dataclass(frozen=True)
class Config:
    """channels: of a picture. widths: of states at strides 1, 2, 4, ... layers: (stride, how many). latent: channels of z."""

    channels: int = 1
    widths: tuple[int, ...] = (16, 24, 32, 40)
    layers: tuple[tuple[int, int], ...] = ((8, 8), (4, 10), (2, 3))
    latent: int = 4


TINY = Config(widths=(8, 8, 8), layers=((4, 3), (2, 2)), latent=2)


def bottleneck(num_in: int, num_out: int, middle: int, factor: float) -> nn.Sequential:
    """Returns 1x1, 3x3, 3x3, 1x1 convolutions, a GELU before each; the last weights are multiplied by a factor."""
    last = conv(middle, num_out, 1)
    nn.init.zeros_(last.bias)  # type: ignore[arg-type]
    last.weight.data.mul_(factor)
    return nn.Sequential(
        nn.GELU(), conv(num_in, middle, 1), nn.GELU(), conv(middle, middle, 3),
        nn.GELU(), conv(middle, middle, 3), nn.GELU(), last,
    )  # fmt: skip


class DeepLayer(Layer):
    """Prior with a deterministic part, posterior from state and feature, z projected onto the state, and a residual block."""

    def __init__(self, stride: int, width: int, channels: int, depth: int) -> None:
        super().__init__()
        self.stride, self.channels = stride, channels
        middle, shrink = max(4, width // 4), 1 / math.sqrt(depth)
        self.posterior = bottleneck(2 * width, 2 * channels, middle, 0.0)
        self.prior = bottleneck(width, 2 * channels + width, middle, 0.0)
        self.project = conv(channels, width, 1)
        self.project.weight.data.mul_(shrink)  # 21 latents at full strength drown the state in noise at first
        self.block = bottleneck(width, width, middle, shrink)

    def forward(self, state: Tensor, feature: Tensor | None, visit: Visit) -> Tensor:
        """Returns the state after z."""
        mean, raw, change = self.prior(state).float().split([self.channels, self.channels, state.shape[1]], 1)
        posterior = None
        if feature is not None:
            seen_mean, seen_raw = self.posterior(torch.cat([state, feature], 1)).float().chunk(2, 1)
            posterior = Gaussian(seen_mean, bounded(seen_raw))
        z = visit(self.name, Gaussian(mean, bounded(raw)), posterior)
        state = state + change + self.project(z)
        return state + self.block(state)


class BottomUp(nn.Module):
    """Residual bottlenecks at each stride, average pooling between them."""

    def __init__(self, channels: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.stem = conv(channels, widths[0], 3)
        self.widen = nn.ModuleList(conv(a, b, 1) for a, b in pairwise(widths))
        self.blocks = nn.ModuleList(
            nn.ModuleList(bottleneck(width, width, max(4, width // 4), 0.5) for _ in range(2)) for width in widths[1:]
        )

    def forward(self, x: Tensor) -> dict[int, Tensor]:
        """Returns {stride: feature} from pixels (B, C, H, W), 0..255."""
        state, features = self.stem(normalize(x)), {}
        for i, (widen, blocks) in enumerate(zip(self.widen, self.blocks, strict=True)):
            state = F.avg_pool2d(widen(state), 2, ceil_mode=True)
            for block in blocks:  # type: ignore[attr-defined]
                state = state + block(state)
            features[2 << i] = state
        return features


class Network(TopDown):
    """The whole model."""

    def __init__(self, config: Config) -> None:
        depth = sum(count for _, count in config.layers)
        layers = [
            DeepLayer(stride, width_at(config.widths, stride), config.latent, depth)
            for stride, count in config.layers for _ in range(count)
        ]  # fmt: skip
        super().__init__(config.channels, config.widths, layers, BottomUp(config.channels, config.widths))
        self.config = config
