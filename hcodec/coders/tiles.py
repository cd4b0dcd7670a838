"""The pixels of a picture on an ANS stack and back, bit for bit, tile after tile.

Room: coders. For the lossless layer it is what steps 7 to 10 of encoding and 5 to 7 of decoding are for levels. The
network's part is `TileWalk` in `models/lossless/integer.py`. With fine latents, a tile is coded with bits back
(Townsend et al. 2019, arXiv 1901.04866): pop z from the posterior, push the pixels given z, push z with the prior.
The bits that are popped are those of tiles coded before, the first of which goes without latents. Knows nothing of
layers and files. FORMAT.md, "The lossless layer".
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hcodec.coders import prediction_fit
from hcodec.coders.prediction_fit import Coded, Prediction
from hcodec.coding.stack import Stack
from hcodec.coding.tables import PixelTables
from hcodec.container.lossless_layer import CELL, Tile, tiles
from hcodec.errors import FormatError
from hcodec.models.tables import likelihood

if TYPE_CHECKING:
    from torch import Tensor

    from hcodec.models.lossless.integer import Site
    from hcodec.models.lossless.model import LosslessModel

_BITS_PER_LATENT = 6  # a tile has latents only if so many bits can be borrowed for each; 2 to 3 are needed
_WRAP = 2 * likelihood.MAX_DISTANCE + 1
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Pushed:
    """What is known of the tiles of a picture beside the stack.

    flags: which have latents; crcs: the CRC-32 of their pixels, none where someone else keeps checksums; gross_bits: pushed;
    refunded_bits: popped before; both 0 where unknown.
    """

    flags: Sequence[bool]
    crcs: Sequence[int]
    gross_bits: float = 0.0
    refunded_bits: float = 0.0


@dataclass(frozen=True)
class Source:
    """What the lossless layer starts from: the exact state (1, ceil(H/8), ceil(W/8), width) as a level left it.

    start: that level; gray: the picture's three planes are equal, and only one of them is coded.
    """

    state: Tensor
    start: int
    gray: bool


@functools.lru_cache(maxsize=4)
def tables_of(model: LosslessModel) -> PixelTables:
    """Returns the tables of a model, ready for the stack."""
    return PixelTables(model.tables)


class _TileCoder:
    """One tile on the stack. `push` and `pop` are mirror images, and so are `push_latents` and `pop_latents`."""

    def __init__(self, model: LosslessModel, source: Source, tile: Tile) -> None:
        from hcodec.models.lossless.integer import TileWalk

        self.tables, self.tile, self.gray = tables_of(model), tile, source.gray
        self.walk = TileWalk(model.network, source.state[tile.cells].contiguous(), model.starts.index(source.start))
        self.num_latents = self.walk.state[..., 0].numel() * model.num_latents

    def is_coded(self, site: Site) -> bool:
        """Whether the values of a site are on the stack; those of a gray picture's further planes are known without."""
        return site.channel == 0 or not self.gray

    def prediction(self, site: Site) -> Prediction:
        """Returns what the network says of the values of a site that lie within the picture."""
        rows, columns, _ = site.where
        height, width = (len(range(*s.indices(edge))) for s, edge in ((rows, self.tile.height), (columns, self.tile.width)))
        parameters = (site.mean, site.scale, site.shape, 4 * site.terms)
        return Prediction(*(t[..., :height, :width].numpy().astype(np.int32) for t in parameters))

    def known(self, site: Site, values: NDArray[np.int32]) -> Tensor:
        """Returns the values of a site as the network takes them; beyond the picture, its own rounded means."""
        import torch

        full = ((site.mean + likelihood.MEAN_STEPS // 2) / likelihood.MEAN_STEPS).floor_().clamp_(0, 255)
        full[: values.shape[0], : values.shape[1]] = torch.from_numpy(values)
        return full

    def collect(self, pixels: Pixels) -> list[Coded]:
        """Returns values, whole and table of every site of the tile and of its corrections; pixels (H, W, 3) in coding order."""
        collected: list[Coded] = []
        steps = self.walk.pixels()
        site = next(steps, None)
        while site is not None:
            values = pixels[site.where].astype(np.int32)
            if self.is_coded(site):
                prediction = self.prediction(site)
                corrections = prediction_fit.choose(self.tables, values, prediction)
                collected += [
                    *prediction_fit.coded(corrections, values.size),
                    (values, *prediction_fit.located(prediction, corrections)),
                ]
            site = _send(steps, self.known(site, values))
        return collected

    def push(self, stack: Stack, pixels: Pixels) -> float:
        """Puts the tile's pixels on the stack, last ones first; returns their bits."""
        before = stack.num_bits
        for values, whole, table in reversed(self.collect(pixels)):
            self.tables.push(stack, values, whole, table)
        return stack.num_bits - before

    def pop(self, stack: Stack) -> Pixels:
        """Takes the tile's pixels, uint8 (H, W, 3) in coding order. FormatError if they are none."""
        pixels = np.empty((self.tile.height, self.tile.width, 3), dtype=np.uint8)
        steps = self.walk.pixels()
        site = next(steps, None)
        while site is not None:
            rows, columns, _ = site.where
            values = self.pop_values(stack, site) if self.is_coded(site) else pixels[rows, columns, 0].astype(np.int32)
            if values.size and not 0 <= values.min() <= values.max() <= 255:
                raise FormatError("the lossless layer holds values that are no pixels")
            pixels[site.where] = values
            site = _send(steps, self.known(site, values))
        return pixels

    def pop_values(self, stack: Stack, site: Site) -> NDArray[np.int32]:
        """Takes the values of a site, and its corrections before them."""
        prediction = self.prediction(site)
        return self.tables.pop(stack, *prediction_fit.located(prediction, prediction_fit.pop(self.tables, stack, prediction)))

    def posterior(self, pixels: Pixels) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Returns whole and table of the latents given the tile's pixels."""
        import torch

        height, width = (CELL * edge for edge in self.walk.state.shape[1:3])
        x, inside = torch.zeros(1, height, width, 3), torch.zeros(1, height, width, 1)
        x[0, : self.tile.height, : self.tile.width] = torch.from_numpy(pixels.astype(np.float32))
        inside[0, : self.tile.height, : self.tile.width] = 1
        return _located(self.walk.posterior(x, inside))

    def pop_latents(self, stack: Stack, where: tuple[NDArray[np.int32], NDArray[np.int32]]) -> NDArray[np.int32]:
        """Takes latents distributed as `where` says; they wrap around, so that any two tables reach all of them."""
        return _wrapped(self.tables.pop(stack, *where))

    def push_latents(self, stack: Stack, z: NDArray[np.int32], where: tuple[NDArray[np.int32], NDArray[np.int32]]) -> float:
        """Puts latents on the stack; returns their bits."""
        whole, table = where
        values = whole + _wrapped(z - whole)
        self.tables.push(stack, values, whole, table)
        return self.tables.estimate(values, whole, table)

    def enter(self, z: NDArray[np.int32] | None) -> None:
        """Makes the walk ready for the pixels."""
        import torch

        self.walk.enter(None if z is None else torch.from_numpy(z))

    def prior(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Returns whole and table of the latents before the pixels are known."""
        return _located(self.walk.prior())


def _send(steps: Generator[Site, Tensor, None], values: Tensor) -> Site | None:
    try:
        return steps.send(values)
    except StopIteration:
        return None


def _located(parameters: tuple[Tensor, Tensor]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    mean, scale = (t.numpy().astype(np.int32) for t in parameters)
    return likelihood.locate(mean, scale, np.zeros_like(scale))


def _wrapped(values: NDArray[np.int32]) -> NDArray[np.int32]:
    return (values + likelihood.MAX_DISTANCE) % _WRAP - likelihood.MAX_DISTANCE


def _push_tile(coder: _TileCoder, stack: Stack, pixels: Pixels, with_latents: bool) -> tuple[bool, float, float]:
    """Codes one tile; returns whether it has latents, the bits pushed and those popped before."""
    if not with_latents or stack.num_bits < _BITS_PER_LATENT * coder.num_latents:
        coder.enter(None)
        return False, coder.push(stack, pixels), 0.0
    where, prior = coder.posterior(pixels), coder.prior()
    before = stack.num_bits
    z = coder.pop_latents(stack, where)
    borrowed = before - stack.num_bits
    coder.enter(z)
    gross = coder.push(stack, pixels) + coder.push_latents(stack, z, prior)
    return True, gross, float(borrowed)


def _pop_tile(coder: _TileCoder, stack: Stack, has_latents: bool) -> Pixels:
    """Takes one tile off the stack, the mirror image of `_push_tile`."""
    if not has_latents:
        coder.enter(None)
        return coder.pop(stack)
    before = coder.walk.copy()
    z = coder.pop_latents(stack, coder.prior())
    coder.enter(z)
    pixels = coder.pop(stack)
    coder.walk = before
    coder.push_latents(stack, z, coder.posterior(pixels))
    return pixels


def push_picture(model: LosslessModel, stack: Stack, source: Source, pixels: Pixels, with_latents: bool) -> Pushed:
    """Codes a picture uint8 (H, W, 3) on the stack, last tile first."""
    from hcodec.models.integer.kernels import exact_products

    ordered = np.ascontiguousarray(pixels[..., list(model.order)])
    with exact_products():
        done = [
            _push_tile(_TileCoder(model, source, tile), stack, ordered[tile.inside], with_latents)
            for tile in reversed(tiles(*pixels.shape[:2]))
        ]
    flags, gross, refunded = zip(*reversed(done), strict=True)
    return Pushed(flags, tuple(checksums(pixels)), sum(gross), sum(refunded))


def pop_picture(model: LosslessModel, stack: Stack, source: Source, size: tuple[int, int], pushed: Pushed) -> Pixels:
    """Returns what `push_picture` coded, uint8 (H, W, 3). FormatError if a tile's pixels are not those of its checksum."""
    from hcodec.models.integer.kernels import exact_products

    pixels = np.empty((*size, 3), dtype=np.uint8)
    with exact_products():
        for tile, has_latents, crc in zip_longest(tiles(*size), pushed.flags, pushed.crcs):
            part = _pop_tile(_TileCoder(model, source, tile), stack, has_latents)
            pixels[tile.inside] = part[..., np.argsort(model.order)]
            if crc is not None and zlib.crc32(np.ascontiguousarray(pixels[tile.inside]).data) != crc:
                raise FormatError(f"the lossless layer is damaged: the tile at {tile.left},{tile.top} has a wrong checksum")
    return pixels


def estimate(model: LosslessModel, source: Source, pixels: Pixels, with_latents: bool) -> float:
    """Returns the net bits of a picture of one tile by the tables, coding nothing; at most TILE pixels each way.

    With latents, these are drawn once: a sample of the negative ELBO, which is what bits back costs on average.
    """
    from hcodec.models.integer.kernels import exact_products

    coder = _TileCoder(model, source, Tile(0, 0, *pixels.shape[:2]))
    ordered = np.ascontiguousarray(pixels[..., list(model.order)])
    bits = 0.0
    with exact_products():
        z = None
        if with_latents:
            where, prior = coder.posterior(ordered), coder.prior()
            stack = Stack(np.random.default_rng(0).bytes(4 * coder.num_latents))  # never written anywhere
            z = coder.pop_latents(stack, where)
            bits = coder.push_latents(stack, z, prior) - coder.push_latents(stack, z, where)
        coder.enter(z)
        return bits + sum(coder.tables.estimate(*one) for one in coder.collect(ordered))


def checksums(pixels: Pixels) -> list[int]:
    """Returns the CRC-32 of the pixels, uint8 (H, W, 3), of each tile."""
    return [zlib.crc32(np.ascontiguousarray(pixels[tile.inside]).data) for tile in tiles(*pixels.shape[:2])]
