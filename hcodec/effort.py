"""Encoding with more effort: symbols are searched for that make every prefix better, and kept if they do.

Room: codec (between encode steps 5 and 8, on demand). The search needs gradients, and so torch.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from hcodec import memory
from hcodec.coders.levels import Level
from hcodec.container.window import Window
from hcodec.errors import HcodecError
from hcodec.mosaic import Rectangle, to_pixels
from hcodec.session import Encoder

PASSES = (0, 1, 2, 6)  # of the search over all exits, by effort from 1
_SEARCH_BYTES_PER_PIXEL = 3300  # of one window: peak working memory, measured
Show = Callable[[float], None]


def encode_layers(encoder: Encoder, count: int, effort: int, show: Show) -> list[list[bytes]]:
    """Returns the first `count` layers as pieces of all windows, searched for if effort is above 1, then never worse.

    show: gets the share that is done. Raises PictureError (not enough memory), HcodecError (no such effort), ModelError.
    """
    if effort not in range(1, len(PASSES) + 1):
        raise HcodecError(f"effort is {effort}; it must be a whole number from 1 to {len(PASSES)}")
    if effort == 1:
        return encoder.layers(count, show)
    memory.check(max(window.height * window.width for window in encoder.windows), _SEARCH_BYTES_PER_PIXEL)
    found = []
    for done, window in enumerate(encoder.windows):
        found.append(_searched(encoder, window, count, PASSES[effort - 1], _part_of(show, done, len(encoder.windows))))
    return [list(layer) for layer in zip(*found, strict=True)]


def _part_of(show: Show, done: int, count: int) -> Show:
    """Returns what a window reports to, so that `show` gets the share of all windows."""
    return lambda share: show((done + share) / count)


def _searched(encoder: Encoder, window: Window, count: int, passes: int, show: Show) -> list[bytes]:
    """Returns the pieces of a window, with a search if that makes them better."""
    from hcodec.models.photo import search

    pixels = encoder.pixels[Rectangle.of(window).inside]
    offsets = search.refine(encoder.model, pixels, count, passes, show)
    ways = [list(islice(encoder.each_level(window, found), count)) for found in (None, offsets)]
    packed = [[encoder.pack(level) for level in way] for way in ways]
    costs = [cost(encoder, pixels, *way) for way in zip(ways, packed, strict=True)]
    return packed[int(np.argmin(costs))]


def cost(encoder: Encoder, pixels: NDArray[np.uint8], levels: list[Level], pieces: list[bytes]) -> float:
    """Returns what the search lowers: the weighted mean over all exits of bits per pixel + lmbda * MSE, from real pieces."""
    from hcodec.models.photo.objective import SEARCH_EXPONENT, exit_weights

    lmbda = encoder.model.config.lmbda
    total, num_bytes = 0.0, 0
    weights = exit_weights(lmbda, len(levels), SEARCH_EXPONENT)
    for index, (weight, (_, prefix), piece) in enumerate(zip(weights, levels, pieces, strict=True)):
        num_bytes += len(piece)
        error = to_pixels(prefix.render()).astype(np.int32) - pixels
        rate = 8 * num_bytes / (pixels.shape[0] * pixels.shape[1])
        total += weight * (rate + lmbda[index] * float(np.mean(error * error)))
    return total
