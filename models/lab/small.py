"""The HVAE of the chains as a member of the lab: the network that `hcodec pack` codes small pictures with, in its float form.

Room: network. Latents are logistic mixtures on the whole numbers, posteriors are relative to the state (Vahdat and Kautz 2020,
arXiv 2007.03898, section 3.2), and training begins from a Haar pyramid. Only its walk is spelled out here for the lab's visits.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from hcodec.models.descend import at_stride, descend
from hcodec.models.lab.distributions import NUM_VALUES, Distribution, Logistic, Pixels, Table, log_logistic_mass
from hcodec.models.lab.protocol import PIXELS, Answer
from hcodec.models.lab.topdown import Features, Visit, Walk
from hcodec.models.small.config import NUM_COEFFICIENTS, SmallConfig
from hcodec.models.small.network import SmallLatent, SmallNetwork, condition
from hcodec.models.tables.likelihood import MIN_LOG_SCALE, MIN_TAIL, WIDE

if TYPE_CHECKING:
    from hcodec.coding.float_stack import FloatStack

_ORDER = (1, 0, 2)  # green, red, blue
_MAX_LOG_SCALE = 8.0  # of pixels: flat over their values; planes that are not asked for drift beyond, where digits are lost
_BOUNDS = ((0.0, 2.0), (1.0, 251.0), (252.0, 255.0))  # of the planes of a gray picture: its class, its value in class 1 and 2


@dataclass(frozen=True)
class Config(SmallConfig):
    """The fields of `SmallConfig`, with those of the model for MNIST as defaults."""

    channels: int = 1
    latents: tuple[tuple[int, int], ...] = ((8, 12), (4, 8), (4, 8), (2, 2))
    width: tuple[int, int, int, int] = (64, 64, 32, 16)
    hidden: tuple[int, int, int, int] = (128, 128, 64, 32)


TINY = Config(latents=((8, 2), (4, 2), (2, 3)), width=(16, 16, 16, 8), hidden=(16, 16, 16, 8))


@dataclass(frozen=True)
class Grays(Distribution):
    """Gray pixels in two parts: black, gray or white, then which gray or white. mean, log_scale, tail: (B, H, W, 3)."""

    mean: Tensor
    log_scale: Tensor
    tail: Tensor

    def sample(self, temperature: float = 1.0) -> Tensor:
        """Returns whole numbers 0..255."""
        return self.table().sample(temperature)

    def log_prob(self, value: Tensor) -> Tensor:
        """Returns log masses; value (B, H, W) or, for several values of each pixel, (N, B, H, W)."""
        gray, white = (value > 0.5), (value > 251.5)
        chosen = torch.where(white, 2.0, torch.where(gray, 1.0, 0.0))
        given = torch.where(white, self._plane(2, value), torch.where(gray, self._plane(1, value), torch.zeros_like(value)))
        return self._plane(0, chosen) + given

    def table(self) -> Table:
        """Returns the same distribution with all its masses."""
        values = torch.arange(float(NUM_VALUES)).view(-1, 1, 1, 1).expand(-1, *self.mean.shape[:3])
        return Table(self.log_prob(values).movedim(0, 1))

    def push(self, stack: FloatStack, value: Tensor) -> None:
        """Puts whole numbers 0..255 on the stack."""
        self.table().push(stack, value)

    def pop(self, stack: FloatStack) -> Tensor:
        """Takes whole numbers 0..255 from the stack."""
        return self.table().pop(stack)

    def _plane(self, plane: int, value: Tensor) -> Tensor:
        """Returns log masses of the values of one plane, cut to where its values are."""
        (low, high), scale, tail = _BOUNDS[plane], self.log_scale[..., plane], self.tail[..., plane]
        distance, weights = value.clamp(low, high) - self.mean[..., plane], (F.logsigmoid(-tail), F.logsigmoid(tail))
        pairs = list(zip(weights, (scale, scale + math.log(WIDE)), strict=True))
        inside = torch.logaddexp(*(w + log_logistic_mass(distance, s, 0.5) for w, s in pairs))
        middle, half = (low + high) / 2 - self.mean[..., plane], (high - low + 1) / 2
        return inside - torch.logaddexp(*(w + log_logistic_mass(middle, s, half) for w, s in pairs))


class Network(Walk):
    """The whole model."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config, self.inner = config, SmallNetwork(config)

    def analyze(self, x: Tensor) -> Features:
        """Returns {stride: feature (B, H_s, W_s, width)}."""
        features: Features = self.inner.analyze(self._planes(x))
        return features

    def walk(self, shape: torch.Size, visit: Visit, features: Features | None = None) -> Tensor:
        """Visits all latents; returns the state at stride 1 (B, H, W, width)."""
        number = itertools.count(1)

        def answer(latent: SmallLatent, state: Tensor, prior: tuple[Tensor, Tensor]) -> Tensor:
            """Asks the lab for the value of a latent, and gives it to the network as it takes it."""
            log_scale, tail = prior
            posterior = None
            if features is not None:
                mean, spread = latent.posterior(features[latent.stride] - state, log_scale)
                posterior = _mixture(mean, spread, torch.full_like(tail, MIN_TAIL))
            return visit(f"z{next(number)}", _mixture(torch.zeros_like(tail), log_scale, tail), posterior)

        position = descend(self.inner, self.inner.begin(shape[0], *shape[2:]), answer)
        return at_stride(self.inner, position, 1).state

    def paint(self, state: Tensor, answer: Answer) -> Tensor:
        """Asks for the pixels, a color picture's green first."""
        hidden = self.inner.last.expand(state)
        log_scale, tail, coefficient = self.inner.last_head(hidden).float().split([3, 3, NUM_COEFFICIENTS], -1)
        mean = (state + self.inner.last.fc2(hidden))[..., :3] * self.inner.spread + self.inner.center
        log_scale, tail = log_scale.clamp(MIN_LOG_SCALE, _MAX_LOG_SCALE), tail.clamp(MIN_TAIL, 0.0)
        if self.config.channels == 1:
            return answer(PIXELS, Grays(mean, log_scale, tail), (slice(None), 0))[:, None]
        return _ask_colors(mean, log_scale, tail, coefficient, answer)

    def _planes(self, x: Tensor) -> Tensor:
        """Returns the planes (B, H, W, 3) of pixels (B, C, H, W), as `small_planes` makes them."""
        if self.config.channels == 3:
            return x[:, _ORDER].permute(0, 2, 3, 1)
        value = x[:, 0]
        kind = (value > 0.5).float() + (value > 251.5).float()
        return torch.stack([kind, value.clamp(*_BOUNDS[1]), value.clamp(*_BOUNDS[2])], -1)


def _mixture(mean: Tensor, log_scale: Tensor, tail: Tensor) -> Logistic:
    logits = torch.stack([F.logsigmoid(-tail), F.logsigmoid(tail)])
    return Logistic(mean, logits, torch.stack([log_scale, log_scale + math.log(WIDE)]))


def _ask_colors(mean: Tensor, log_scale: Tensor, tail: Tensor, coefficient: Tensor, answer: Answer) -> Tensor:
    """Asks for green, red and blue in turn; returns the pixels (B, 3, H, W)."""
    values = torch.zeros_like(mean)
    found: dict[int, Tensor] = {}
    for plane, channel in enumerate(_ORDER):
        at = condition(mean, values, coefficient)[..., plane]
        mixture = _mixture(at / 127.5 - 1, log_scale[..., plane] - math.log(127.5), tail[..., plane])
        parts = (mixture.logits, mixture.mean.expand_as(mixture.logits), mixture.log_scales)
        found[channel] = answer(PIXELS, Pixels(*(part.movedim(0, 1) for part in parts)), (slice(None), channel))
        values = torch.stack([*values.unbind(-1)[:plane], found[channel], *values.unbind(-1)[plane + 1 :]], -1)
    return torch.stack([found[channel] for channel in range(3)], 1)
