"""BIVA: at each level one latent inferred on the way up and one on the way down, with skip connections on the way down.

Room: network. Maaløe et al. 2019, arXiv 1902.02102, section 2 and figure 2. The bottom-up latents see only the picture and those
below them; the generator, and the top-down posteriors, have both. Order of inference: up z1', z2', ..., then the top, then down.
The prior of a bottom-up latent depends on latents that were inferred from it, so the KL has no closed form.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hcodec.models.lab.distributions import Gaussian
from hcodec.models.lab.layers import GaussianHead, PixelHead, Residual, conv, down, grid, nearest, normalize, standard
from hcodec.models.lab.protocol import Answer, Family


@dataclass(frozen=True)
class Config:
    """channels: of a picture. widths: of states at strides 1, 2, 4, ...

    latents: channels of each latent at strides 2, 4, ...; the last is the top, which is one latent, all others are pairs.
    skips: whether each level of the generator sees all latents above it, not only its state.
    """

    channels: int = 1
    widths: tuple[int, ...] = (16, 32, 32, 32)
    latents: tuple[int, ...] = (2, 5, 16)
    skips: bool = True


TINY = Config(widths=(8, 8, 8), latents=(2, 2))


class WayUp(nn.Module):
    """The way up: features, and below the top a latent that the next features depend on."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        widths, inner = config.widths, config.latents[:-1]
        self.stem = conv(config.channels, widths[0], 3)
        self.downs = nn.ModuleList(nn.Sequential(down(a, b), Residual(b)) for a, b in pairwise(widths))
        pairs = list(zip(widths[1:], inner, strict=False))
        self.heads = nn.ModuleList(GaussianHead(width, count, ready=True) for width, count in pairs)
        self.expand = nn.ModuleList(conv(count, width, 1) for width, count in pairs)

    def forward(self, x: Tensor, answer: Answer) -> tuple[list[Tensor], list[Tensor]]:
        """Asks for the bottom-up latents; returns those and the features, fine to coarse."""
        state, values, features = self.stem(normalize(x)), [], []
        for i, descent in enumerate(self.downs):
            state = descent(F.silu(state))
            features.append(state)
            if i < len(self.heads):
                values.append(answer(f"up{i + 1}", self.heads[i](state)))
                state = state + self.expand[i](values[-1])
        return values, features


class Level(nn.Module):
    """One level of the way down: state and all latents above make the priors; with a feature, also the posterior."""

    def __init__(self, width_above: int, width: int, skipped: int, channels: int) -> None:
        super().__init__()
        self.join = conv(width_above + skipped, width, 1)
        self.block = Residual(width)
        self.prior_up, self.prior_down = GaussianHead(width, channels), GaussianHead(width, channels)
        self.see = conv(2 * width + channels, width, 1)
        self.posterior = GaussianHead(width, channels, ready=True)
        self.expand = conv(2 * channels, width, 1)
        self.after = Residual(width)

    def enter(self, state: Tensor, skip: Tensor, height: int, width: int) -> Tensor:
        """Returns the state on this level's grid, from the one above and the latents above it."""
        joined = self.join(torch.cat([nearest(state, height, width), nearest(skip, height, width)], 1))
        entered: Tensor = self.block(joined)
        return entered

    def leave(self, state: Tensor, up: Tensor, down: Tensor) -> Tensor:
        """Returns the state after both latents."""
        left: Tensor = self.after(state + self.expand(torch.cat([up, down], 1)))
        return left


class Network(Family):
    """The whole model."""

    closed: ClassVar[bool] = False

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        widths, latents = config.widths, config.latents
        self.way_up = WayUp(config)
        self.top = GaussianHead(widths[-1], latents[-1], ready=True)
        self.begin = nn.Sequential(conv(latents[-1], widths[-1], 1), Residual(widths[-1]))
        skipped = [latents[-1] + 2 * sum(latents[i + 1 : -1]) for i in range(len(latents))]
        levels = [Level(widths[i + 2], widths[i + 1], skipped[i], latents[i]) for i in range(len(latents) - 1)]
        self.levels = cast("list[Level]", nn.ModuleList(levels))  # fine to coarse
        self.last = nn.Sequential(conv(widths[1] + skipped[0] + 2 * latents[0], widths[0], 1), Residual(widths[0]))
        self.refine = nn.Sequential(Residual(widths[0]), Residual(widths[0]))
        self.head = PixelHead(widths[0], config.channels)

    def infer(self, x: Tensor, answer: Answer) -> None:
        """Visits the bottom-up latents fine to coarse, the top, and the top-down latents coarse to fine."""
        ups, features = self.way_up(x, answer)
        z = answer("top", self.top(features[-1]))
        state, skip = self.begin(z), z * self.config.skips
        for i in reversed(range(len(ups))):
            state = self.levels[i].enter(state, skip, *features[i].shape[2:])
            seen = self.levels[i].see(torch.cat([state, features[i], ups[i]], 1))
            down = answer(f"down{i + 1}", self.levels[i].posterior(seen))
            state, skip = self._on(i, state, skip, ups[i], down)

    def generate(self, shape: torch.Size, answer: Answer) -> Tensor:
        """Visits the top, both latents of each level coarse to fine, and the pixels."""
        z = answer("top", self._top_prior(shape))
        state, skip = self.begin(z), z * self.config.skips
        for i in reversed(range(len(self.levels))):
            level = self.levels[i]
            state = level.enter(state, skip, *self._grid(shape, i))
            up, down = answer(f"up{i + 1}", level.prior_up(state)), answer(f"down{i + 1}", level.prior_down(state))
            state, skip = self._on(i, state, skip, up, down)
        state = self.last(nearest(torch.cat([state, skip], 1), *shape[2:]))
        return self.head.ask(self.refine(state), answer)

    def _top_prior(self, shape: torch.Size) -> Gaussian:
        size = (shape[0], self.config.latents[-1], *self._grid(shape, len(self.levels)))
        return standard(size, self.top.conv.weight)

    def _on(self, i: int, state: Tensor, skip: Tensor, up: Tensor, down: Tensor) -> tuple[Tensor, Tensor]:
        """Returns state and skipped latents after both latents of a level."""
        skip = torch.cat([nearest(skip, *up.shape[2:]), up * self.config.skips, down * self.config.skips], 1)
        return self.levels[i].leave(state, up, down), skip

    def _grid(self, shape: torch.Size, i: int) -> tuple[int, int]:
        return grid(shape[2], 2 << i), grid(shape[3], 2 << i)
