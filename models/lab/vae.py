"""The plain VAE: one latent, a standard Gaussian prior, an inference network beside the generator.

Room: network. Kingma and Welling 2013, arXiv 1312.6114, section 3. The baseline of the lab.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from hcodec.models.lab.layers import GaussianHead, Residual, conv, standard
from hcodec.models.lab.topdown import Layer, TopDown, Visit


@dataclass(frozen=True)
class Config:
    """channels: of a picture. widths: of states at strides 1, 2, 4, ... latent: channels of z at the coarsest stride."""

    channels: int = 1
    widths: tuple[int, ...] = (16, 32, 40, 48)
    latent: int = 32


TINY = Config(widths=(8, 8, 8), latent=4)


class OnlyLatent(Layer):
    """z ~ N(0, 1), and q(z | x) from the feature alone."""

    def __init__(self, stride: int, width: int, channels: int) -> None:
        super().__init__()
        self.stride, self.channels = stride, channels
        self.posterior = GaussianHead(width, channels, ready=True)
        self.expand = conv(channels, width, 1)
        self.blocks = nn.Sequential(Residual(width), Residual(width))

    def forward(self, state: Tensor, feature: Tensor | None, visit: Visit) -> Tensor:
        """Returns the state after z."""
        prior = standard((len(state), self.channels, *state.shape[2:]), state)
        z = visit(self.name, prior, None if feature is None else self.posterior(feature))
        expanded: Tensor = self.blocks(self.expand(z))
        return state + expanded


class Network(TopDown):
    """The whole model."""

    def __init__(self, config: Config) -> None:
        layer = OnlyLatent(1 << len(config.widths) - 1, config.widths[-1], config.latent)
        super().__init__(config.channels, config.widths, [layer])
        self.config = config
