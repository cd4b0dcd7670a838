"""The NVAE: groups of latents at each scale, residual cells, and posteriors relative to their priors.

Room: network. Vahdat and Kautz 2020, arXiv 2007.03898: cells of figure 3, residual normal distributions of section 3.2, spectral
regularization of section 3.3. Batch norm makes a picture's code depend on other pictures; group norm over all channels stands
in for it. KL balancing per group is an option of every family.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hcodec.models.lab.distributions import Gaussian, bounded
from hcodec.models.lab.layers import GaussianHead, conv, down, normalize
from hcodec.models.lab.topdown import Layer, TopDown, Visit, width_at

_BRANCH = 0.1  # what a residual cell counts
_EXPANSION = 3


@dataclass(frozen=True)
class Config:
    """channels: of a picture. widths: of states at strides 1, 2, 4, ... groups: (stride, latent channels), coarse to fine.

    residual: whether posteriors are relative to priors. spectral: how much the largest singular values count in the loss.
    """

    channels: int = 1
    widths: tuple[int, ...] = (16, 24, 28, 28)
    groups: tuple[tuple[int, int], ...] = ((8, 8), (8, 8), (4, 6), (4, 6), (2, 2), (2, 2))
    residual: bool = True
    spectral: float = 1e-4


TINY = Config(widths=(8, 8, 8), groups=((4, 2), (4, 2), (2, 2)))


class SqueezeExcite(nn.Module):
    """Each channel times a gate in (0, 1), from the means of all channels (Hu et al. 2017, arXiv 1709.01507)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.squeeze, self.excite = conv(width, max(4, width // 16), 1), conv(max(4, width // 16), width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Returns (B, width, H, W), nowhere larger than x."""
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))
        return x * gate


class GenerativeCell(nn.Sequential):
    """1x1 expansion, 5x5 depthwise, 1x1, with norms, swish and squeeze-excite; x plus a tenth of that."""

    def __init__(self, width: int) -> None:
        wide = _EXPANSION * width
        super().__init__(
            nn.GroupNorm(1, width), conv(width, wide, 1), nn.GroupNorm(1, wide), nn.SiLU(),
            nn.Conv2d(wide, wide, 5, padding=2, groups=wide), nn.GroupNorm(1, wide), nn.SiLU(),
            conv(wide, width, 1), nn.GroupNorm(1, width), SqueezeExcite(width),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Returns (B, width, H, W)."""
        branch: Tensor = super().forward(x)
        return x + _BRANCH * branch


class InferenceCell(nn.Sequential):
    """Norm, swish and a 3x3 convolution, twice, then squeeze-excite; x plus a tenth of that."""

    def __init__(self, width: int) -> None:
        super().__init__(
            nn.GroupNorm(1, width), nn.SiLU(), conv(width, width, 3),
            nn.GroupNorm(1, width), nn.SiLU(), conv(width, width, 3), SqueezeExcite(width),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Returns (B, width, H, W)."""
        branch: Tensor = super().forward(x)
        return x + _BRANCH * branch


class BottomUp(nn.Module):
    """Two inference cells at each stride."""

    def __init__(self, channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.stem = conv(channels, widths[0], 3)
        self.scales = nn.ModuleList(
            nn.Sequential(down(above, width), InferenceCell(width), InferenceCell(width)) for above, width in pairwise(widths)
        )

    def forward(self, x: Tensor) -> dict[int, Tensor]:
        """Returns {stride: feature} from pixels (B, C, H, W), 0..255."""
        state, features = self.stem(normalize(x)), {}
        for i, scale in enumerate(self.scales):
            state = features[2 << i] = scale(state)
        return features


class Group(Layer):
    """A group of latents: prior from the state, posterior as what changes in it once the feature is known."""

    def __init__(self, stride: int, width: int, channels: int, residual: bool) -> None:
        super().__init__()
        self.stride, self.residual = stride, residual
        self.prior = GaussianHead(width, channels)
        self.combine = conv(width, width, 1)
        self.infer = InferenceCell(width)
        self.change = GaussianHead(width, channels)
        self.join = conv(width + channels, width, 1)
        self.cell = GenerativeCell(width)

    def forward(self, state: Tensor, feature: Tensor | None, visit: Visit) -> Tensor:
        """Returns the state after z."""
        mean, raw = self.prior.parameters_of(state)
        posterior = None
        if feature is not None:
            change, raw_change = self.change.parameters_of(self.infer(feature + self.combine(state)))
            posterior = self.posterior(mean, raw, change, raw_change)
        z = visit(self.name, Gaussian(mean, bounded(raw)), posterior)
        after: Tensor = self.cell(self.join(torch.cat([state, z], 1)))
        return after

    def posterior(self, mean: Tensor, raw: Tensor, change: Tensor, raw_change: Tensor) -> Gaussian:
        """Returns N(mean + change, scale * factor) of section 3.2, or with absolute posteriors the change alone."""
        if not self.residual:
            return Gaussian(change, bounded(raw_change))
        return Gaussian(mean + change, bounded(raw + raw_change))


class Network(TopDown):
    """The whole model."""

    def __init__(self, config: Config) -> None:
        layers = [Group(s, width_at(config.widths, s), c, config.residual) for s, c in config.groups]
        super().__init__(config.channels, config.widths, layers, BottomUp(config.channels, config.widths))
        self.config = config
        self.convolutions = [m for m in self.modules() if isinstance(m, nn.Conv2d)]
        self.directions = [torch.randn(m.weight.shape[0]) for m in self.convolutions]

    def penalty(self) -> Tensor:
        """Returns spectral times the sum of the largest singular values of all convolutions, each by one more power iteration."""
        found = []
        for i, convolution in enumerate(self.convolutions):
            matrix = convolution.weight.flatten(1)
            self.directions[i], value = singular_value(matrix, self.directions[i].to(matrix.device))
            found.append(value)
        return self.config.spectral * torch.stack(found).sum()


def singular_value(matrix: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Returns a better direction (out,) and the estimate of the largest singular value of a matrix (out, in) there.

    The estimate never exceeds the true value (Yoshida and Miyato 2017, arXiv 1705.10941, section 3.2).
    """
    with torch.no_grad():
        right = F.normalize(matrix.T @ direction, dim=0)
        left = F.normalize(matrix @ right, dim=0)
    return left, left @ matrix @ right
