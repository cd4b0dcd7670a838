"""Encoding with more effort: symbols are searched for that make every prefix better, and kept if they do.

Room: codec (between encode steps 5 and 8, on demand). The search needs gradients, and so torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from hcodec import arguments, container, memory
from hcodec.errors import HcodecError
from hcodec.models.runtime.backend import require_torch
from hcodec.models.runtime.threads import Show, ignore
from hcodec.session import Decoder, Encoder

PASSES = (0, 1, 4, 10)  # of the search over all exits, by effort from 1
_SEARCH_BYTES_PER_PIXEL = 2700  # of a tile: peak working memory, measured
Pack = Callable[[Encoder, Sequence[Sequence[bytes]]], bytes]  # makes a file of layers


def encode_layers(encoder: Encoder, count: int, effort: int, pack: Pack, show: Show) -> bytes:
    """Returns a file with the first `count` layers, searched for if effort is above 1, then never worse.

    show: gets the share that is done. Raises PictureError (not enough memory), HcodecError (no such effort), ModelError.
    """
    if not arguments.is_whole(effort) or effort not in range(1, len(PASSES) + 1):
        raise HcodecError(f"effort is {effort}; it must be a whole number from 1 to {len(PASSES)}")
    if effort == 1:
        return pack(encoder, encoder.layers(count, show))
    require_torch()
    from hcodec.models.photo import search

    memory.check(min(encoder.pixels[..., 0].size, (search.TILE + 2 * search.MARGIN) ** 2), _SEARCH_BYTES_PER_PIXEL)
    offsets = search.refine(encoder.model, encoder.pixels, count, PASSES[effort - 1], show, encoder.model.backend.device)
    ways = encoder, Encoder(encoder.model, encoder.pixels, offsets)
    files = [pack(way, way.layers(count, ignore)) for way in ways]
    return min(files, key=lambda data: cost(encoder, data))


def cost(encoder: Encoder, data: bytes) -> float:
    """Returns what the search lowers: the weighted mean over all exits of bits per pixel + lmbda * MSE, of a file."""
    from hcodec.models.photo.objective import SEARCH_EXPONENT, exit_weights

    reader, header = container.read_all(data)
    decoder = Decoder(encoder.model, reader, hold=True)
    lmbda = encoder.model.config.lmbda
    total, pixels = 0.0, encoder.pixels
    for level, weight in enumerate(exit_weights(lmbda, header.num_levels, SEARCH_EXPONENT), start=1):
        decoder.limit = level
        error = decoder.pixels().astype(np.int32) - pixels
        rate = 8 * (header.prefix_bytes(level) - header.prefix_bytes(0)) / pixels[..., 0].size
        total += weight * (rate + lmbda[level - 1] * float(np.mean(error * error)))
    return total
