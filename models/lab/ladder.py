"""The Ladder VAE: a deterministic way up, and on the way down each posterior combines both by precision.

Room: network. Sønderby et al. 2016, arXiv 1602.02282, section 2.2. Each latent depends on the one above alone, as there. Batch
norm, which they use as well, makes a picture's code depend on other pictures, and is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hcodec.models.lab.distributions import Gaussian
from hcodec.models.lab.layers import GaussianHead, Residual, conv
from hcodec.models.lab.topdown import Layer, TopDown, Visit, width_at


@dataclass(frozen=True)
class Config:
    """channels: of a picture. widths: of states at strides 1, 2, 4, ... latents: (stride, channels), coarse to fine."""

    channels: int = 1
    widths: tuple[int, ...] = (16, 32, 32, 40)
    latents: tuple[tuple[int, int], ...] = ((8, 16), (4, 8), (2, 4))


TINY = Config(widths=(8, 8, 8), latents=((4, 2), (2, 2)))


def combine(seen: Gaussian, prior: Gaussian) -> Gaussian:
    """Returns the Gaussian whose precision is the sum of both, and whose mean weighs theirs by it (Eq. 17 to 19)."""
    shift = torch.sigmoid(2 * (prior.log_scale - seen.log_scale))  # precision of what was seen, as a share of the sum
    mean = prior.mean + shift * (seen.mean - prior.mean)
    log_scale = -0.5 * torch.logaddexp(-2 * seen.log_scale, -2 * prior.log_scale)
    return Gaussian(mean, log_scale)


class Rung(Layer):
    """A prior from the latent above, what the feature says, and their combination."""

    def __init__(self, stride: int, width: int, channels: int) -> None:
        super().__init__()
        self.stride = stride
        self.block = Residual(width)
        self.prior = GaussianHead(width, channels)
        self.seen = GaussianHead(width, channels, ready=True)
        self.expand = conv(channels, width, 1)
        self.after = Residual(width)

    def forward(self, state: Tensor, feature: Tensor | None, visit: Visit) -> Tensor:
        """Returns the state after z, which z alone decides."""
        prior = self.prior(self.block(state))
        z = visit(self.name, prior, None if feature is None else combine(self.seen(feature), prior))
        after: Tensor = self.after(self.expand(z))
        return after


class Network(TopDown):
    """The whole model."""

    def __init__(self, config: Config) -> None:
        layers = [Rung(s, width_at(config.widths, s), c) for s, c in config.latents]
        super().__init__(config.channels, config.widths, layers)
        self.config = config
