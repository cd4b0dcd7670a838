"""Encoding with more effort: symbols are searched for that make every prefix better, and kept if they do.

Room: codec (between encode steps 5 and 8, on demand).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from hcodec import memory, models
from hcodec.errors import HcodecError
from hcodec.pixels import picture
from hcodec.session import Encoder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hcodec.models.photo.prefix import Prefix

Layers = list[tuple[bytes, "Prefix"]]  # the layer of each level and the prefix that a decoder then holds
PASSES = (0, 1, 2, 6)  # of the search over all exits, by effort from 1
_BYTES_PER_PIXEL = 600  # peak working memory of encoding with a search, measured, without
_SEARCH_BYTES_PER_PIXEL = 2700  # what a tile takes while it is searched


def encode_layers(
    model: models.Model, pixels: NDArray[np.uint8], levels: int, effort: int, show: Callable[[float], None] | None
) -> Layers:
    """Returns the first `levels` layers of a picture uint8 (H, W, 3), searched for if effort is above 1, then never worse.

    show: gets the share of the search that is done. Raises PictureError (not enough memory), HcodecError (no such effort).
    """
    if effort not in range(1, len(PASSES) + 1):
        raise HcodecError(f"effort is {effort}; it must be a whole number from 1 to {len(PASSES)}")
    passes = PASSES[effort - 1]
    if not passes:
        return _first(Encoder(model, pixels), levels)
    from hcodec.models.photo import search

    num_pixels = pixels.shape[0] * pixels.shape[1]
    num_searched = min(num_pixels, (search.TILE + 2 * search.MARGIN) ** 2)  # at a time
    memory.check(num_pixels, _BYTES_PER_PIXEL + _SEARCH_BYTES_PER_PIXEL * num_searched // num_pixels)
    plain = _first(Encoder(model, pixels), levels)
    offsets = search.refine(model, picture.to_tensor(pixels), levels, passes, show or (lambda share: None))
    searched = _first(Encoder(model, pixels, offsets), levels)
    return min(plain, searched, key=lambda layers: cost(model, pixels, layers))


def _first(encoder: Encoder, levels: int) -> Layers:
    """Returns the first layers; with a search, the ones after them are never computed, for there are no offsets for them."""
    return [layer for _, layer in zip(range(levels), encoder.layers(), strict=False)]


def cost(model: models.Model, pixels: NDArray[np.uint8], layers: Layers) -> float:
    """Returns what the search lowers: the weighted mean over all exits of bits per pixel + lmbda * MSE, from real layers."""
    from hcodec.models.photo.objective import SEARCH_EXPONENT, exit_weights

    lmbda = model.agreed.config.lmbda
    total, num_bytes = 0.0, 0
    weights = exit_weights(lmbda, len(layers), SEARCH_EXPONENT)
    for level, (weight, (layer, prefix)) in enumerate(zip(weights, layers, strict=True), 1):
        num_bytes += len(layer)
        error = picture.from_tensor(prefix.render()).astype(np.int32) - pixels
        rate = 8 * num_bytes / (pixels.shape[0] * pixels.shape[1])
        total += weight * (rate + lmbda[level - 1] * float(np.mean(error * error)))
    return total
