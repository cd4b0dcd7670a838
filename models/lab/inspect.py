"""What levels hold: pictures with one level exchanged, drawn anew or mixed, and scores that tell foreign pictures apart.

Room: measurement. Every question is an answer to the two visits: values of some variables given, all others drawn from the prior.
Pictures are float32 (B, C, H, W), 0..255; values and levels are by name, in the order in which the network generates them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from hcodec.models.lab.data import Pixels, glyphs
from hcodec.models.lab.distributions import Distribution
from hcodec.models.lab.measure import batches
from hcodec.models.lab.protocol import Family, Given, bound, infer

Values = Mapping[str, Tensor]
_BATCH = 50


@torch.no_grad()
def levels(network: Family, shape: torch.Size) -> list[str]:
    """Returns the names of all latents in the order in which they are generated."""
    asked = Given()
    network.generate(shape, asked)
    return list(asked.distributions())


@torch.no_grad()
def render(network: Family, shape: torch.Size, values: Values, temperature: float = 0.0) -> Tensor:
    """Returns pictures from the latents given; at temperature 0 all others are the prior's mean, and pixels their likeliest."""
    return network.generate(shape, Given(values, temperature))


@torch.no_grad()
def samples(network: Family, shape: torch.Size, temperature: float, seed: int = 0) -> Tensor:
    """Returns pictures drawn at a temperature; the same noise for the same seed."""
    torch.manual_seed(seed)
    return render(network, shape, {}, temperature)


@torch.no_grad()
def exchanged(network: Family, x: Tensor, y: Tensor, name: str) -> Tensor:
    """Returns x with one level taken from y, all others kept."""
    return render(network, x.shape, {**infer(network, x), name: infer(network, y)[name]})


@torch.no_grad()
def redrawn(network: Family, x: Tensor, name: str) -> Tensor:
    """Returns x with one level drawn from its prior, all others kept."""
    values = infer(network, x)
    del values[name]
    return network.generate(x.shape, OneDrawn(values))


class OneDrawn(Given):
    """Draws latents that are not given at temperature 1, but pixels at 0."""

    def __init__(self, values: Values) -> None:
        super().__init__(values, 0.0)
        self.missing = True

    def draw(self, distribution: Distribution) -> Tensor:
        """Returns the first thing drawn at temperature 1, what comes after at 0."""
        temperature, self.missing = float(self.missing), False
        return distribution.sample(temperature)


@torch.no_grad()
def mixed(network: Family, x: Tensor, y: Tensor, share: float, name: str | None = None) -> Tensor:
    """Returns x with one level, or all, moved towards those of y by a share."""
    torch.manual_seed(0)
    first, second = infer(network, x, 0.0), infer(network, y, 0.0)
    chosen = first if name is None else [name]
    return render(network, x.shape, {**first, **{key: torch.lerp(first[key], second[key], share) for key in chosen}})


@torch.no_grad()
def prefix(network: Family, x: Tensor, count: int) -> Tensor:
    """Returns x from its first `count` levels, the rest the prior's mean."""
    values = infer(network, x)
    return render(network, x.shape, {name: values[name] for name in levels(network, x[:1].shape)[:count]})


@torch.no_grad()
def scores(network: Family, pictures: Pixels) -> dict[str, NDArray[np.float64]]:
    """Returns for each picture uint8 (N, C, H, W) the KL of each level, and the bound as "all", in nats (N,)."""
    terms = [bound(network, x) for x in batches(pictures, _BATCH)]
    found = {name: torch.cat([each.kl[name] for each in terms]).double().numpy() for name in terms[0].kl}
    return {**found, "all": torch.cat([each.total() for each in terms]).double().numpy()}


def auroc(usual: NDArray[np.float64], foreign: NDArray[np.float64]) -> float:
    """Returns the probability that a foreign picture scores higher than a usual one, ties counted half."""
    ranks = np.concatenate([usual, foreign]).argsort().argsort() + 1.0
    values = np.concatenate([usual, foreign])
    for value in np.unique(values):
        ranks[values == value] = ranks[values == value].mean()
    count = len(foreign)
    return float((ranks[len(usual) :].sum() - count * (count + 1) / 2) / (count * len(usual)))


def roc(usual: NDArray[np.float64], foreign: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns false and true positive rates over all thresholds, both rising from 0 to 1."""
    thresholds = np.sort(np.concatenate([usual, foreign]))[::-1]
    rates = [(scores[None] >= thresholds[:, None]).mean(1) for scores in (usual, foreign)]
    return np.append(0.0, rates[0]), np.append(0.0, rates[1])


def foreign_sets(test: Pixels) -> dict[str, Pixels]:
    """Returns pictures that do not belong to the test pictures (N, C, H, W), as many of each kind."""
    noise = np.random.default_rng(0).normal(0, 40, test.shape)
    kinds: dict[str, Callable[[], Pixels]] = {
        "rotated": lambda: np.ascontiguousarray(np.rot90(test, 1, (2, 3))),
        "inverted": lambda: ~test,
        "noisy": lambda: (test + noise).round().clip(0, 255).astype(np.uint8),
        "drawn": lambda: _drawn(test),
    }
    return {kind: make() for kind, make in kinds.items()}


def _drawn(test: Pixels) -> Pixels:
    """Returns letters where pictures are gray, cuts of drawn screens where they are in color."""
    count, channels, height, width = test.shape
    if channels == 1:
        return glyphs("ABCEFGHKMNPRTWXYZ", count, max(height, width), 3)[:, :, :height, :width]
    from hcodec.models.training import drawn

    screens = [_cut(screen, height, width, number) for number, screen in enumerate(drawn.pictures(count, 3))]
    return np.stack(screens).transpose(0, 3, 1, 2)


def _cut(screen: Pixels, height: int, width: int, seed: int) -> Pixels:
    """Returns a random part of a screen of the given size, downscaled by two."""
    y, x = np.random.default_rng(seed).integers(0, screen.shape[0] - 2 * max(height, width), 2)
    part = Image.fromarray(screen[y : y + 2 * height, x : x + 2 * width])
    return np.asarray(part.resize((width, height), Image.Resampling.LANCZOS))
