"""The one way down through the latents of a hierarchical VAE, coarse to fine, for every family, in floats and on integers.

Room: models (encode steps 7, 8 and 10; decode steps 5 to 7). Encoding, decoding, training, exporting and searching
all take it; they differ in their `answer` only: the rounded posterior, what a stream holds, the prior's mean, a
sample.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

Tensor = Any  # of torch in training, an array of numpy in coding: nothing here asks


class Latent(Protocol):
    """One latent variable as the state is led through it. What its prior is, only its family knows."""

    @property
    def stride(self) -> int:
        """How many pixels lie between two of its cells."""

    def prior(self, state: Tensor) -> tuple[Tensor, Any]:
        """Returns the refined state (B, H_l, W_l, width) and the prior p(z_l | z_<l)."""

    def advance(self, state: Tensor, prior: Any, symbols: Tensor) -> Tensor:
        """Returns the state with the latent's symbols (B, H_l, W_l, C_l) added."""


class Model(Protocol):
    """A network with latents, the coarse ones first."""

    def ordered_latents(self) -> Sequence[Any]:
        """Returns the latents in coding order; their strides fall. Each is a `Latent`."""

    def ascend(self, state: Tensor, stride: int, height: int, width: int) -> Tensor:
        """Returns the state at `stride` from the one at twice that stride, cut to the grid of the picture."""


@dataclass(frozen=True)
class Position:
    """A place on the way down: the state (B, H_s, W_s, width) at a stride, and the index of the latent that comes next.

    height, width: of the picture, in pixels. States are never changed in place, so a position can be kept and gone on from twice.
    foreseen: what the next latent's `prior` returns, at its stride, where that is known already.
    """

    state: Tensor
    stride: int
    height: int
    width: int
    index: int = 0
    foreseen: tuple[Tensor, Any] | None = None


# what is given to a latent as its symbols: from the latent, the state that its posterior starts from, and its prior; whoever
# keeps that state copies it, for the symbols may be added to it where it is
Answer = Callable[[Any, Tensor, Any], Tensor]


def descend(model: Model, position: Position, answer: Answer, end: int | None = None) -> Position:
    """Returns the position before the latent `end` (None: after all); answer(latent, state, prior) gives each one's symbols."""
    latents = model.ordered_latents()
    for latent in latents[position.index : end]:
        if position.foreseen is None:
            position = at_stride(model, position, latent.stride)
            state, prior = latent.prior(position.state)
        else:
            state, prior = position.foreseen[0].copy(), position.foreseen[1]
            position = replace(position, stride=latent.stride, foreseen=None)
        position = replace(position, state=state, index=position.index + 1)  # the state before is not needed any more
        state = latent.advance(state, prior, answer(latent, state, prior))
        position = replace(position, state=state)
    return position


def at_stride(model: Model, position: Position, stride: int) -> Position:
    """Returns the position with its state brought to a finer stride, or as it is if the stride is no finer."""
    state, reached = position.state, position.stride
    while reached > stride:
        reached //= 2
        state = model.ascend(state, reached, position.height, position.width)
    return replace(position, state=state, stride=reached)
