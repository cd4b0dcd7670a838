"""One level of a picture as a layer of the file, and back: symbols, and what is fitted to the picture and sent with them.

Room: coders (encode steps 5 to 10, decode steps 4 to 7). `encoded` and `decoded` are mirror images around
`Prefix.extended`: one asks the posterior for the symbols and pushes them, the other pops them. A fitted layer is a
post filter, then for each latent its scale offsets and its symbols. FORMAT.md, "Layers".
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hcodec.coders import post_filter, scale_offsets
from hcodec.coding.stack import Part, Stack
from hcodec.coding.tables import SymbolTables

if TYPE_CHECKING:
    from torch import Tensor

    from hcodec.models.photo.agreed import IntegerLatent, IntegerPrior
    from hcodec.models.photo.model import Model
    from hcodec.models.photo.prefix import Prefix

Wanted = Callable[..., "Tensor"]  # an answer that is not rounded yet
# symbols (int32) and scale indices (uint8), (1, H_l, W_l, C_l), of each latent, and the prefix that ends with them
Level = tuple[list[Part], "Prefix"]
_LEAST_PIXELS = 128 * 128  # below it nothing that is fitted is worth its bits
_FAR = 2**20  # beyond any symbol, and within int32


def is_fitted(height: int, width: int) -> bool:
    """Returns whether a picture's levels bring what is fitted to it, be it something that changes nothing."""
    return height * width >= _LEAST_PIXELS


@functools.lru_cache(maxsize=4)
def tables_of(model: Model) -> SymbolTables:
    """Returns the tables of a model, ready for the stack."""
    return SymbolTables(model.tables)


def each_level(model: Model, x: Tensor, offsets: Sequence[Tensor] | None = None) -> Iterator[Level]:
    """Yields level after level of a picture x, float (1, 3, H, W) in [0, 1]; each is computed when it is asked for.

    offsets: what to add to the posterior of each latent, (1, H_l, W_l, C_l), as `models.photo.search` finds it.
    """
    import torch

    from hcodec.models.photo.prefix import Prefix, posterior

    with torch.inference_mode():
        wanted = posterior(model.network, model.network.analyze(x))
    if offsets is not None:
        wanted = _moved(wanted, offsets)
    prefix = Prefix.empty(model.network, model.agreed, *x.shape[2:])
    for _ in range(model.agreed.config.num_levels):
        level = encoded(tables_of(model), prefix, wanted)
        yield level
        prefix = level[1]


def _moved(wanted: Wanted, offsets: Sequence[Tensor]) -> Wanted:
    """Returns what is wanted, with the offset of each latent added."""
    return lambda latent, state, prior: wanted(latent, state, prior) + offsets[latent.index]


def encoded(tables: SymbolTables, prefix: Prefix, wanted: Wanted) -> Level:
    """Returns the level after a prefix.

    wanted: what each latent is to be, in steps from the prior's mean, as `models.photo.prefix.posterior` says it.
    """
    parts: list[Part] = []

    def answer(latent: IntegerLatent, state: Tensor, prior: IntegerPrior) -> Tensor:
        """Returns the symbols that tables can hold, and keeps them."""
        index = prior.index.cpu().numpy()
        symbols = wanted(latent, state, prior).round().clamp(-_FAR, _FAR).cpu().numpy().astype(np.int32)
        parts.append((tables.clamp(symbols, index), index))
        return _tensor(parts[-1][0], state)

    extended = prefix.extended(answer)
    return parts, extended


def fitted(tables: SymbolTables, parts: list[Part], prefix: Prefix, x: Tensor, thorough: bool) -> Level:
    """Returns a level with what is fitted to the picture x, float (1, 3, H, W) in [0, 1], before its latents, and its prefix.

    parts, prefix: as from `encoded`; thorough: as of `post_filter.choose`.
    """
    with_offsets = [part for latent in parts for part in scale_offsets.parts(tables, *latent)]
    found = post_filter.choose(tables, prefix, x, thorough)
    shown = replace(prefix, post_filter=found.weights() if found else None)
    return post_filter.parts(found) + with_offsets, shown


def decoded(tables: SymbolTables, prefix: Prefix, layer: bytes, with_fit: bool) -> Prefix:
    """Returns the prefix with the level of a whole layer. Raises FormatError if it is not well-formed."""
    stack = Stack(layer)
    extended = popped(tables, prefix, stack, with_fit)
    stack.close()
    return extended


def decoded_part(tables: SymbolTables, prefix: Prefix, part: bytes, with_fit: bool) -> Prefix:
    """Returns the prefix with what the beginning of a layer says of its level; none can follow. FormatError as above."""
    from hcodec.models.photo.post_filter import mixed

    stack = Stack(part, cut=True)
    extended = popped(tables, prefix, stack, with_fit)
    between = mixed(prefix.post_filter, extended.post_filter, stack.share)
    return replace(extended, levels=prefix.levels + stack.share, post_filter=between)


def popped(tables: SymbolTables, prefix: Prefix, stack: Stack, with_fit: bool = False) -> Prefix:
    """Returns the prefix with one level more, whose symbols are popped from a stack; other things may lie below them."""
    found = post_filter.pop(tables, stack) if with_fit else None

    def answer(latent: IntegerLatent, state: Tensor, prior: IntegerPrior) -> Tensor:
        """Pops the symbols of a latent, and its scale offsets before them."""
        index = prior.index.cpu().numpy()
        if with_fit:
            index = scale_offsets.pop(tables, stack, index)
        return _tensor(stack.pop(tables, index), state)

    return replace(prefix.extended(answer), post_filter=found)


def _tensor(symbols: np.ndarray[Any, Any], like: Tensor) -> Tensor:
    import torch

    return torch.from_numpy(symbols).to(like.device)
