"""Which finish a level gets, and its symbols: they stand before those of the level's latents, in the same stack.

Room: codec's own, beside `encoder` and `decoder` (encode step 9, decode step 6). torch comes in when a model is loaded,
not before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hcodec.entropy import EntropyModel, Indices, LayerDecoder, Symbols
from hcodec.errors import FormatError

if TYPE_CHECKING:
    from torch import Tensor

    from hcodec.models.finish import Finish
    from hcodec.models.walk import Walk

_LEAST_PIXELS = 128 * 128  # below it no filter is worth its bits
_LAST_LEVELS = 3  # before them a filter wins little, and showing a level takes long, for those that are missing run, too
_PRICE = 2.0  # of a bit: all later levels carry it, too


def is_used(height: int, width: int) -> bool:
    """Returns whether the levels of a picture begin with a finish, be it the one that changes nothing."""
    return height * width >= _LEAST_PIXELS


def choose(tables: EntropyModel, walk: Walk, x: Tensor, level: int, thorough: bool) -> Finish | None:
    """Returns the finish that saves most on the picture x, float (1, 3, H, W) in [0, 1], at a level; None if none pays.

    walk: after the level, without a finish. thorough: at any level; else at the last three that a model has.
    """
    config = walk.agreed.config
    if not (thorough or level > config.num_levels - _LAST_LEVELS):
        return None
    from hcodec.models import finish

    fit = finish.Fit(walk.render(level), x)
    worth = config.lmbda[level - 1] / 3 * walk.height * walk.width  # of the squared error, in bits
    best, most = None, 0.0
    for candidate, won in fit.candidates(int(tables.half_width[finish.SCALE_INDEX])):
        saved = worth * won - _PRICE * sum(tables.estimate(*part) for part in latents(candidate))
        if saved > most:
            best, most = candidate, saved
    return best


def latents(found: Finish | None) -> list[tuple[Symbols, Indices]]:
    """Returns the symbols of a finish and their scale indices, as those of latents."""
    if found is None:
        return [_coded([0])]
    return [_coded([found.grouping]), _coded([found.coarseness, *found.symbols])]


def _coded(values: list[int]) -> tuple[Symbols, Indices]:
    return np.array(values, dtype=np.int32), _indices(len(values))


def _indices(count: int) -> Indices:
    from hcodec.models import finish

    return np.full(count, finish.SCALE_INDEX, dtype=np.uint8)


def read(decoder: LayerDecoder) -> Tensor | None:
    """Returns the weights of the finish with which a layer begins; None if it has none, or not enough of it is there.

    Raises FormatError if there is no such finish.
    """
    from hcodec.models import finish

    grouping = int(decoder.decode(_indices(1))[0])
    if grouping not in range(len(finish.GROUPINGS)):
        raise FormatError(f"a layer has a finish of kind {grouping}")
    if not grouping:
        return None
    coarseness, *symbols = decoder.decode(_indices(1 + finish.num_symbols(grouping))).tolist()
    if coarseness not in range(finish.COARSENESSES):
        raise FormatError(f"a layer has a finish of coarseness {coarseness}")
    if decoder.exhausted:
        return None
    return finish.Finish(grouping, coarseness, np.array(symbols, dtype=np.int32)).weights()
