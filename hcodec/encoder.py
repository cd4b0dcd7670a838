"""The state of encoding, held open between levels: a picture's symbols, level after level.

Room: codec's own, shared with `chain`; encode steps 3 to 8. torch comes in when a model is loaded, not before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hcodec import models, picture
from hcodec.entropy import EntropyModel, Indices, Symbols

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FAR = 2**20  # beyond any symbol, and within int32


class LevelEncoder:
    """Takes a picture, uint8 (H, W, 3); `walk` stands after the levels so far."""

    def __init__(self, model: models.Model, pixels: NDArray[np.uint8]) -> None:
        import torch

        from hcodec.models.walk import Walk

        self.model, self.tables = model, EntropyModel(model.tables)
        self.walk = Walk(model.network, model.agreed, pixels.shape[0], pixels.shape[1])
        with torch.inference_mode():
            self.features = model.network.analyze(picture.to_tensor(pixels).to(model.device))

    def next_level(self) -> list[tuple[Symbols, Indices]]:
        """Returns symbols (int32) and scale indices (uint8), (1, H_l, W_l, C_l), of each latent of the next level."""
        import torch

        coded: list[tuple[Symbols, Indices]] = []
        level = self.walk.latent.level
        with torch.inference_mode():
            while not self.walk.done and self.walk.latent.level == level:
                index = self.walk.predict()[1].cpu().numpy()
                wanted = self.walk.posterior(self.features).round().clamp(-_FAR, _FAR).to(torch.int32)
                coded.append((self.tables.clamp(wanted.cpu().numpy(), index), index))
                self.walk.advance(torch.from_numpy(coded[-1][0]).to(self.model.device))
        return coded
