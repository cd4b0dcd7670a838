"""The post filter of a level: which one is worth its bits, and how it stands at the beginning of the level's layer.

Room: coders (encode step 9, decode step 6). torch comes in when a model is loaded, not before. FORMAT.md, "Post
filter".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hcodec.coding.stack import Part, Stack
from hcodec.coding.tables import SymbolTables
from hcodec.errors import FormatError
from hcodec.models.tables.symbol_tables import POST_FILTER_INDEX

if TYPE_CHECKING:
    from torch import Tensor

    from hcodec.models.photo.post_filter import PostFilter
    from hcodec.models.photo.prefix import Prefix

_LAST_LEVELS = 3  # always get one; before them it wins less, and showing a level takes long, for those that are missing run, too
_SHOWN_PIXELS = 1_200_000  # what may be shown to fit more of them, in all: what the last three of a picture of 768x512 take
_PRICE = 2.0  # of a bit: all later levels carry it, too


def choose(tables: SymbolTables, prefix: Prefix, x: Tensor, thorough: bool) -> PostFilter | None:
    """Returns the filter that saves most on the picture x, float (1, 3, H, W) in [0, 1]; None if none pays.

    prefix: with its last level, without a filter. thorough: at any level; else at the last three that a model has, of small
    pictures at more.
    """
    config, num_pixels, level = prefix.agreed.config, x[0, 0].numel(), int(prefix.levels)
    if not (thorough or level > config.num_levels - max(_LAST_LEVELS, _SHOWN_PIXELS // num_pixels)):
        return None
    from hcodec.models.photo import post_filter

    fit = post_filter.Fit(prefix.render(), x)
    worth = config.lmbda[level - 1] / 3 * num_pixels  # of the squared error, in bits
    best, most = None, 0.0
    for candidate, won in fit.candidates(int(tables.largest[POST_FILTER_INDEX])):
        saved = worth * won - _PRICE * sum(tables.estimate(*part) for part in parts(candidate))
        if saved > most:
            best, most = candidate, saved
    return best


def parts(found: PostFilter | None) -> list[Part]:
    """Returns the symbols of a filter and their scale indices, as those of latents."""
    if found is None:
        return [_coded([0])]
    return [_coded([found.grouping]), _coded([found.coarseness, *found.symbols])]


def pop(tables: SymbolTables, stack: Stack) -> Tensor | None:
    """Takes what `parts` returned: the weights of the filter; None if there is none, or not enough of it.

    Raises FormatError if there is no such filter.
    """
    from hcodec.models.photo import post_filter

    grouping = int(stack.pop(tables, _indices(1))[0])
    if grouping not in range(len(post_filter.GROUPINGS)):
        raise FormatError(f"a layer has a post filter of kind {grouping}")
    if not grouping:
        return None
    coarseness, *symbols = stack.pop(tables, _indices(1 + post_filter.num_symbols(grouping))).tolist()
    if coarseness not in range(post_filter.COARSENESSES):
        raise FormatError(f"a layer has a post filter of coarseness {coarseness}")
    if stack.exhausted:
        return None
    return post_filter.PostFilter(grouping, coarseness, np.array(symbols, dtype=np.int32)).weights()


def _coded(values: list[int]) -> Part:
    return np.array(values, dtype=np.int32), _indices(len(values))


def _indices(count: int) -> np.ndarray:
    return np.full(count, POST_FILTER_INDEX, dtype=np.uint8)
