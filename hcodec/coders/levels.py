"""One level of a window as a piece of the file, and back: symbols, and the scale offsets that are fitted to the picture.

Room: coders (encode steps 5 to 9, decode steps 4 to 7). `encoded` and `decoded` are mirror images around
`Prefix.extended`: one asks the posterior for the symbols and pushes them, the other pops them. FORMAT.md, "Layers".
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from hcodec.coders import scale_offsets
from hcodec.coding.stack import Part, Stack, Symbols, stacked
from hcodec.coding.tables import SymbolTables
from hcodec.models.photo.model import Model
from hcodec.models.photo.prefix import Prefix
from hcodec.models.photo.walk import Floats, LatentSteps, Prior

# what a latent is to be, in steps from the prior's mean and not rounded yet; from the latent, its state and its prior
Wanted = Callable[[LatentSteps, Floats, Prior], Floats]
# symbols (int32) and scale indices (uint8), (1, H_l, W_l, C_l), of each latent, and the prefix that ends with them
Level = tuple[list[Part], Prefix]
_LEAST_PIXELS = 128 * 128  # below it no offset is worth its bits


def has_offsets(height: int, width: int) -> bool:
    """Returns whether a picture's latents bring scale offsets, be it some that change nothing."""
    return height * width >= _LEAST_PIXELS


@functools.lru_cache(maxsize=4)
def tables_of(model: Model) -> SymbolTables:
    """Returns the tables of a model, ready for the stack."""
    return SymbolTables(model.tables)


def encoded(tables: SymbolTables, prefix: Prefix, wanted: Wanted) -> Level:
    """Returns the level after a prefix."""
    parts: list[Part] = []

    def answer(latent: LatentSteps, state: Floats, prior: Prior) -> Floats:
        """Returns the symbols that tables can hold, and keeps them."""
        index = np.ascontiguousarray(prior.index[prefix.inside])
        parts.append((tables.nearest(wanted(latent, state, prior)[prefix.inside], index), index))
        return _placed(prefix, parts[-1][0], prior)

    extended = prefix.extended(answer)
    return parts, extended


def _placed(prefix: Prefix, symbols: Symbols, prior: Prior) -> Floats:
    """Returns a window's symbols in a map with its margin, where there are none."""
    placed = np.zeros(prior.index.shape, dtype=np.float32)
    placed[prefix.inside] = symbols
    return placed


def packed(tables: SymbolTables, parts: Iterable[Part], with_offsets: bool) -> bytes:
    """Returns the piece of a level from the symbols and indices of its latents."""
    if with_offsets:
        parts = [part for latent in parts for part in scale_offsets.parts(tables, *latent)]
    return stacked(tables, parts)


def decoded(tables: SymbolTables, prefix: Prefix, piece: bytes, with_offsets: bool) -> Prefix:
    """Returns the prefix with the level of a whole piece. Raises FormatError if it is not well-formed."""
    stack = Stack(piece)
    extended = _popped(tables, prefix, stack, with_offsets)
    stack.close()
    return extended


def decoded_part(tables: SymbolTables, prefix: Prefix, part: bytes, with_offsets: bool) -> Prefix:
    """Returns the prefix with what the beginning of a piece says of its level; none can follow. FormatError as above."""
    stack = Stack(part, cut=True)
    extended = _popped(tables, prefix, stack, with_offsets)
    return replace(extended, levels=prefix.levels + stack.share)


def _popped(tables: SymbolTables, prefix: Prefix, stack: Stack, with_offsets: bool) -> Prefix:
    def answer(latent: LatentSteps, state: Floats, prior: Prior) -> Floats:
        """Pops the symbols of a latent, and its scale offsets before them."""
        index = np.ascontiguousarray(prior.index[prefix.inside])
        if with_offsets:
            index = scale_offsets.pop(tables, stack, index)
        return _placed(prefix, stack.pop(tables, index), prior)

    return prefix.extended(answer)
