"""The lossless layer of a picture: which way to code it, from which level, and its bytes.

Room: codec's own helper for the last layer, as `stream` is for arriving bytes. Must not import the codec.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hcodec import payload, stored, tiles
from hcodec.entropy import Stack
from hcodec.errors import FormatError, HcodecError
from hcodec.models import zoo
from hcodec.payload import BITS_BACK, CELL, DIRECT, METHODS, STORED, LastPayload
from hcodec.tiles import Pushed, Source

if TYPE_CHECKING:
    from torch import Tensor

    from hcodec.models.zoo import LastModel

_PROBE = 16 * CELL  # edge of the piece of the picture on which ways to code it are compared
_NEARLY = 1.05  # a stored picture that a fast attempt brings this near gets the slow attempt
Pixels = NDArray[np.uint8]
States = Mapping[int, "Tensor"]


@dataclass(frozen=True)
class LastCode:
    """The lossless layer of a picture, and what it cost.

    start: the level that it builds on (the levels after it are not needed). Of the bits on its stack, gross_bits were pushed and
    refunded_bits popped before.
    """

    data: bytes
    method: str
    start: int
    gross_bits: float
    refunded_bits: float


def encode(base: bytes, states: States, layers: Sequence[bytes], pixels: Pixels, gray: bool, levels: int | None) -> LastCode:
    """Returns the shortest lossless layer found for a picture uint8 (H, W, 3).

    base: the model's fingerprint; states: the exact state at stride 8 after each level; layers: of the levels;
    levels: how many of them the file will carry whatever the lossless layer needs; None lets the total decide.
    """
    model = zoo.load_last(base)
    sizes = [sum(map(len, layers[:level])) for level in range(len(layers) + 1)]
    source, with_latents = choose(model, states, pixels, gray, sizes if levels is None else [0] * len(sizes))
    stack = Stack()
    pushed = tiles.push_picture(model, stack, source, pixels, with_latents)
    method = BITS_BACK if any(pushed.flags) else DIRECT
    coded = LastPayload(method, stack.to_bytes(), source.start, model.fingerprint, pushed.flags, pushed.crcs).pack()
    limit = len(coded) if levels is not None else len(coded) + sizes[source.start] - sizes[1]
    plain = _stored(pixels, gray, limit)
    if plain is not None:
        return LastCode(LastPayload(STORED, plain).pack(), METHODS[STORED], 1, 8.0 * len(plain), 0.0)
    return LastCode(coded, METHODS[method], source.start, pushed.gross_bits, pushed.refunded_bits)


def choose(model: LastModel, states: States, pixels: Pixels, gray: bool, sizes: Sequence[float]) -> tuple[Source, bool]:
    """Returns where to start and whether to use fine latents, judged on the middle of the picture uint8 (H, W, 3).

    states: by level; sizes: bytes of the levels up to each, from none on. HcodecError if the layer can start from no state.
    """
    top, left = (max(0, (edge - _PROBE) // 2) // CELL * CELL for edge in pixels.shape[:2])
    piece = np.ascontiguousarray(pixels[top : top + _PROBE, left : left + _PROBE])
    share, costs = piece.size / pixels.size, {}
    for level in model.starts:
        if level in states:
            probe = Source(_piece(states[level], top, left), level, gray)
            costs[level] = tiles.estimate(model, probe, piece, False) / share + 8 * sizes[level]
    if not costs:
        raise HcodecError(f"there are {len(sizes) - 1} levels; the lossless layer builds on level {min(model.starts)} or later")
    best = min(costs, key=costs.__getitem__)
    source = Source(states[best], best, gray)
    probe = Source(_piece(source.state, top, left), best, gray)
    return source, tiles.estimate(model, probe, piece, True) / share + 8 * sizes[best] < costs[best]


def _piece(state: Tensor, top: int, left: int) -> Tensor:
    rows, columns = (slice(edge // CELL, (edge + _PROBE) // CELL) for edge in (top, left))
    return state[:, rows, columns].contiguous()


def _stored(pixels: Pixels, gray: bool, limit: int) -> bytes | None:
    """Returns the picture as an ordinary lossless file if that is shorter than `limit` bytes, else None."""
    plane = np.ascontiguousarray(pixels[..., 0]) if gray else pixels
    if min(stored.fast_size(plane), plane.size) > _NEARLY * limit:
        return None
    data = stored.encode(plane)
    return data if len(data) < limit else None


def decode(base: bytes, data: bytes, states: States, size: tuple[int, int], gray: bool) -> Pixels:
    """Returns the exact picture uint8 (H, W, 3), size (H, W), from its lossless layer. Raises FormatError, ModelError."""
    parts = payload.parse(data, *size)
    if parts.method == STORED:
        (plane,) = stored.decode_chain(parts.coded, [size])
        return np.repeat(plane[..., None], 3, 2) if plane.ndim == 2 else plane
    model = zoo.load_last(base, parts.fingerprint)
    if parts.start not in model.starts or parts.start not in states:
        raise FormatError(f"the lossless layer builds on level {parts.start}, which it cannot")
    stack = Stack(parts.coded)
    source = Source(states[parts.start], parts.start, gray)
    pixels = tiles.pop_picture(model, stack, source, size, Pushed(parts.flags, parts.crcs))
    if not stack.is_empty:
        raise FormatError("the lossless layer does not end where its pixels end")
    return pixels
