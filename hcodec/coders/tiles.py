"""The pixels of a picture to ANS stacks and back, bit for bit, a stack for each tile; tiles are coded at the same time.

Room: coders. For the lossless layer it is what steps 7 to 10 of encoding and 5 to 7 of decoding are for levels. The
network's part is `models/lossless/walk.py`. Knows nothing of layers and files. FORMAT.md, "The lossless layer".
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hcodec.coders import prediction_fit
from hcodec.coders.prediction_fit import Coded, Prediction
from hcodec.coding.stack import Stack, stacked
from hcodec.coding.tables import PixelTables
from hcodec.container.lossless_layer import Tile, tiles
from hcodec.errors import FormatError
from hcodec.models.lossless.config import ORDER
from hcodec.models.lossless.model import LosslessModel
from hcodec.models.lossless.walk import Floats, Site, following
from hcodec.models.runtime.threads import Show, each, ignore
from hcodec.models.tables import likelihood

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Source:
    """What the lossless layer starts from: the exact state (1, ceil(H/8), ceil(W/8), width) as a level left it.

    start: that level; gray: the picture's three planes are equal, and only one of them is coded.
    """

    state: Floats
    start: int
    gray: bool


@functools.lru_cache(maxsize=4)
def tables_of(model: LosslessModel) -> PixelTables:
    """Returns the tables of a model, ready for the stack."""
    return PixelTables(model.tables)


class _TileCoder:
    """One tile. `collect` and `pop` both take the way through it; the one brings values, the other finds them."""

    def __init__(self, model: LosslessModel, source: Source, tile: Tile) -> None:
        self.tables, self.tile, self.gray = tables_of(model), tile, source.gray
        self.sites = model.walk(np.ascontiguousarray(source.state[tile.cells]), source.start)

    def is_coded(self, site: Site) -> bool:
        """Whether the values of a site are on the stack; those of a gray picture's further planes are known without."""
        return site.channel == 0 or not self.gray

    def prediction(self, site: Site) -> Prediction:
        """Returns what the network says of the values of a site that lie within the picture."""
        rows, columns, _ = site.where
        height, width = (len(range(*s.indices(edge))) for s, edge in ((rows, self.tile.height), (columns, self.tile.width)))
        parameters = (site.mean, site.scale, site.shape, (4 * site.terms).transpose(2, 0, 1))
        return Prediction(*(x[..., :height, :width].astype(np.int32, order="C") for x in parameters))

    def follow(self, site: Site, values: NDArray[np.int32]) -> Site | None:
        """Returns the next site, given the values of one; beyond the picture, the network takes its own rounded means."""
        full = np.clip(np.floor((site.mean + likelihood.MEAN_STEPS // 2) / likelihood.MEAN_STEPS), 0, 255)
        full[: values.shape[0], : values.shape[1]] = values
        return following(self.sites, full)

    def collect(self, pixels: Pixels) -> Iterator[Coded]:
        """Yields values, whole and table of every site of the tile and of its corrections; pixels (H, W, 3) in coding order."""
        site = next(self.sites, None)
        while site is not None:
            values = pixels[site.where].astype(np.int32)
            if self.is_coded(site):
                prediction = self.prediction(site)
                corrections = prediction_fit.choose(self.tables, values, prediction)
                yield from prediction_fit.coded(corrections, values.size)
                yield values, *prediction_fit.located(prediction, corrections)
            site = self.follow(site, values)

    def pop(self, stack: Stack) -> Pixels:
        """Takes the tile's pixels, uint8 (H, W, 3) in coding order. FormatError if they are none."""
        pixels = np.empty((self.tile.height, self.tile.width, 3), dtype=np.uint8)
        site = next(self.sites, None)
        while site is not None:
            rows, columns, _ = site.where
            values = self.pop_values(stack, site) if self.is_coded(site) else pixels[rows, columns, 0].astype(np.int32)
            if values.size and not 0 <= values.min() <= values.max() <= 255:
                raise FormatError("the lossless layer holds values that are no pixels")
            pixels[site.where] = values
            site = self.follow(site, values)
        return pixels

    def pop_values(self, stack: Stack, site: Site) -> NDArray[np.int32]:
        """Takes the values of a site, and its corrections before them."""
        prediction = self.prediction(site)
        return self.tables.pop(stack, *prediction_fit.located(prediction, prediction_fit.pop(self.tables, stack, prediction)))


def encode(model: LosslessModel, source: Source, pixels: Pixels, show: Show = ignore) -> list[bytes]:
    """Returns the stack of each tile of a picture uint8 (H, W, 3)."""
    ordered = pixels[..., list(ORDER)]

    def encoded(tile: Tile) -> bytes:
        """Returns the stack of one tile."""
        coder = _TileCoder(model, source, tile)
        parts = [(values - whole, table) for values, whole, table in coder.collect(ordered[tile.inside])]
        return stacked(coder.tables, parts)

    return each(encoded, tiles(*pixels.shape[:2]), show)


def decode(model: LosslessModel, source: Source, coded: Sequence[tuple[Tile, bytes, int]]) -> list[Pixels]:
    """Returns the pixels, uint8 (H, W, 3), of tiles with their stacks and checksums. FormatError if they are not as they were."""

    def decoded(one: tuple[Tile, bytes, int]) -> Pixels:
        """Returns one tile."""
        tile, data, crc = one
        stack = Stack(data)
        pixels = _TileCoder(model, source, tile).pop(stack)
        stack.close()
        pixels = np.ascontiguousarray(pixels[..., np.argsort(ORDER)])
        if zlib.crc32(pixels.data) != crc:
            raise FormatError(f"the lossless layer is damaged: the tile at {tile.left},{tile.top} has a wrong checksum")
        return pixels

    return each(decoded, coded)


def estimate(model: LosslessModel, source: Source, pixels: Pixels) -> float:
    """Returns the bits of a picture of one tile by the tables, coding nothing."""
    coder = _TileCoder(model, source, Tile(0, 0, *pixels.shape[:2]))
    return sum(coder.tables.estimate(*one) for one in coder.collect(pixels[..., list(ORDER)]))


def checksums(pixels: Pixels) -> list[int]:
    """Returns the CRC-32 of the pixels, uint8 (H, W, 3), of each tile."""
    return [zlib.crc32(np.ascontiguousarray(pixels[tile.inside]).data) for tile in tiles(*pixels.shape[:2])]
