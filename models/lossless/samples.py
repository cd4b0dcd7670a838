"""What the lossless layer is trained on: pictures with the exact states that the levels leave behind.

Room: network, training only. Every picture is coded once with the finished base model, and the states after each of the start
levels are kept in memory; so the lossless layer learns from just the states that it will meet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import click
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from hcodec.models.integer.products import STATE_UNIT
from hcodec.models.lossless.config import ORDER, START_LEVELS
from hcodec.models.photo.model import Model
from hcodec.models.photo.prefix import Prefix, posterior
from hcodec.models.photo.walk import analyze
from hcodec.models.tables.symbol_tables import MAX_SYMBOL


def start_states(base: Model, pixels: np.ndarray, levels: Sequence[int]) -> Tensor:
    """Returns the exact states (len(levels), H/8, W/8, width) at stride 8 after each level, in the float network's units."""
    prefix = Prefix.empty(base.walk, *pixels.shape[:2])
    wanted = posterior(base.walk.steps, analyze(base.config, base.walk.steps, pixels, sorted(base.config.width)))
    states = []
    for level in range(1, max(levels) + 1):
        prefix = prefix.extended(lambda *latent: np.rint(wanted(*latent)).clip(-MAX_SYMBOL, MAX_SYMBOL))
        if level in levels:
            states.append(prefix.at_finest() * np.float32(STATE_UNIT))
    return torch.from_numpy(np.concatenate(states))


@dataclass(frozen=True)
class Sample:
    """A picture (H, W, 3) uint8 in coding order, and its states (starts, H/8, W/8, width)."""

    pixels: Tensor
    states: Tensor


def samples(base: Model, pictures: Sequence[np.ndarray], seed: int, levels: Sequence[int] = START_LEVELS) -> list[Sample]:
    """Returns the pictures, cut to multiples of 64 and mirrored and turned at random, with their states after the levels."""
    random, found = np.random.default_rng(seed), []
    with click.progressbar(pictures, label="states of the base") as bar:
        for picture in bar:
            turned = np.rot90(picture, random.integers(4))[:, :: random.choice([-1, 1])]
            cut = np.ascontiguousarray(turned[: turned.shape[0] // 64 * 64, : turned.shape[1] // 64 * 64])
            pixels = torch.from_numpy(cut[..., list(ORDER)].copy())
            found.append(Sample(pixels, start_states(base, cut, levels)))
    return found


def as_from_camera(picture: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Returns the picture with what a camera does and downscaling undoes: color at half the resolution, often some noise."""
    noise = random.standard_normal(picture.shape) * random.uniform(0, 4) * random.integers(2)
    if random.random() < 0.5:
        noise = (noise + np.roll(noise, 1, 0) + np.roll(noise, 1, 1) + np.roll(noise, 1, (0, 1))) / 2
    noisy = Image.fromarray((picture + noise).round().clip(0, 255).astype(np.uint8))
    light, *colors = noisy.convert("YCbCr").split()
    wider = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)[random.integers(2)]
    wide = [plane.reduce(2).resize(light.size, wider) for plane in colors]
    return np.asarray(Image.merge("YCbCr", [light, *wide]).convert("RGB"))


class Crops:
    """Random crops of samples, with a random start each."""

    def __init__(self, pool: Sequence[Sample], size: int, seed: int) -> None:
        self.pool, self.size, self.random = pool, size, np.random.default_rng(seed)

    def batch(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Returns states (count, size/8, size/8, width), pixels (count, size, size, 3) float and starts (count,)."""
        num_starts = len(self.pool[0].states)
        starts = (np.arange(count) + self.random.integers(num_starts)) % num_starts
        states, pixels = zip(*(self._crop(int(start)) for start in starts), strict=True)
        return torch.stack(states), torch.stack(pixels).float(), torch.from_numpy(starts)

    def _crop(self, start: int) -> tuple[Tensor, Tensor]:
        sample = self.pool[self.random.integers(len(self.pool))]
        y, x = (8 * int(self.random.integers((edge - self.size) // 8 + 1)) for edge in sample.pixels.shape[:2])
        cells = self.size // 8
        state = sample.states[start, y // 8 : y // 8 + cells, x // 8 : x // 8 + cells]
        return state, sample.pixels[y : y + self.size, x : x + self.size]
