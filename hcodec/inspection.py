"""What the levels of a picture hold: where their bits go, and how far they surprise the model.

Room: codec, above `session`; beside the data's path. Bits are information contents under the prior, before scale offsets are
fitted, which save about half a percent. The latents of `photo` are rounded, so this is the KL of a level, too: a posterior of
one unit's width against the prior, in bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcodec import models
from hcodec.coders.levels import Level
from hcodec.coding.stack import Symbols
from hcodec.coding.tables import SymbolTables
from hcodec.container.window import Window
from hcodec.models.photo.config import FINEST
from hcodec.models.photo.prefix import Prefix
from hcodec.models.tables.symbol_tables import MAX_SYMBOL
from hcodec.mosaic import Rectangle
from hcodec.session import Encoder, Pixels

Map = NDArray[Any]  # numbers
Cells = tuple[slice, ...]


@dataclass
class LevelView:
    """One level of a picture of num_pixels pixels. number: from 1.

    bits, expected: spent, and the entropy of the priors: what the model expects of a picture that it drew itself. rate: where
    they were spent, bits a pixel of each 8x8 cell, (ceil(H/8), ceil(W/8)).
    """

    number: int
    num_pixels: int
    rate: Map
    bits: float = 0.0
    expected: float = 0.0

    @property
    def bpp(self) -> float:
        """Bits a pixel."""
        return self.bits / self.num_pixels

    @property
    def surprise(self) -> float:
        """Bits spent for each bit expected: about 1 for what the model was trained on, more for what it does not know."""
        return self.bits / self.expected if self.expected else 1.0

    def add(self, place: Cells, stride: int, spent: Map, expected: Map) -> None:
        """Adds the bits of the cells of a latent, (h, w), which lies at a place of the map."""
        self.bits += float(spent.sum(dtype=np.float64))
        self.expected += float(expected.sum(dtype=np.float64))
        room, times = self.rate[place], stride // FINEST
        room += np.repeat(np.repeat(spent, times, 0), times, 1)[: room.shape[0], : room.shape[1]] / stride**2


def inspect(pixels: Pixels, model: models.Model) -> list[LevelView]:
    """Returns all levels of a picture, uint8 (H, W, 3), coarse first."""
    encoder = Encoder(model, pixels)
    views = [LevelView(number, pixels[..., 0].size, _room(encoder)) for number in range(1, model.config.num_levels + 1)]
    fine, coarse = views[model.config.num_coarse :], Prefix.empty(model.walk, *encoder.size)
    for view, level in zip(views, encoder.coarse_levels(), strict=False):
        _add(view, encoder, Window(0, 0, *encoder.size), level)
        coarse = level[1]
    for window in encoder.windows:
        for view, level in zip(fine, encoder.levels(coarse, window), strict=True):
            _add(view, encoder, window, level)
    return views


def _room(encoder: Encoder) -> Map:
    height, width = encoder.size
    return np.zeros((-(-height // FINEST), -(-width // FINEST)), dtype=np.float32)


def _add(view: LevelView, encoder: Encoder, window: Window, level: Level) -> None:
    """Adds the latents of a level, of the picture or of a window, to its view."""
    place = Rectangle.of(window).cells(FINEST)[1:]
    for (stride, _), latent in zip(encoder.model.config.levels[view.number - 1], level[0], strict=True):
        view.add(place, stride, *_bits(encoder.tables, *latent))


def _bits(tables: SymbolTables, symbols: Symbols, indices: NDArray[np.uint8]) -> tuple[Map, Map]:
    """Returns the bits of each cell of a latent, (h, w): spent, and expected."""
    loud = indices[0] >= tables.num_silent
    spent = np.where(loud, tables.square[indices[0], symbols[0] + MAX_SYMBOL], 0).sum(-1)
    return spent, np.where(loud, tables.mean_bits[indices[0]], 0).sum(-1)
