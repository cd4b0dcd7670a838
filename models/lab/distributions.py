"""The distributions of the lab: Gaussians and logistics for latents, mixtures of discretized logistics for pixels.

Room: network. A distribution draws a sample, says how likely a value is, and puts a value on a stack or takes it from there.
Latents are real numbers in training; on a stack they are whole multiples of the distribution's step, which both prior and
posterior of a variable share. Steps are powers of two, so that such multiples are exact floats.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from hcodec.coding.float_stack import FloatStack

STEP = 2.0**-5  # of Gaussian latents
LOWEST = -3.3  # log scale that no Gaussian latent goes below: 1.2 steps, where bits back loses nothing yet
HIGHEST = 3.0
NUM_VALUES = 256
_PIXEL_SCALES = (-7.0, 12.0)  # log scales of logistics, where pixels go from -1 to 1; beyond, digits and gradients are lost
_REACH = 255  # of a logistic latent's table


def bounded(raw: Tensor) -> Tensor:
    """Returns log scales from what a network says, smoothly kept above LOWEST and cut at HIGHEST; any shape."""
    return (LOWEST + F.softplus(raw - LOWEST)).clamp(max=HIGHEST)


class Distribution(ABC):
    """What a network says of a variable before its value is known."""

    @property
    def center(self) -> Tensor:
        """The mean of a latent."""
        raise NotImplementedError

    @property
    def spread(self) -> Tensor:
        """The scale of a latent."""
        raise NotImplementedError

    @abstractmethod
    def sample(self, temperature: float = 1.0) -> Tensor:
        """Returns a sample in the variable's shape, its spread multiplied by the temperature."""

    @abstractmethod
    def log_prob(self, value: Tensor) -> Tensor:
        """Returns log densities of latents or log masses of pixels, in nats, elementwise."""

    def log_mass(self, value: Tensor) -> Tensor:
        """Returns log masses of what a stack holds, in nats, elementwise: of pixels, and of latents in bins of one step."""
        return self.log_prob(value)

    @abstractmethod
    def push(self, stack: FloatStack, value: Tensor) -> None:
        """Puts a value on the stack; latents must be whole multiples of the step."""

    @abstractmethod
    def pop(self, stack: FloatStack) -> Tensor:
        """Takes a value from the stack, float32 in the variable's shape."""


@dataclass(frozen=True)
class Gaussian(Distribution):
    """A Gaussian for each element; mean and log_scale have one shape."""

    mean: Tensor
    log_scale: Tensor
    step: float = STEP

    @property
    def center(self) -> Tensor:
        """The mean."""
        return self.mean

    @property
    def spread(self) -> Tensor:
        """The deviation."""
        return self.log_scale.exp()

    def sample(self, temperature: float = 1.0) -> Tensor:
        """Returns mean + temperature * scale * noise."""
        return self.mean + temperature * self.log_scale.exp() * torch.randn_like(self.mean)

    def log_prob(self, value: Tensor) -> Tensor:
        """Returns log densities."""
        ratio = (value - self.mean) * torch.exp(-self.log_scale)
        return -0.5 * ratio.square() - self.log_scale - 0.5 * math.log(2 * math.pi)

    def log_mass(self, value: Tensor) -> Tensor:
        """Returns log masses of bins of one step around the values."""
        distance, inverse = (value - self.mean).double().abs(), torch.exp(-self.log_scale.double())
        low, high = (torch.special.log_ndtr((edge - distance) * inverse) for edge in (-self.step / 2, self.step / 2))
        return high + torch.log1p(-torch.exp(low - high))

    def divergence(self, prior: Gaussian) -> Tensor:
        """Returns KL(self || prior) in nats, elementwise, in closed form."""
        change = self.log_scale - prior.log_scale
        distance = (self.mean - prior.mean) * torch.exp(-prior.log_scale)
        return 0.5 * (torch.exp(2 * change) + distance.square() - 1) - change

    def push(self, stack: FloatStack, value: Tensor) -> None:
        """Puts whole multiples of the step on the stack."""
        stack.push_gaussian(_whole(value / self.step), *self._in_steps())

    def pop(self, stack: FloatStack) -> Tensor:
        """Takes whole multiples of the step from the stack."""
        symbols = stack.pop_gaussian(*self._in_steps())
        return _tensor(symbols, self.mean) * self.step

    def _in_steps(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return _flat(self.mean) / self.step, np.exp(_flat(self.log_scale)) / self.step


@dataclass(frozen=True)
class Logistic(Distribution):
    """A mixture of logistics around one mean for each element, with step 1; logits and log_scales (K, ...), mean (...)."""

    mean: Tensor
    logits: Tensor
    log_scales: Tensor

    @property
    def center(self) -> Tensor:
        """The mean."""
        return self.mean

    @property
    def spread(self) -> Tensor:
        """The scale of the first component."""
        return self.log_scales[0].exp()

    def sample(self, temperature: float = 1.0) -> Tensor:
        """Returns mean + temperature * scale * noise, the scale drawn from the mixture."""
        chosen = _draw(self.logits, 0, 1.0)
        log_scale = self.log_scales.expand_as(self.logits).gather(0, chosen[None])[0]
        return self.mean + temperature * log_scale.exp() * _logistic_noise(self.mean)

    def log_prob(self, value: Tensor) -> Tensor:
        """Returns log densities."""
        ratio = (value - self.mean).abs() * torch.exp(-self.log_scales)
        each = -ratio - self.log_scales - 2 * F.softplus(-ratio)
        return torch.logsumexp(F.log_softmax(self.logits, 0) + each, 0)

    def log_mass(self, value: Tensor) -> Tensor:
        """Returns log masses of unit bins around the values."""
        each = log_logistic_mass((value - self.mean).double(), self.log_scales.double(), 0.5)
        return torch.logsumexp(F.log_softmax(self.logits.double(), 0) + each, 0)

    def push(self, stack: FloatStack, value: Tensor) -> None:
        """Puts whole numbers on the stack."""
        stack.push_near(_whole(value - self.mean.round()), self._masses())

    def pop(self, stack: FloatStack) -> Tensor:
        """Takes whole numbers from the stack."""
        return self.mean.round() + _tensor(stack.pop_near(self._masses()), self.mean)

    def _masses(self) -> NDArray[np.float64]:
        """Returns the masses of unit bins (n, 2 * _REACH + 1) around the rounded mean, the tails in the outermost bins."""
        mean, logits, log_scales = (t.double() for t in (self.mean, self.logits, self.log_scales.expand_as(self.logits)))
        inner = torch.arange(-_REACH, _REACH, dtype=torch.float64) + 0.5
        edges = inner - (mean - mean.round()).reshape(-1, 1)
        below = [torch.sigmoid(edges * torch.exp(-s.reshape(-1, 1))) for s in log_scales]
        weights = F.softmax(logits, 0).reshape(len(logits), -1, 1)
        cdf = sum(weight * part for weight, part in zip(weights, below, strict=True))
        masses = np.diff(F.pad(torch.as_tensor(cdf), (1, 0)).numpy(), append=1.0)
        return np.maximum(masses, 0.0)


@dataclass(frozen=True)
class Pixels(Distribution):
    """A mixture of discretized logistics over 0..255 for each pixel (Salimans et al. 2017, arXiv 1701.05517, Eq. 1 and 2).

    logits, means, log_scales: (B, K, ...), K components; means and scales on the scale where pixels go from -1 to 1. The outer
    values take the tails. Values are float32 (B, ...) and whole.
    """

    logits: Tensor
    means: Tensor
    log_scales: Tensor

    def sample(self, temperature: float = 1.0) -> Tensor:
        """Returns whole numbers 0..255; at temperature 0 the mean of the likeliest component."""
        chosen = _draw(self.logits, 1, temperature)[:, None]
        mean, log_scale = (t.gather(1, chosen)[:, 0] for t in (self.means, self.log_scales))
        value = mean + temperature * log_scale.exp() * _logistic_noise(mean)
        return ((value + 1) * 127.5).round().clamp(0, NUM_VALUES - 1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Returns log masses."""
        scale, value = self.log_scales.clamp(*_PIXEL_SCALES), value[:, None]
        distance = value / 127.5 - 1 - self.means
        ratio, half = distance * torch.exp(-scale), torch.exp(-scale) / 255
        each = log_logistic_mass(distance, scale, 1 / 255)
        each = torch.where(value < 0.5, F.logsigmoid(ratio + half), each)
        each = torch.where(value > NUM_VALUES - 1.5, F.logsigmoid(half - ratio), each)
        return torch.logsumexp(F.log_softmax(self.logits, 1) + each, 1)

    def push(self, stack: FloatStack, value: Tensor) -> None:
        """Puts whole numbers 0..255 on the stack."""
        stack.push_table(_whole(value), self._masses())

    def pop(self, stack: FloatStack) -> Tensor:
        """Takes whole numbers 0..255 from the stack."""
        return _tensor(stack.pop_table(self._masses()), self.logits[:, 0])

    def _masses(self) -> NDArray[np.float64]:
        """Returns the masses of all values (n, 256)."""
        logits, means, log_scales = (t.double().movedim(1, -1).flatten(0, -2) for t in (self.logits, self.means, self.log_scales))
        edges = (torch.arange(NUM_VALUES - 1, dtype=torch.float64) + 0.5) / 127.5 - 1
        inverse = torch.exp(-log_scales.clamp(*_PIXEL_SCALES))[..., None]
        cdf = (F.softmax(logits, -1)[..., None] * torch.sigmoid((edges - means[..., None]) * inverse)).sum(1)
        return np.maximum(np.diff(cdf.numpy(), prepend=0.0, append=1.0), 0.0)


@dataclass(frozen=True)
class Table(Distribution):
    """Any distribution over 0..255: log masses (B, 256, ...), normalized here."""

    log_masses: Tensor

    def sample(self, temperature: float = 1.0) -> Tensor:
        """Returns whole numbers 0..255; at temperature 0 the likeliest."""
        return _draw(self.log_masses, 1, temperature).float()

    def log_prob(self, value: Tensor) -> Tensor:
        """Returns log masses."""
        return F.log_softmax(self.log_masses, 1).gather(1, value.long()[:, None])[:, 0]

    def push(self, stack: FloatStack, value: Tensor) -> None:
        """Puts whole numbers 0..255 on the stack."""
        stack.push_table(_whole(value), self._masses())

    def pop(self, stack: FloatStack) -> Tensor:
        """Takes whole numbers 0..255 from the stack."""
        return _tensor(stack.pop_table(self._masses()), self.log_masses[:, 0])

    def _masses(self) -> NDArray[np.float64]:
        masses: NDArray[np.float64] = F.softmax(self.log_masses.double(), 1).movedim(1, -1).flatten(0, -2).numpy()
        return np.ascontiguousarray(masses)


def log_logistic_mass(distance: Tensor, log_scale: Tensor, half: float) -> Tensor:
    """Returns the log mass that a logistic gives to an interval of +-half, whose center is at a distance from its mean."""
    inverse = torch.exp(-log_scale)
    width = 2 * half * inverse
    low = distance.abs() * inverse - half * inverse
    return torch.log(-torch.expm1(-width)) - F.softplus(-low - width) - F.softplus(low)


def divergence(posterior: Distribution, prior: Distribution, value: Tensor, closed: bool) -> Tensor:
    """Returns the KL of each element in nats: in closed form where wanted and known, else from one sample, the value."""
    if closed and isinstance(posterior, Gaussian) and isinstance(prior, Gaussian):
        return posterior.divergence(prior)
    return posterior.log_prob(value) - prior.log_prob(value)


def _draw(logits: Tensor, axis: int, temperature: float) -> Tensor:
    """Returns the index that wins along an axis after Gumbel noise of this temperature."""
    uniform = torch.rand_like(logits).clamp(1e-7, 1 - 1e-7)
    return (logits - temperature * torch.log(-torch.log(uniform))).argmax(axis)


def _logistic_noise(like: Tensor) -> Tensor:
    return torch.logit(torch.rand_like(like).clamp(1e-6, 1 - 1e-6))


def _flat(tensor: Tensor) -> NDArray[np.float64]:
    numbers: NDArray[np.float64] = tensor.double().reshape(-1).numpy()
    return numbers


def _whole(value: Tensor) -> NDArray[np.int32]:
    symbols: NDArray[np.int32] = value.round().int().reshape(-1).numpy()
    return symbols


def _tensor(symbols: NDArray[np.int32], like: Tensor) -> Tensor:
    """Returns float32 in the shape of another tensor, in memory of torch's own, whose alignment never varies."""
    return torch.from_numpy(symbols).float().reshape(like.shape).clone()
