"""The way through one tile in coding order: how the next values are distributed, given those before.

Room: lossless. Encoder and decoder both walk it; the one takes the values from the picture, the other from the stack.
What a step computes stands in `integer.py`.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hcodec.models.integer.certificate import ACTIVATION_LIMIT, STATE_LIMIT
from hcodec.models.lossless.config import CHANNELS, PHASES, VALUES
from hcodec.models.runtime.steps import Array, Steps

VALUE_LIMIT = 2047  # format: of what is fed back of a pixel, in eighths
# how large the inputs of each kind of product may be
LIMITS = (
    dict.fromkeys(("show", "enter", "up"), STATE_LIMIT)
    | dict.fromkeys(("base", "kernel", "fc1", "fc2", "head"), ACTIVATION_LIMIT)
    | dict.fromkeys(("known", "feed"), VALUE_LIMIT)
)
_LAST = min(PHASES), len(PHASES[min(PHASES)]) - 1  # the phase whose pixels nothing after it needs
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Site:
    """The values that come next: pixels at `offset` in cells of 2 x 2 pixels of a pitch, and how they are distributed.

    mean in eighths, scale and shape index: float32 integers (H_cell, W_cell). terms: what a correction may add to the
    mean, float32 multiples of a quarter of an eighth (H_cell, W_cell, num_terms): how far the neighbors' plain mean lies
    from it, detail and slant; then of the channels before, their residuals, and how far their neighbors' means lie from theirs.
    """

    pitch: int
    offset: tuple[int, int]
    channel: int
    mean: Floats
    scale: Floats
    shape: Floats
    terms: Floats

    @property
    def where(self) -> tuple[slice, slice, int]:
        """The index of these values in an array (H, W, 3) in coding order."""
        rows, columns = (slice(o * self.pitch, None, 2 * self.pitch) for o in self.offset)
        return rows, columns, self.channel


Sites = Generator[Site, Floats, None]  # takes the values of each site, float32 (H_cell, W_cell)
_Phase = Generator[Site, Floats, tuple[Array, Floats, Floats]]


def walk(steps: Steps, embed: Floats, state: Floats) -> Sites:
    """Yields the sites of one tile of H x W pixels, multiples of 8, and takes their values.

    embed (width,): of the level that left the exact state (1, H/8, W/8, width).
    """
    state, base, shown, pixels, fed = steps("begin", state, embed)
    for pitch, offsets in PHASES.items():
        if pitch != max(PHASES):
            state, base, shown, pixels, fed = steps(f"stage.{pitch}", state, base, pixels, fed)
        pixels, fed = pixels.copy(), fed.copy()
        for i, offset in enumerate(offsets):
            own = 2 * offset[0] + offset[1]
            state, means, values = yield from _phase(steps, pitch, i, state, pixels, shown)
            pixels[..., CHANNELS * own : CHANNELS * (own + 1)] = values
            if (pitch, i) != _LAST:
                state, fed[..., VALUES * own : VALUES * (own + 1)] = steps(f"feed.{pitch}.{i}", state, shown, means, values)


def _phase(steps: Steps, pitch: int, i: int, state: Array, pixels: Array, shown: Array) -> _Phase:
    """Yields the sites of one phase; returns the state, and means and values of its pixels (1, H, W, 3)."""
    state, activations, around, *parameters = steps(f"phase.{pitch}.{i}", state, pixels, shown)
    means, values = np.empty((*state.shape[:3], CHANNELS), np.float32), np.empty((*state.shape[:3], CHANNELS), np.float32)
    for channel in range(CHANNELS):
        if channel:
            before = (np.ascontiguousarray(x[..., :channel]) for x in (means, values))
            parameters = list(steps(f"channel.{pitch}.{i}.{channel}", activations, around, *before))
        mean, scale, shape, terms = (x[0] for x in parameters)
        means[0, ..., channel] = mean
        values[0, ..., channel] = yield Site(pitch, PHASES[pitch][i], channel, mean, scale, shape, terms)
    return state, means, values


def following(sites: Sites, values: Floats) -> Site | None:
    """Returns the site after the one whose values these are, or None after the last."""
    try:
        return sites.send(values)
    except StopIteration:
        return None
