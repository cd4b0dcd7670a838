"""The one protocol of the lab: a network visits its variables in its own order and asks for the value of each.

Room: network. A family is a `Config`, and a `Network` with two methods that ask `answer(name, distribution)`:

    infer(x, answer)         visits q(z | x), in any order that its variables allow
    generate(shape, answer)  visits p(z), then p(x | z), whose name is "x", and returns x

Who asks does not know who answers: samples, values inferred before, values mixed from two pictures, or an ANS stack. So training,
bounds, sampling and bits back are written once. Pictures are float32 (B, C, H, W), whole numbers 0..255. "x" may be asked for
part by part, each part given as an index into (B, C, H, W). A network may look at values in advance (`answer.known`), and so
compute in one pass what would take many; coding never lets it, for a decoder has nothing to look at.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hcodec.models.lab.distributions import Distribution, divergence

PIXELS = "x"
WHOLE: Any = ...  # the part that is everything


class Answer:
    """Whoever gives values to variables."""

    def __call__(self, name: str, distribution: Distribution, part: Any = WHOLE) -> Tensor:
        """Returns the value of a variable, or of a part of it, float32 in the shape that the distribution has."""
        raise NotImplementedError

    def known(self, name: str) -> Tensor | None:
        """Returns the whole value of a variable that need not wait for its distribution, or None."""
        return None


class Given(Answer):
    """Gives the values it was given, and samples of all other variables; keeps all values, and everything asked, in order."""

    def __init__(self, values: Mapping[str, Tensor] | None = None, temperature: float = 1.0) -> None:
        self.given, self.temperature = dict(values or {}), temperature
        self.values: dict[str, Tensor] = {}
        self.asked: list[tuple[str, Distribution, Tensor]] = []

    def __call__(self, name: str, distribution: Distribution, part: Any = WHOLE) -> Tensor:
        """Returns the value given, or a sample."""
        value = self.given[name][part] if name in self.given else self.draw(distribution)
        self.asked.append((name, distribution, value))
        if part is WHOLE:
            self.values[name] = value
        return value

    def draw(self, distribution: Distribution) -> Tensor:
        """Returns a value for a variable that has none yet: a sample."""
        return distribution.sample(self.temperature)

    def known(self, name: str) -> Tensor | None:
        """Returns the value given, or None."""
        return self.given.get(name)

    def distributions(self) -> dict[str, Distribution]:
        """Returns the distributions of all latents, in the order in which they were asked."""
        return {name: distribution for name, distribution, _ in self.asked if name != PIXELS}

    def nats(self, pixels_only: bool = False) -> Tensor:
        """Returns minus the log probability of everything asked, or of the pixels alone, (B,)."""
        chosen = [(d, value) for name, d, value in self.asked if name == PIXELS or not pixels_only]
        return -torch.stack([total(d.log_prob(value)) for d, value in chosen]).sum(0)


class Recorded(Given):
    """Gives the values it was given, each only when its distribution is there, as in decoding."""

    def known(self, name: str) -> Tensor | None:
        """Returns None."""
        return None


@dataclass(frozen=True)
class Terms:
    """The negative evidence lower bound of each picture in nats, (B,) each: of the pixels, and the KL of each variable."""

    pixels: Tensor
    kl: dict[str, Tensor]

    def total(self) -> Tensor:
        """Returns the bound (B,)."""
        return self.pixels + torch.stack(list(self.kl.values())).sum(0)


class Family(nn.Module):
    """The base of all networks of the lab.

    closed: whether prior and posterior of each variable depend on the same other variables, so that the closed form of their KL
    may stand for a sample of it.
    """

    closed: ClassVar[bool] = True

    def infer(self, x: Tensor, answer: Answer) -> None:
        """Visits q(z | x); x float32 (B, C, H, W), 0..255."""
        raise NotImplementedError

    def generate(self, shape: torch.Size, answer: Answer) -> Tensor:
        """Visits p(z) and p(x | z); returns x in the shape (B, C, H, W)."""
        raise NotImplementedError

    def terms(self, x: Tensor) -> Terms:
        """Returns the bound with one sample of the posterior, differentiable; families may override it with a faster estimate."""
        return bound(self, x)

    def penalty(self) -> Tensor:
        """Returns what the family adds to its loss in training, a scalar."""
        return torch.zeros(())


def bound(network: Family, x: Tensor) -> Terms:
    """Returns the bound with one sample of the posterior, by both visits."""
    posterior = Given()
    network.infer(x, posterior)
    prior = Given({**posterior.values, PIXELS: x})
    network.generate(x.shape, prior)
    q, p = posterior.distributions(), prior.distributions()
    kl = {name: total(divergence(q[name], p[name], posterior.values[name], network.closed)) for name in p}
    return Terms(prior.nats(pixels_only=True), kl)


def log_weight(network: Family, x: Tensor) -> Tensor:
    """Returns log p(x, z) - log q(z | x) with one z from the posterior, in nats (B,)."""
    posterior = Given()
    network.infer(x, posterior)
    prior = Given({**posterior.values, PIXELS: x})
    network.generate(x.shape, prior)
    return posterior.nats() - prior.nats()


def importance_bound(network: Family, x: Tensor, samples: int) -> Tensor:
    """Returns minus the importance-weighted bound of each picture in nats, (B,) (Burda et al. 2015, arXiv 1509.00519, Eq. 8)."""
    weights = torch.stack([log_weight(network, x) for _ in range(samples)])
    return math.log(samples) - torch.logsumexp(weights, 0)


def infer(network: Family, x: Tensor, temperature: float = 1.0) -> dict[str, Tensor]:
    """Returns a value of each latent, drawn from the posterior."""
    posterior = Given(temperature=temperature)
    network.infer(x, posterior)
    return posterior.values


def total(values: Tensor) -> Tensor:
    """Returns the sum over all axes but the first, (B,)."""
    return values.flatten(1).sum(1)
