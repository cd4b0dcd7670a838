"""The synthesis transform g_s: the state at stride 8 to a picture. Float: nothing that is decoded depends on it.

Room: photo (decode step 8).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hcodec.models.blocks import Block, FloatBlock, Overlap, depth_to_space
from hcodec.models.photo.config import NUM_COEFFICIENTS, Config


class Synthesis(nn.Module):
    """Top transform g_s: stride-8 state -> picture. Float: nothing that is decoded depends on it.

    It takes in how many levels the state holds (an embedding), since what is missing decides how much to smooth.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        width, tail = config.width[8], config.tail_width
        self.embed = nn.Parameter(torch.zeros(config.num_levels, width))
        self.coefficient_gain = nn.Parameter(torch.ones(config.num_levels, NUM_COEFFICIENTS))
        shape = width, config.synthesis_hidden, config.gated
        self.blocks = nn.Sequential(*(FloatBlock(*shape) for _ in range(config.synthesis_blocks)))
        self.overlap = Overlap(NUM_COEFFICIENTS)
        self.fine_in = nn.Linear(width, 4 * tail)
        blocks = [Block(tail, config.tail_hidden) for _ in range(config.tail_blocks)]
        free = [FloatBlock(tail, config.float_hidden, config.gated) for _ in range(config.tail_float_blocks)]
        self.fine_blocks = nn.Sequential(*blocks, *free)
        self.fine_out = nn.Linear(tail, 48)
        nn.init.normal_(self.fine_out.weight, std=1e-3)

    def refined(self, state: Tensor, weights: Tensor) -> Tensor:
        """Returns the state (B, H/8, W/8, width) refined.

        weights: (B, num_levels), convex, says which levels the state holds (two neighbours share it when a layer is cut).
        """
        refined: Tensor = self.blocks(self.begun(state, weights))
        return refined

    def begun(self, state: Tensor, weights: Tensor) -> Tensor:
        """Returns what the blocks begin with."""
        return state + (weights @ self.embed)[:, None, None]

    def widened(self, state: Tensor) -> Tensor:
        """Returns the fine signal (B, H/4, W/4, tail_width) before its blocks, from what `refined` gives."""
        return depth_to_space(self.fine_in(state).float(), 2)

    def finished(self, state: Tensor, fine: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Returns coefficients (B, H/8, W/8, 192) and pixel corrections (B, H/4, W/4, 48), from the fine signal after blocks."""
        coefficients = self.overlap(state[..., :NUM_COEFFICIENTS] * (weights @ self.coefficient_gain)[:, None, None])
        return coefficients, self.fine_out(fine).float()
