"""The lossless layer of a picture: which way to code it, from which level, and its bytes.

Room: coders. It chooses between the ways to code the layer; `tiles` codes. Must not import the codec.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hcodec.coders import tiles
from hcodec.coders.tiles import Pushed, Source
from hcodec.coding.stack import Stack
from hcodec.container import lossless_layer
from hcodec.container.lossless_layer import BITS_BACK, CELL, DIRECT, METHODS, STORED, LosslessLayer
from hcodec.errors import FormatError, HcodecError
from hcodec.models import registry
from hcodec.pixels import stored

if TYPE_CHECKING:
    from torch import Tensor

    from hcodec.models.lossless.model import LosslessModel
    from hcodec.models.photo.prefix import Prefix

_RUN, _RUNS = 6, 3  # ways to code a picture are compared on so many runs of so many cells in each direction
_SLACK = 1.05  # by which a quick attempt at storing may be longer; a proper one is shorter by up to a fifth, mostly less
Pixels = NDArray[np.uint8]
States = Mapping[int, "Tensor"]


@dataclass(frozen=True)
class LosslessCode:
    """The lossless layer of a picture, and what it cost.

    start: the level that it builds on (the levels after it are not needed). Of the bits on its stack, gross_bits were pushed and
    refunded_bits popped before.
    """

    data: bytes
    method: str
    start: int
    gross_bits: float
    refunded_bits: float


@dataclass(frozen=True)
class Candidate:
    """A level that the lossless layer may build on: the prefix that ends with it, and the bits that starting there costs."""

    level: int
    prefix: Prefix
    num_bits: float


def encode(
    base: bytes, candidates: Iterable[Candidate], pixels: Pixels, gray: bool, first_bytes: Callable[[int], int]
) -> LosslessCode:
    """Returns the shortest lossless layer found for a picture uint8 (H, W, 3).

    base: the model's fingerprint; candidates: as `choose` takes them; first_bytes: how many bytes the file saves with a layer
    that needs no more than the first level, given the level that it would otherwise build on.
    """
    model, stack = registry.load_lossless(base), Stack()
    source, with_latents, bits = choose(model, pixels, gray, candidates)
    pushed = tiles.push_picture(model, stack, source, pixels, with_latents)
    method = BITS_BACK if any(pushed.flags) else DIRECT
    stacked = stack.to_bytes()
    coded = LosslessLayer(method, stacked, source.start, model.fingerprint, pushed.flags, pushed.crcs).pack()
    limit = len(coded) + first_bytes(source.start)
    plain = _stored(pixels, gray, limit - len(stacked) + bits / 8, limit)
    if plain is not None:
        return LosslessCode(LosslessLayer(STORED, plain).pack(), METHODS[STORED], 1, 8.0 * len(plain), 0.0)
    return LosslessCode(coded, METHODS[method], source.start, pushed.gross_bits, pushed.refunded_bits)


def choose(model: LosslessModel, pixels: Pixels, gray: bool, candidates: Iterable[Candidate]) -> tuple[Source, bool, float]:
    """Returns where to start, whether to use fine latents, and the bits of the stack, judged on parts of a picture.

    pixels: uint8 (H, W, 3); candidates: by rising level, tried until one costs more than the one before.
    HcodecError if none of them will do.
    """
    rows, columns = (_sampled(edge) for edge in pixels.shape[:2])
    piece = _parts(pixels)
    share = piece.size / pixels.size
    best: tuple[Source, Source, float, float] | None = None
    for candidate in candidates:
        if candidate.level not in model.starts:
            continue
        source = Source(candidate.prefix.at_finest().cpu(), candidate.level, gray)
        probe = Source(source.state[:, rows][:, :, columns], candidate.level, gray)
        bits = tiles.estimate(model, probe, piece, False) / share
        if best is not None and bits + candidate.num_bits >= best[2] + best[3]:
            break
        best = source, probe, bits, candidate.num_bits
    if best is None:
        raise HcodecError(f"the lossless layer builds on level {min(model.starts)} or a later one; keep that many levels")
    source, probe, bits, _ = best
    with_latents = tiles.estimate(model, probe, piece, True) / share
    return source, with_latents < bits, min(bits, with_latents)


def _sampled(edge: int) -> NDArray[np.intp]:
    """Returns which cells along an edge of so many pixels are tried: three runs from end to end, or all where they are few."""
    cells = -(-edge // CELL)
    if cells <= _RUNS * _RUN:
        return np.arange(cells)
    return np.concatenate([np.arange(_RUN) + (cells - _RUN) * i // (_RUNS - 1) for i in range(_RUNS)])


def _parts(pixels: Pixels) -> Pixels:
    """Returns the parts of a picture uint8 (H, W, 3) on which ways to code it are compared, put together."""
    where = []
    for edge in pixels.shape[:2]:
        inside = (_sampled(edge)[:, None] * CELL + np.arange(CELL)).ravel()
        where.append(inside[inside < edge])
    return pixels[np.ix_(*where)]


def _stored(pixels: Pixels, gray: bool, expected: float, limit: int) -> bytes | None:
    """Returns the picture as an ordinary lossless file if that is shorter than `limit` bytes, else None.

    expected: bytes of the layer without, judged on the same parts as a quick attempt, which must come near before more is tried.
    """
    plane, parts = (np.ascontiguousarray(x[..., 0]) if gray else x for x in (pixels, _parts(pixels)))
    if min(stored.fast_size(parts), parts.size) * plane.size > _SLACK * expected * parts.size:
        return None
    data = stored.encode(plane)
    return data if len(data) < limit else None


def decode(base: bytes, data: bytes, states: States, size: tuple[int, int], gray: bool) -> Pixels:
    """Returns the exact picture uint8 (H, W, 3), size (H, W), from its lossless layer. Raises FormatError, ModelError."""
    parts = lossless_layer.parse(data, *size)
    if parts.method == STORED:
        (plane,) = stored.decode_chain(parts.coded, [size])
        return np.repeat(plane[..., None], 3, 2) if plane.ndim == 2 else plane
    model = registry.load_lossless(base, parts.fingerprint)
    if parts.start not in model.starts or parts.start not in states:
        raise FormatError(f"the lossless layer builds on level {parts.start}, which it cannot")
    stack = Stack(parts.coded)
    source = Source(states[parts.start], parts.start, gray)
    pixels = tiles.pop_picture(model, stack, source, size, Pushed(parts.flags, parts.crcs))
    if not stack.is_empty:
        raise FormatError("the lossless layer does not end where its pixels end")
    return pixels
