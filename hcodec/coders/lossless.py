"""The lossless layer of a picture: which way to code it, from which level, and its bytes.

Room: coders. It chooses between the ways to code the layer; `tiles` codes. Must not import the codec.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hcodec.coders import stored, tiles
from hcodec.coders.tiles import Source
from hcodec.container import lossless_layer
from hcodec.container.lossless_layer import CELL, CODED, METHODS, STORED, LosslessLayer
from hcodec.errors import FormatError, HcodecError
from hcodec.models import registry
from hcodec.models.lossless.model import LosslessModel
from hcodec.models.lossless.walk import Floats
from hcodec.models.photo.prefix import Prefix
from hcodec.models.runtime.backend import ANY, Backend
from hcodec.models.runtime.threads import Show, ignore

_RUN, _RUNS = 6, 3  # ways to code a picture are compared on so many runs of so many cells in each direction
_SLACK = 1.05  # by which a quick attempt at storing may be longer; a proper one is shorter by up to a fifth, mostly less
Pixels = NDArray[np.uint8]
StateAfter = Callable[[int], Floats]  # a level -> the state at stride 8 as it left it; FormatError if it is not there


@dataclass(frozen=True)
class LosslessCode:
    """The lossless layer of a picture. start: the level that it builds on; the levels after it are not needed."""

    data: bytes
    method: str
    start: int


@dataclass(frozen=True)
class Candidate:
    """A level that the lossless layer may build on: the prefix that ends with it, and the bits that starting there costs."""

    level: int
    prefix: Prefix
    num_bits: float


def encode(
    base: bytes,
    candidates: Iterable[Candidate],
    pixels: Pixels,
    gray: bool,
    first_bytes: Callable[[int], int],
    backend: Backend = ANY,
    show: Show = ignore,
) -> LosslessCode:
    """Returns the shortest lossless layer found for a picture uint8 (H, W, 3).

    base: the model's fingerprint; candidates: as `choose` takes them; first_bytes: how many bytes the file saves with a layer
    that needs no more than the first level, given the level that it would otherwise build on; show: gets the share that is done.
    """
    model = registry.load_lossless(base, backend=backend)
    source, bits = choose(model, pixels, gray, candidates)
    stacks = tiles.encode(model, source, pixels, show)
    coded = LosslessLayer(CODED, b"", source.start, model.fingerprint, tiles.checksums(pixels), stacks).pack()
    limit = len(coded) + first_bytes(source.start)
    plain = _stored(pixels, gray, limit - sum(map(len, stacks)) + bits / 8, limit)
    if plain is not None:
        return LosslessCode(LosslessLayer(STORED, plain).pack(), METHODS[STORED], 1)
    return LosslessCode(coded, METHODS[CODED], source.start)


def choose(model: LosslessModel, pixels: Pixels, gray: bool, candidates: Iterable[Candidate]) -> tuple[Source, float]:
    """Returns where to start, and the bits of the stacks, judged on parts of a picture.

    pixels: uint8 (H, W, 3); candidates: by rising level, tried until one costs more than the one before.
    HcodecError if none of them will do.
    """
    rows, columns = (_sampled(edge) for edge in pixels.shape[:2])
    piece = _parts(pixels)
    share = piece.size / pixels.size
    best: tuple[Source, float] | None = None
    least = np.inf
    for candidate in candidates:
        if candidate.level not in model.starts:
            continue
        source = Source(candidate.prefix.at_finest(), candidate.level, gray)
        bits = tiles.estimate(model, replace(source, state=source.state[:, rows][:, :, columns]), piece) / share
        if bits + candidate.num_bits >= least:
            break
        best, least = (source, bits), bits + candidate.num_bits
    if best is None:
        raise HcodecError(f"the lossless layer builds on level {min(model.starts)} or a later one; keep that many levels")
    return best


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


def decode(
    base: bytes,
    data: bytes,
    state_after: StateAfter,
    size: tuple[int, int],
    gray: bool,
    region: tuple[slice, slice] | None = None,
    backend: Backend = ANY,
) -> Pixels:
    """Returns the exact picture uint8 (H, W, 3), size (H, W), from its lossless layer. Raises FormatError, ModelError.

    base: the model's fingerprint. region: the index of the part to return, rows and columns with
    beginnings and ends; then only the tiles that it touches are decoded.
    """
    region = region or (slice(0, size[0]), slice(0, size[1]))
    parts = lossless_layer.parse(data, *size)
    if parts.method == STORED:
        (plane,) = stored.decode_chain(parts.stored, [size])
        return (np.repeat(plane[..., None], 3, 2) if plane.ndim == 2 else plane)[region]
    model = registry.load_lossless(base, parts.fingerprint, backend)
    if parts.start not in model.starts:
        raise FormatError(f"the lossless layer builds on level {parts.start}, which it cannot")
    coded = zip(lossless_layer.tiles(*size), parts.stacks, parts.crcs, strict=True)
    chosen = [one for one in coded if one[0].touches(region)]
    pixels = np.empty((*size, 3), dtype=np.uint8)
    found = tiles.decode(model, Source(state_after(parts.start), parts.start, gray), chosen)
    for (tile, _, _), part in zip(chosen, found, strict=True):
        pixels[tile.inside] = part
    return pixels[region]
