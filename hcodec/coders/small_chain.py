"""Chains of small pictures: bits back over all levels of a chain model, on one stack.

Room: coders. It knows models and entropy coding, no files (an archive stores its bytes). A picture is pushed in three
steps, and popped by the same steps upside down (Townsend et al. 2019, arXiv 1901.04866; top-down posteriors over all
levels as in HiLLoC, arXiv 1912.09953):

    push: pop z ~ q(z | x),  push x ~ p(x | z),  push z ~ p(z)
    pop:  pop z ~ p(z),      pop x ~ p(x | z),   push z ~ q(z | x)

The bits that a picture borrows are those of pictures pushed before it. While there are too few, pictures go directly, with all
latents zero and none coded; one flag a picture says which. So no bits are hidden, and the stack ends as empty as it began.
Pictures are pushed last one first, hence popped in order. FORMAT.md, "Small pictures".
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hcodec.coding.stack import Stack
from hcodec.coding.tables import PixelTables
from hcodec.errors import FormatError, PictureError
from hcodec.models import registry
from hcodec.models.tables.likelihood import MAX_DISTANCE, MEAN_STEPS, Ints, locate

if TYPE_CHECKING:
    from hcodec.models.small.model import SmallModel
    from hcodec.models.small.planes import Planes
    from hcodec.models.small.walk import SmallPixels, Visit, Visited
    from hcodec.pixels.picture import Picture

Pixels = NDArray[np.uint8]
MAX_EDGE = 64
_GRAY, _COLOR = "mnist-1", "small-1"  # the models that new chains are made with
_CRC_BYTES = 4  # format
_BORROWED = np.ones(1, dtype=np.int32)  # format: the flag of a picture whose latents were popped
_DIRECT = np.zeros(1, dtype=np.int32)  # format
_FLAG = locate(MEAN_STEPS * _BORROWED, _DIRECT, _DIRECT)  # format: the likelier flag is the mean, the narrowest table
_DEVIATIONS = 8  # of what the latents may take beyond the expected number of bits
_STATE_BITS = 64  # of the coder; below, a pop finds nothing


@dataclass(frozen=True)
class ChainReport:
    """What a chain cost: gross_bits were pushed, refunded_bits popped for latents; num_bytes are left, checksum included."""

    num_pictures: int
    num_direct: int
    gross_bits: int
    refunded_bits: int
    num_bytes: int

    @property
    def net_bits(self) -> int:
        """The bits of the chain's bytes."""
        return 8 * self.num_bytes


def fits(pictures: Sequence[Picture]) -> str | None:
    """Returns the name of the installed model for pictures of this size and kind, or None if there is none."""
    shapes = {picture.pixels.shape[:2] for picture in pictures}
    if not shapes:
        return None
    gray = {picture.gray for picture in pictures}
    if gray == {True}:
        name = _GRAY if shapes == {(28, 28)} else None
    else:
        name = _COLOR if gray == {False} and max(map(max, shapes)) <= MAX_EDGE else None
    return name if name in registry.names(registry.SMALL) else None


def encode_chain(pixels: Sequence[Pixels], model: str) -> bytes:
    """Returns the chain of pictures uint8 (H, W, 3), or (H, W) for a gray model; PictureError unless the model takes them."""
    return encode_with_report(pixels, model)[0]


def encode_with_report(
    pixels: Sequence[Pixels], model: str, borrow: bool = True, below: bytes = b""
) -> tuple[bytes, ChainReport]:
    """Returns the chain and what it cost, and what it is compared with.

    borrow: False codes every picture directly. below: the bytes of a stack that other things lie on already, as in the middle
    of a longer chain; they are part of the result, but not of the report, and no decoder here takes them.
    """
    chain = _Chain(registry.load_small(model), Stack(below))
    channels = chain.walk.config.channels
    for picture in pixels:
        _check(picture, channels)
    for picture in reversed(pixels):
        chain.push(picture, borrow)
    data = _checksum(pixels) + chain.stack.to_bytes()
    num_bytes = len(data) - len(below)
    return data, ChainReport(len(pixels), chain.num_direct, chain.gross_bits, chain.refunded_bits, num_bytes)


def fingerprint(model: str) -> bytes:
    """Returns the fingerprint of an installed chain model; ModelError if there is none of that name."""
    return registry.load_small(model).fingerprint


def find(fingerprint: bytes) -> str:
    """Returns the name of the installed chain model with this fingerprint; ModelError if there is none."""
    return registry.find(fingerprint, registry.SMALL)


def decode_chain(data: bytes, sizes: Sequence[tuple[int, int]], model: str) -> list[Pixels]:
    """Returns the pictures of a chain, from their sizes (height, width); FormatError unless it comes out even."""
    if any(not 1 <= edge <= MAX_EDGE for size in sizes for edge in size):
        raise FormatError(f"a picture of a chain has a side beyond 1..{MAX_EDGE}")
    chain = _Chain(registry.load_small(model), Stack(data[_CRC_BYTES:]))
    pixels = [chain.pop(height, width) for height, width in sizes]
    if not chain.stack.is_empty:
        raise FormatError("a chain does not end where its pictures end")
    if _checksum(pixels) != data[:_CRC_BYTES]:
        raise FormatError("the pictures of a chain do not have its checksum")
    return pixels


def _check(picture: Pixels, channels: int) -> None:
    shape = picture.shape
    kind = (channels,) if channels > 1 else ()
    if picture.dtype != np.uint8 or shape[2:] != kind or not 1 <= min(shape[:2]) <= max(shape[:2]) <= MAX_EDGE:
        raise PictureError(f"no picture for a chain of {channels} channels: {picture.dtype} {shape}")


def _checksum(pixels: Iterable[Pixels]) -> bytes:
    crc = functools.reduce(lambda crc, picture: zlib.crc32(np.ascontiguousarray(picture).tobytes(), crc), pixels, 0)
    return crc.to_bytes(_CRC_BYTES, "little")


class _NotCodable(Exception):
    """A picture cannot be coded with latents: the stack holds too few bits, or a value is beyond what priors reach."""


class _Chain:
    """A stack with a model: `push` and `pop` of one picture, mirror images of each other."""

    def __init__(self, model: SmallModel, stack: Stack) -> None:
        self.walk, self.stack = model.walk, stack
        self.likelihood = _likelihood(model)
        self.num_direct = self.gross_bits = self.refunded_bits = 0

    def push(self, pixels: Pixels, borrow: bool) -> None:
        """Puts a picture on the stack."""
        planes = self.walk.planes.split(pixels)
        before = self.stack.num_bits
        found = self._pop_posterior(planes) if borrow else None
        after = self.stack.num_bits
        self.num_direct += found is None
        given, visited = found or (self._given_zeros(*pixels.shape[:2]), [])
        self._push_planes(given, planes)
        self._push_prior(visited)
        self.likelihood.push(self.stack, _DIRECT if found is None else _BORROWED, *_FLAG)
        self.refunded_bits += before - after
        self.gross_bits += self.stack.num_bits - after

    def pop(self, height: int, width: int) -> Pixels:
        """Takes a picture from the stack; FormatError on what `push` cannot have put there."""
        if self.stack.is_empty:
            raise FormatError("a chain ends before its pictures do")
        flag = int(self.likelihood.pop(self.stack, *_FLAG)[0])
        if flag not in (int(_BORROWED[0]), int(_DIRECT[0])):
            raise FormatError("a picture of a chain is neither borrowed nor direct")
        given, visited = self._pop_prior(height, width) if flag else (self._given_zeros(height, width), [])
        pixels = self.walk.planes.merge(self._pop_planes(given, height, width))
        self._push_posterior(visited, self.walk.planes.split(pixels))
        return pixels

    def _pop_posterior(self, planes: Planes) -> tuple[SmallPixels, Visited] | None:
        """Pops z ~ q(z | x); None, the stack as before, if it holds too few bits, or values beyond the reach of priors."""
        visited: Visited = []
        features = self.walk.analyze(planes)

        def value(visit: Visit) -> Ints:
            """Pops one latent; _NotCodable if that cannot be."""
            whole, table = visit.posterior(features)
            if self.stack.num_bits < self._need(table):
                raise _NotCodable
            return self.likelihood.pop(self.stack, whole, table)

        try:
            given = self.walk.descend((planes.shape[0], planes.shape[1]), value, visited)
            if max(int(np.abs(z).max()) for _, z in visited) > MAX_DISTANCE:
                raise _NotCodable
        except _NotCodable:
            self._push_posterior(visited, planes)
            return None
        return given, visited

    def _push_posterior(self, visited: Visited, planes: Planes) -> None:
        """Pushes z ~ q(z | x), what `_pop_posterior` popped."""
        features = self.walk.analyze(planes) if visited else {}
        for visit, z in reversed(visited):
            whole, table = visit.posterior(features)
            if np.abs(z - whole).max() > MAX_DISTANCE:
                raise FormatError("a latent of a chain is beyond its posterior")
            self.likelihood.push(self.stack, z, whole, table)

    def _push_planes(self, pixels: SmallPixels, planes: Planes) -> None:
        """Pushes x ~ p(x | z), the last plane first."""
        for plane in reversed(range(planes.shape[-1])):
            coded = self.walk.planes.coded(planes, plane)
            whole, table = pixels.given(planes, plane)
            if coded.any():
                self.likelihood.push(self.stack, planes[..., plane][coded], whole[coded], table[coded])

    def _pop_planes(self, pixels: SmallPixels, height: int, width: int) -> Planes:
        """Pops x ~ p(x | z): returns what `_push_planes` pushed."""
        planes: Planes = np.zeros((height, width, 3), dtype=np.int32)
        for plane in range(planes.shape[-1]):
            coded = self.walk.planes.coded(planes, plane)
            whole, table = pixels.given(planes, plane)
            if coded.any():
                planes[..., plane][coded] = self.likelihood.pop(self.stack, whole[coded], table[coded])
        return planes

    def _push_prior(self, visited: Visited) -> None:
        """Pushes z ~ p(z), the finest latent first."""
        for visit, z in reversed(visited):
            self.likelihood.push(self.stack, z, *visit.prior.located())

    def _pop_prior(self, height: int, width: int) -> tuple[SmallPixels, Visited]:
        """Pops z ~ p(z): returns what `_push_prior` pushed, and how the planes are distributed given that."""
        visited: Visited = []
        given = self.walk.descend((height, width), lambda visit: self.likelihood.pop(self.stack, *visit.prior.located()), visited)
        return given, visited

    def _given_zeros(self, height: int, width: int) -> SmallPixels:
        """Returns how the planes of a picture that goes directly are distributed: every latent is zero, the prior's mean."""
        return self.walk.descend((height, width), lambda visit: np.zeros_like(visit.prior.scale), [])

    def _need(self, table: Ints) -> float:
        """Returns how many bits the stack must hold before values of these tables are popped."""
        bits, variance = _entropies(self.likelihood)
        return float(bits[table].sum() + _DEVIATIONS * np.sqrt(variance[table].sum()) + _STATE_BITS)


@functools.cache
def _likelihood(model: SmallModel) -> PixelTables:
    return PixelTables(model.tables)


@functools.cache
def _entropies(likelihood: PixelTables) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns mean and variance of the bits that a value of each table takes."""
    mean = (np.exp2(-likelihood.bits) * likelihood.bits).sum(1)
    return mean, (np.exp2(-likelihood.bits) * likelihood.bits**2).sum(1) - mean**2
