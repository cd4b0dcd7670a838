"""Diffusion as a hierarchical VAE: T latents of the picture's size, a fixed posterior, one network for all priors.

Room: network. Kingma et al. 2021, arXiv 2107.00630 (variational diffusion), after Ho et al. 2020, arXiv 2006.11239. The loss is
the negative ELBO itself, in bits. The schedule gamma = -log SNR is a line between two learned ends
(section 4, appendix E); the formulas of q are those of appendix A. As the first latent, z0, keeps some noise, a small network
reads the pixels from it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hcodec.models.lab.distributions import Gaussian
from hcodec.models.lab.layers import PixelHead, Residual, conv, down, nearest, normalize, zero
from hcodec.models.lab.protocol import PIXELS, Answer, Family, Given, Terms, total


@dataclass(frozen=True)
class Config:
    """channels: of a picture. widths: of the network at strides 1, 2, 4, ... steps: T. ends: of gamma, before training."""

    channels: int = 1
    widths: tuple[int, ...] = (16, 32, 48)
    steps: int = 24
    ends: tuple[float, float] = (-7.0, 4.0)


TINY = Config(widths=(8, 8), steps=4, ends=(-4.0, 2.0))


class Denoiser(nn.Module):
    """The noise in a latent, from the latent and gamma: down, and up again with skips; zero at initialization."""

    def __init__(self, channels: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.stem = conv(channels, widths[0], 3)
        self.embed = nn.ModuleList(nn.Linear(16, width) for width in widths)
        self.before = nn.ModuleList(Residual(width) for width in widths)
        self.after = nn.ModuleList(Residual(width) for width in widths)
        self.downs = nn.ModuleList(down(a, b) for a, b in pairwise(widths))
        self.mixes = nn.ModuleList(conv(a + b, a, 1) for a, b in pairwise(widths))
        self.last = zero(conv(widths[0], channels, 3))

    def forward(self, z: Tensor, gamma: Tensor) -> Tensor:
        """Returns the noise (B, C, H, W); gamma (B,)."""
        waves = gamma[:, None] * torch.logspace(-1, 0.5, 8, device=z.device)
        time = torch.cat([waves.sin(), waves.cos()], 1)
        state, skips = self.stem(z), []
        for i, (embed, block) in enumerate(zip(self.embed, self.before, strict=True)):
            state = state if i == 0 else self.downs[i - 1](F.silu(state))
            state = block(state + embed(time)[:, :, None, None])
            skips.append(state)
        state = self.after[-1](state)
        for i in reversed(range(len(self.mixes))):
            state = nearest(state, *skips[i].shape[2:])
            state = self.after[i](self.mixes[i](torch.cat([skips[i], state], 1)))
        noise: Tensor = self.last(F.silu(state)).float()
        return noise


class Network(Family):
    """The whole model."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.ends = nn.Parameter(torch.tensor(config.ends))
        self.denoiser = Denoiser(config.channels, config.widths)
        self.read = nn.Sequential(
            conv(config.channels, config.widths[0], 3), Residual(config.widths[0]), Residual(config.widths[0])
        )
        self.head = PixelHead(config.widths[0], config.channels)

    def gamma(self, step: Tensor) -> Tensor:
        """Returns gamma of steps 0..T, in the shape of `step`."""
        return self.ends[0] + (self.ends[1] - self.ends[0]) * step / self.config.steps

    def infer(self, x: Tensor, answer: Answer) -> None:
        """Visits q(zT | x), then q(z(t-1) | z(t), x) down to z0."""
        t = self._step(self.config.steps, x)
        z = answer(f"z{self.config.steps}", self.marginal(x, t))
        for number in reversed(range(self.config.steps)):
            z = answer(f"z{number}", self._below(normalize(x), z, self._step(number + 1, x)))

    def generate(self, shape: torch.Size, answer: Answer) -> Tensor:
        """Visits p(zT), then p(z(t-1) | z(t)) down to z0, then p(x | z0)."""
        blank = torch.zeros(shape, device=self.ends.device)
        z = answer(f"z{self.config.steps}", Gaussian(blank, blank, self._grain(self.gamma(self._step(self.config.steps, blank)))))
        for number in reversed(range(self.config.steps)):
            z = answer(f"z{number}", self.prior(z, self._step(number + 1, blank)))
        return self.head.ask(self.read(z), answer)

    def marginal(self, x: Tensor, t: Tensor) -> Gaussian:
        """Returns q(z(t) | x) = N(alpha x, sigma^2); t (B,)."""
        gamma = _wide(self.gamma(t), x)
        log_scale = 0.5 * F.logsigmoid(gamma)
        return Gaussian(torch.sigmoid(-gamma).sqrt() * normalize(x), log_scale.expand_as(x), self._grain(gamma))

    def prior(self, z: Tensor, t: Tensor) -> Gaussian:
        """Returns p(z(t-1) | z(t)): the posterior, with the network's guess of the picture in place of the picture."""
        gamma = self.gamma(t)
        wide = _wide(gamma, z)
        guess = (z - torch.sigmoid(wide).sqrt() * self.denoiser(z, gamma)) * torch.rsqrt(torch.sigmoid(-wide))
        return self._below(guess, z, t)

    def _below(self, x: Tensor, z: Tensor, t: Tensor) -> Gaussian:
        """Returns q(z(t-1) | z(t), x), for x on the scale from -1 to 1; t (B,), from 1."""
        above, here = _wide(self.gamma(t), z), _wide(self.gamma(t - 1), z)
        fresh = -torch.expm1(F.softplus(here) - F.softplus(above))  # variance that the step from t - 1 to t adds
        kept = torch.exp(0.5 * (F.softplus(here) - F.softplus(above)))  # alpha(t) / alpha(t - 1)
        share = torch.sigmoid(here) / torch.sigmoid(above)
        mean = kept * share * z + torch.sigmoid(-here).sqrt() * fresh / torch.sigmoid(above) * x
        log_scale = 0.5 * torch.log(fresh * share)
        return Gaussian(mean, log_scale.expand_as(z), _step_below(log_scale))

    def terms(self, x: Tensor) -> Terms:
        """Returns an estimate of the bound without bias: of the T steps one a picture, evenly spread over a batch, times T."""
        steps = self.config.steps
        above = self.marginal(x, self._step(steps, x))
        kl = {f"z{steps}": total(above.divergence(Gaussian(torch.zeros_like(x), torch.zeros_like(x))))}
        spread = (torch.randperm(len(x), device=x.device) + torch.rand((), device=x.device)) / len(x)
        kl["steps"] = steps * self.step_divergence(x, (spread * steps).long() + 1)
        pixels = Given({PIXELS: x})
        self.head.ask(self.read(self.marginal(x, self._step(0, x)).sample()), pixels)
        return Terms(pixels.nats(), kl)

    def step_divergence(self, x: Tensor, t: Tensor) -> Tensor:
        """Returns KL(q(z(t-1) | z(t), x) || p(z(t-1) | z(t))) in nats with one sample of z(t); t (B,), from 1."""
        z = self.marginal(x, t).sample()
        return total(self._below(normalize(x), z, t).divergence(self.prior(z, t)))

    def _step(self, number: int, like: Tensor) -> Tensor:
        return torch.full((len(like),), number, device=like.device)

    def _grain(self, gamma: Tensor) -> float:
        """Returns the grid of the last latent."""
        return _step_below(0.5 * F.logsigmoid(gamma))


def _step_below(log_scale: Tensor) -> float:
    """Returns half to a quarter of the smallest scale, a power of two."""
    return 2.0 ** (math.floor(float(log_scale.detach().min()) / math.log(2)) - 1)


def _wide(gamma: Tensor, like: Tensor) -> Tensor:
    return gamma.view(-1, *[1] * (like.dim() - 1))
