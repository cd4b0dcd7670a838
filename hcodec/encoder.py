"""The state of encoding, held open between levels: a picture's symbols, level after level; and the search for better ones.

Room: codec's own, shared with `chain`; encode steps 3 to 9. torch comes in when a model is loaded, not before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from hcodec import memory, models
from hcodec.coders import scale_offsets
from hcodec.coding.stack import EntropyModel, Indices, Symbols, encode_layer
from hcodec.errors import HcodecError
from hcodec.pixels import picture

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from hcodec.models.photo.walk import Walk

Layers = list[tuple[bytes, "Walk"]]  # the bytes of each level and the walk just after it
PASSES = (0, 1, 2, 6)  # of the search over all exits, by effort from 1
_FAR = 2**20  # beyond any symbol, and within int32
_BYTES_PER_PIXEL = 600  # peak working memory of encoding with a search, measured, without
_SEARCH_BYTES_PER_PIXEL = 2700  # what a tile takes while it is searched


class LevelEncoder:
    """Takes a picture, uint8 (H, W, 3); `walk` stands after the levels so far.

    offsets: what to add to the wanted symbols of each latent, (1, H_l, W_l, C_l), as `models.search` finds it.
    """

    def __init__(self, model: models.Model, pixels: NDArray[np.uint8], offsets: Sequence[Tensor] | None = None) -> None:
        import torch

        from hcodec.models.photo.walk import Walk

        self.offsets = offsets
        self.model, self.tables = model, EntropyModel(model.tables)
        self.walk = Walk(model.network, model.agreed, pixels.shape[0], pixels.shape[1])
        self.x = picture.to_tensor(pixels).to(model.device)
        with torch.inference_mode():
            self.features = model.network.analyze(self.x)

    def next_level(self) -> list[tuple[Symbols, Indices]]:
        """Returns symbols (int32) and scale indices (uint8), (1, H_l, W_l, C_l), of each latent of the next level."""
        import torch

        coded: list[tuple[Symbols, Indices]] = []
        level = self.walk.latent.level
        with torch.inference_mode():
            while not self.walk.done and self.walk.latent.level == level:
                index = self.walk.predict()[1].cpu().numpy()
                wanted = self.walk.posterior(self.features)
                if self.offsets is not None:
                    wanted = wanted + self.offsets[self.walk.position]
                symbols = wanted.round().clamp(-_FAR, _FAR).to(torch.int32).cpu().numpy()
                coded.append((self.tables.clamp(symbols, index), index))
                self.walk.advance(torch.from_numpy(coded[-1][0]).to(self.model.device))
        return coded

    def layers(self, levels: int) -> Layers:
        """Returns the first `levels` layers."""
        layers: Layers = []
        for level in range(1, levels + 1):
            coded, walk = self.next_level(), self.walk.copy()
            if scale_offsets.is_used(walk.height, walk.width):
                coded = [part for latent in coded for part in scale_offsets.with_offsets(self.tables, *latent)]
                post_filter = scale_offsets.choose_post_filter(self.tables, walk, self.x, level, self.offsets is not None)
                coded = scale_offsets.post_filter_symbols(post_filter) + coded
                walk.post_filter = post_filter.weights() if post_filter else None
            layers.append((encode_layer(self.tables, coded), walk))
        return layers


def encode_layers(
    model: models.Model, pixels: NDArray[np.uint8], levels: int, effort: int, show: Callable[[float], None] | None
) -> Layers:
    """Returns the first `levels` layers of a picture uint8 (H, W, 3), searched for if effort is above 1, then never worse.

    show: is told the share of the search that is done. Raises PictureError (not enough memory), HcodecError (no such effort).
    """
    if effort not in range(1, len(PASSES) + 1):
        raise HcodecError(f"effort is {effort}; it must be a whole number from 1 to {len(PASSES)}")
    passes = PASSES[effort - 1]
    if not passes:
        return LevelEncoder(model, pixels).layers(levels)
    from hcodec.models.photo import search

    num_pixels = pixels.shape[0] * pixels.shape[1]
    num_searched = min(num_pixels, (search.TILE + 2 * search.MARGIN) ** 2)  # at a time
    memory.check(num_pixels, _BYTES_PER_PIXEL + _SEARCH_BYTES_PER_PIXEL * num_searched // num_pixels)
    plain = LevelEncoder(model, pixels).layers(levels)
    offsets = search.refine(model, picture.to_tensor(pixels), levels, passes, show or (lambda share: None))
    searched = LevelEncoder(model, pixels, offsets).layers(levels)
    return min(plain, searched, key=lambda layers: cost(model, pixels, layers))


def cost(model: models.Model, pixels: NDArray[np.uint8], layers: Layers) -> float:
    """Returns what the search lowers: the weighted mean over all exits of bits per pixel + lmbda * MSE, from real layers."""
    from hcodec.models.photo.objective import SEARCH_EXPONENT, exit_weights

    lmbda = model.agreed.config.lmbda
    total, num_bytes = 0.0, 0
    weights = exit_weights(lmbda, len(layers), SEARCH_EXPONENT)
    for level, (weight, (layer, walk)) in enumerate(zip(weights, layers, strict=True), 1):
        num_bytes += len(layer)
        error = picture.from_tensor(walk.render(level)).astype(np.int32) - pixels
        rate = 8 * num_bytes / (pixels.shape[0] * pixels.shape[1])
        total += weight * (rate + lmbda[level - 1] * float(np.mean(error * error)))
    return total
