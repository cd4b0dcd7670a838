"""What is fitted to one picture and sent with it: the post filter of each level, the scale offsets of each latent.

Room: coders (encode step 9, decode step 6). A post filter stands before the level's latents, scale offsets before
their latent's symbols, all on the same stack. torch comes in when a model is loaded, not before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hcodec.coding.stack import EntropyModel, Indices, LayerDecoder, Symbols
from hcodec.errors import FormatError
from hcodec.models.tables.scales import NUM_SCALES
from hcodec.models.tables.symbol_tables import MAX_SYMBOL, OFFSET_INDEX, OFFSET_LIMIT, POST_FILTER_INDEX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from hcodec.models.photo.post_filter import PostFilter
    from hcodec.models.photo.walk import Walk

_LEAST_PIXELS = 128 * 128  # below it no filter is worth its bits
_LAST_LEVELS = 3  # always get one; before them it wins less, and showing a level takes long, for those that are missing run, too
_SHOWN_PIXELS = 1_200_000  # what may be shown to fit more of them, in all: what the last three of a picture of 768x512 take
_PRICE = 2.0  # of a bit: all later levels carry it, too


def is_used(height: int, width: int) -> bool:
    """Returns whether a picture's levels bring post filters and scale offsets, be they those that change nothing."""
    return height * width >= _LEAST_PIXELS


def choose_post_filter(tables: EntropyModel, walk: Walk, x: Tensor, level: int, thorough: bool) -> PostFilter | None:
    """Returns the post filter that saves most on the picture x, float (1, 3, H, W) in [0, 1], at a level; None if none pays.

    walk: after the level, without a post filter. thorough: at any level; else at the last three that a model has, of small
    pictures at more.
    """
    config, num_pixels = walk.agreed.config, walk.height * walk.width
    if not (thorough or level > config.num_levels - max(_LAST_LEVELS, _SHOWN_PIXELS // num_pixels)):
        return None
    from hcodec.models.photo import post_filter

    fit = post_filter.Fit(walk.render(level), x)
    worth = config.lmbda[level - 1] / 3 * num_pixels  # of the squared error, in bits
    best, most = None, 0.0
    for candidate, won in fit.candidates(int(tables.half_width[POST_FILTER_INDEX])):
        saved = worth * won - _PRICE * sum(tables.estimate(*part) for part in post_filter_symbols(candidate))
        if saved > most:
            best, most = candidate, saved
    return best


def post_filter_symbols(found: PostFilter | None) -> list[tuple[Symbols, Indices]]:
    """Returns the symbols of a post filter and their scale indices, as those of latents."""
    if found is None:
        return [_coded([0])]
    return [_coded([found.grouping]), _coded([found.coarseness, *found.symbols])]


def read_post_filter(decoder: LayerDecoder) -> Tensor | None:
    """Returns the weights of the post filter with which a layer begins; None if it has none, or not enough of it is there.

    Raises FormatError if there is no such post filter.
    """
    from hcodec.models.photo import post_filter

    grouping = int(decoder.decode(_indices(1))[0])
    if grouping not in range(len(post_filter.GROUPINGS)):
        raise FormatError(f"a layer has a post filter of kind {grouping}")
    if not grouping:
        return None
    coarseness, *symbols = decoder.decode(_indices(1 + post_filter.num_symbols(grouping))).tolist()
    if coarseness not in range(post_filter.COARSENESSES):
        raise FormatError(f"a layer has a post filter of coarseness {coarseness}")
    if decoder.exhausted:
        return None
    return post_filter.PostFilter(grouping, coarseness, np.array(symbols, dtype=np.int32)).weights()


def with_offsets(tables: EntropyModel, symbols: Symbols, indices: Indices) -> list[tuple[Symbols, Indices]]:
    """Returns a latent, (1, H_l, W_l, C_l), after the offsets that shorten it most, and its indices moved by them."""
    offsets = choose_offsets(tables, symbols, indices)
    if offsets is None:
        return [_coded([0], OFFSET_INDEX), (symbols, indices)]
    return [
        _coded([1], OFFSET_INDEX),
        _coded(offsets.tolist(), OFFSET_INDEX),
        (symbols, _moved(indices, offsets, tables.num_silent)),
    ]


def choose_offsets(tables: EntropyModel, symbols: Symbols, indices: Indices) -> Symbols | None:
    """Returns by how many scale indices each channel of a latent (1, H_l, W_l, C_l) is moved, (C_l,); None if it does not pay."""
    channels = symbols.shape[-1]
    place, index, symbol, count = _histogram(tables, symbols, indices)
    choices = np.arange(-OFFSET_LIMIT, OFFSET_LIMIT + 1)
    bits = np.empty((len(choices), channels))
    for row, offset in enumerate(choices):
        moved = np.clip(index + offset, tables.num_silent, NUM_SCALES - 1)
        bits[row] = np.bincount(place, count * tables.square[moved, symbol + MAX_SYMBOL], channels)
    price = tables.bits[OFFSET_INDEX]
    best = (bits + price[:, None]).argmin(0)
    spent = bits[best, np.arange(channels)].sum() + price[best].sum() + price[OFFSET_LIMIT + 1]
    return choices[best].astype(np.int32) if spent < bits[OFFSET_LIMIT].sum() + price[OFFSET_LIMIT] else None


def _histogram(tables: EntropyModel, symbols: Symbols, indices: Indices) -> Sequence[NDArray[np.intp]]:
    """Returns channel, scale index, value and number of all coded symbols that are alike."""
    channels, span = symbols.shape[-1], 2 * MAX_SYMBOL + 1
    kind = np.arange(channels) * NUM_SCALES + indices  # most symbols are zero: those are counted without sorting
    zeros = np.bincount(kind[(symbols == 0) & (indices >= tables.num_silent)], minlength=channels * NUM_SCALES)
    others, counts = np.unique((kind * span + symbols + MAX_SYMBOL)[symbols != 0], return_counts=True)
    found = np.concatenate([np.flatnonzero(zeros), others // span])
    symbol = np.concatenate([np.zeros(np.count_nonzero(zeros), dtype=np.intp), others % span - MAX_SYMBOL])
    return found // NUM_SCALES, found % NUM_SCALES, symbol, np.concatenate([zeros[zeros > 0], counts])


def _moved(indices: Indices, offsets: Symbols, num_silent: int) -> Indices:
    """Returns the scale indices of a latent with its offsets; silent ones stay silent, and no others become so."""
    moved = np.clip(indices + offsets, num_silent, NUM_SCALES - 1).astype(np.uint8)
    return np.where(indices < num_silent, indices, moved)


def read_offsets(decoder: LayerDecoder, indices: Indices) -> Indices:
    """Takes the offsets of the next latent; returns its scale indices moved by them. FormatError if there are no such offsets."""
    kind = int(decoder.decode(_indices(1, OFFSET_INDEX))[0])
    if kind not in (0, 1):
        raise FormatError(f"a layer has scale offsets of kind {kind}")
    if not kind:
        return indices
    return _moved(indices, decoder.decode(_indices(indices.shape[-1], OFFSET_INDEX)), decoder.model.num_silent)


def _coded(values: list[int], index: int = POST_FILTER_INDEX) -> tuple[Symbols, Indices]:
    return np.array(values, dtype=np.int32), _indices(len(values), index)


def _indices(count: int, index: int = POST_FILTER_INDEX) -> Indices:
    return np.full(count, index, dtype=np.uint8)
