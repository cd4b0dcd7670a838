"""The analysis transform g_a: a picture to one feature map per stride. Float, and run by the encoder only.

Room: photo (encode step 5).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from hcodec.models.blocks import Block, Dense, FloatBlock, Overlap, pad_even, space_to_depth
from hcodec.models.photo.config import NUM_COEFFICIENTS, Config


class Analysis(nn.Module):
    """Bottom-up transform g_a: picture -> one feature map per stride (float, encoder only)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        tail = config.tail_width
        self.stem = nn.Linear(48, tail)
        blocks = [Block(tail, config.tail_hidden) for _ in range(config.tail_blocks)]
        free = [FloatBlock(tail, config.float_hidden, config.gated) for _ in range(config.stem_float_blocks)]
        self.stem_blocks = nn.Sequential(*blocks, *free)
        self.stem_out = nn.Linear(4 * tail, config.width[8])
        nn.init.normal_(self.stem_out.weight, std=1e-3)
        self.overlap = Overlap(NUM_COEFFICIENTS)
        self.blocks = nn.ModuleDict()
        self.down = nn.ModuleDict()
        for stride in (8, 16, 32, 64):
            shape = config.width[stride], config.analysis_hidden[stride], config.gated
            self.blocks[str(stride)] = nn.Sequential(*(FloatBlock(*shape) for _ in range(config.analysis_blocks[stride])))
            if stride > 8:
                self.down[str(stride)] = Dense(4 * config.width[stride // 2], config.width[stride])

    def patched(self, patches: Tensor) -> Tensor:
        """Returns the fine signal (B, H/4, W/4, tail_width) before its blocks, from 4x4 patches (B, H/4, W/4, 48)."""
        fine: Tensor = self.stem(patches).float()
        return fine

    def stemmed(self, coefficients: Tensor, fine: Tensor) -> Tensor:
        """Returns the signal (B, H/8, W/8, width) of coefficients (B, H/8, W/8, 192) and the fine signal after its blocks."""
        stem = self.stem_out(space_to_depth(fine, 2))
        return F.pad(self.overlap(coefficients), (0, stem.shape[-1] - NUM_COEFFICIENTS)) + stem

    def blocks_at(self, stride: int) -> nn.Sequential:
        """Returns the blocks of a stride."""
        return cast(nn.Sequential, self.blocks[str(stride)])

    def halved(self, stride: int) -> Callable[[Tensor], Tensor]:
        """Returns what leads to a stride from half that stride, given an even number of rows and columns."""
        return lambda x: self.down[str(stride)](space_to_depth(x, 2))

    def forward(self, x: Tensor) -> dict[int, Tensor]:
        """Returns {stride: feature} from what `stemmed` gives."""
        features = {}
        for stride in (8, 16, 32, 64):
            if stride > 8:
                x = self.halved(stride)(pad_even(x))
            x = self.blocks_at(stride)(x)
            features[stride] = x
        return features
