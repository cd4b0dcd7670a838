"""A picture as far as the first levels of its stream say: what encoder and decoder both hold, and what it looks like.

Room: photo (encode steps 6 to 8 and 10; decode steps 4, 5, 7 and 8). A prefix never changes; a level more makes
another one. Where the symbols of that level come from (the posterior, a stream) is said by an `answer`, as in
`descend`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hcodec.models.descend import Answer, Position, at_stride, descend
from hcodec.models.photo.config import FINEST
from hcodec.models.photo.walk import Floats, LatentSteps, Prior, Walk
from hcodec.models.runtime.steps import Array, Steps
from hcodec.models.tables.scales import LOG_SCALE_STEP, MIN_LOG_SCALE
from hcodec.models.tables.symbol_tables import MAX_SYMBOL

Cells = tuple[slice, slice, slice]  # an index in a map (1, rows, columns, channels)
Place = tuple[slice, slice]  # rows and columns in a map
_LATE = 4  # levels that add most of the bits; before them, the last latent's mean says next to nothing
EVERYTHING: Cells = (slice(None), slice(None), slice(None))


@dataclass(frozen=True)
class Prefix:
    """The first levels of a stream, decoded, of a picture or of one of its windows.

    levels: how many; a fraction says how much of the last one. inside: where in the position's maps the window lies; around it is
    a margin that is predicted as it is here, without symbols of its own, so that the window's edges see something.
    """

    walk: Walk
    position: Position
    levels: float = 0.0
    inside: Cells = EVERYTHING

    @classmethod
    def empty(cls, walk: Walk, height: int, width: int) -> Prefix:
        """Returns the prefix without a level of a picture of height x width pixels."""
        return cls(walk, walk.begin(height, width))

    def extended(self, answer: Answer) -> Prefix:
        """Returns the prefix with one level more; answer(latent, state, prior) gives its symbols."""
        levels = int(self.levels) + 1
        position = descend(self.walk, self.position, answer, self.walk.config.num_latents(levels))
        return replace(self, position=position, levels=float(levels))

    def filled(self, answer: Answer) -> Prefix:
        """Returns the prefix with the state after all levels of the whole picture; missing ones get what the answer says."""
        end = self.walk.config.num_latents(self.walk.config.num_coarse)
        return replace(self, position=descend(self.walk, self.position, answer, end))

    def windowed(self, outer: Cells, inside: Cells, height: int, width: int) -> Prefix:
        """Returns the prefix of a window, from that of the picture after the levels of the whole.

        outer: where the window and its margin lie in the state; inside: where the window lies in the maps of finer strides;
        height, width: of the window and its margin, in pixels.
        """
        state = np.ascontiguousarray(self.position.state[outer])
        position = replace(self.position, state=state, height=height, width=width)
        return replace(self, position=position, inside=inside)

    def at_finest(self) -> Array:
        """Returns the state (1, H/8, W/8, width) as the levels so far left it, brought to the finest stride."""
        return np.ascontiguousarray(at_stride(self.walk, self.position, FINEST).state[self.inside])

    def completed(self, answer: Answer, quick: bool = False) -> Array:
        """Returns the state (1, H/8, W/8, width) after all levels, where missing ones get what the answer says.

        quick: early prefixes go without the last latent.
        """
        end = -1 if quick and self.levels <= self.walk.config.num_levels - _LATE else None
        return np.ascontiguousarray(descend(self.walk, self.position, answer, end).state[self.inside])

    def expected(self, answer: Answer, end: int) -> Array:
        """Returns the finest state (1, H/8, W/8, width) with the next latents, up to `end`, as the answer says."""
        position = at_stride(self.walk, descend(self.walk, self.position, answer, end), FINEST)
        return np.ascontiguousarray(position.state[self.inside])

    def foreseeing(self) -> Prefix:
        """Returns the prefix with what is expected of its next latent, which need not be computed a second time then."""
        position, latents = self.position, self.walk.latents
        if position.foreseen is not None or position.index == len(latents):
            return self
        latent = latents[position.index]
        foreseen = latent.prior(at_stride(self.walk, position, latent.stride).state)
        return replace(self, position=replace(position, foreseen=foreseen))


def synthesize(walk: Walk, state: Array, levels: float, quick: bool = False, inside: Cells = EVERYTHING) -> Floats:
    """Returns the pixels (8 rows, 8 columns, 3) of the cells `inside` of a finest state (1, rows, columns, width).

    levels: how many it holds. quick: level 1 without fine blocks. Cells around are looked at as far as each step sees.
    """
    weights, (steps, config) = _weights(levels, walk.config.num_levels), (walk.steps, walk.config)
    blocks = [f"synthesis.{k}" for k in range(config.synthesis_blocks)]
    fine_blocks = [f"tail.{k}" for k in range(0 if quick and levels < 2 else config.tail_blocks + config.tail_float_blocks)]
    last = steps.reach("pixels").radius
    margin = last + -(-_reach(steps, fine_blocks) // 2)
    place = place_of(inside, state)
    for k, name in enumerate(blocks):
        state, place = closer(state, place, margin + _reach(steps, blocks[k:]))
        (state,) = steps(name, state, weights) if k == 0 else steps(name, state)
    state, place = closer(state, place, margin)
    (fine,), fine_place = steps("tail", state), finer(place, 2)
    for k, name in enumerate(fine_blocks):
        fine, fine_place = closer(fine, fine_place, 2 * last + _reach(steps, fine_blocks[k:]))
        (fine,) = steps(name, fine)
    (fine, _), (state, place) = closer(fine, fine_place, 2 * last), closer(state, place, last)
    (pixels,) = steps("pixels", state, fine, weights)
    shown: Floats = pixels[0][finer(place, FINEST)]
    return shown


def _reach(steps: Steps, names: Sequence[str]) -> int:
    """Returns how many cells around each some steps see that follow each other."""
    return sum(steps.reach(name).radius for name in names)


def place_of(inside: Cells, x: Array) -> Place:
    """Returns the rows and columns of cells in a map."""
    return slice(*inside[1].indices(x.shape[1])), slice(*inside[2].indices(x.shape[2]))


def closer(x: Array, place: Place, margin: int) -> tuple[Array, Place]:
    """Returns a map with no more than `margin` cells around a place in it, and where that lies then."""
    rows, columns = place
    top, left = max(rows.start - margin, 0), max(columns.start - margin, 0)
    moved = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
    return x[:, top : rows.stop + margin, left : columns.stop + margin], moved


def finer(place: Place, times: int) -> Place:
    """Returns a place in a map of so many times as many rows and columns."""
    rows, columns = (slice(times * cells.start, times * cells.stop) for cells in place)
    return rows, columns


def _weights(levels: float, count: int) -> Floats:
    """Returns which of `count` levels a state holds, (1, count), two sharing it where the last one is not whole."""
    weights = np.zeros((1, count), dtype=np.float32)
    low = min(max(int(levels), 1), count)
    weights[0, low - 1] = 1.0
    if low < count and levels > low:
        weights[0, low - 1], weights[0, low] = 1 - (levels - low), levels - low
    return weights


def posterior(steps: Steps, features: Mapping[int, Array]) -> Callable[[LatentSteps, Array, Prior], Array]:
    """Returns an answer for the features of a picture, from `walk.analyze`: posterior minus prior mean in steps."""

    def answer(latent: LatentSteps, state: Array, prior: Prior) -> Array:
        """Returns float32 (1, H_l, W_l, C_l)."""
        return steps(f"posterior.{latent.index}", state, features[latent.stride], prior.mean, prior.index)[0]

    return answer


def sampled(temperature: float = 0.0, seed: int = 0) -> Answer:
    """Returns an answer that draws symbols from the prior with its scale times the temperature; zeros at temperature 0."""
    random = np.random.default_rng(seed % 2**63)

    def answer(latent: LatentSteps, state: Array, prior: Prior) -> Array:
        """Returns symbols, float32 (1, H_l, W_l, C_l)."""
        if temperature == 0:
            return np.zeros(prior.index.shape, dtype=np.float32)
        uniform = random.random(prior.index.shape).clip(1e-6, 1 - 1e-6)
        drawn = np.log(uniform / (1 - uniform)) * np.exp(log_scale(prior.index)) * temperature
        # beyond what can be coded, the state's integers would not be certified
        return drawn.clip(-MAX_SYMBOL, MAX_SYMBOL).astype(np.float32)

    return answer


def log_scale(index: NDArray[np.uint8]) -> Array:
    """Returns the natural log of the logistic scale that a scale index stands for."""
    return MIN_LOG_SCALE + index * LOG_SCALE_STEP
