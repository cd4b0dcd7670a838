"""What shapes a network, and the one dictionary of configurations.

Room: photo. No torch here: the command line reads it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

NUM_COEFFICIENTS = 192  # 8 x 8 pixels x 3 colors
STRIDES = (64, 32, 16, 8)  # top-down order
COARSEST, FINEST = STRIDES[0], STRIDES[-1]


@dataclass(frozen=True)
class Config:
    """Everything that shapes a network; an unknown field is an error.

    levels: for each level, coarse first, its latents as (stride, channels); strides fall along the levels.
    lmbda: weight of the MSE (0..255) against bits per pixel when the stream ends at each level.
    width: of the state, by stride, at least 192. What is agreed: hidden, of the block that predicts a latent; refine_blocks,
    refine_hidden: of the blocks before it, at least one. What is not: analysis, posteriors, synthesis at stride 8; at stride 4
    (stem and tail) rectified blocks of tail_hidden, then stem_float_blocks and tail_float_blocks of float_hidden. gated: whether
    what is not agreed has gates.
    """

    levels: tuple[tuple[tuple[int, int], ...], ...]
    lmbda: tuple[float, ...]
    width: dict[int, int] = field(default_factory=lambda: {64: 256, 32: 256, 16: 256, 8: 224})
    hidden: dict[int, int] = field(default_factory=lambda: {64: 512, 32: 512, 16: 512, 8: 384})
    refine_blocks: dict[int, int] = field(default_factory=lambda: {64: 3, 32: 3, 16: 2, 8: 1})
    refine_hidden: dict[int, int] = field(default_factory=lambda: {64: 384, 32: 384, 16: 384, 8: 256})
    analysis_blocks: dict[int, int] = field(default_factory=lambda: {64: 2, 32: 3, 16: 4, 8: 4})
    analysis_hidden: dict[int, int] = field(default_factory=lambda: {64: 768, 32: 768, 16: 768, 8: 672})
    posterior_hidden: dict[int, int] = field(default_factory=lambda: {64: 512, 32: 512, 16: 512, 8: 384})
    synthesis_blocks: int = 1
    synthesis_hidden: int = 448
    tail_width: int = 64
    tail_hidden: int = 128
    tail_blocks: int = 2
    stem_float_blocks: int = 3
    tail_float_blocks: int = 2
    float_hidden: int = 256
    gated: bool = False

    @property
    def num_levels(self) -> int:
        """How many levels a full stream has."""
        return len(self.levels)

    @property
    def num_coarse(self) -> int:
        """How many of the first levels have no latent at the finest stride: these are coded for the whole picture."""
        return sum(all(stride > FINEST for stride, _ in latents) for latents in self.levels)

    def num_latents(self, levels: int) -> int:
        """Returns how many latents the first levels have, all together."""
        return sum(map(len, self.levels[:levels]))


CONFIGS: dict[str, Config] = {
    "photo": Config(
        levels=(((64, 48), (32, 40)), ((16, 48),), ((16, 64),), ((8, 40),), ((8, 64),), ((8, 96),), ((8, 128),)),
        lmbda=(0.0004, 0.0008, 0.0034, 0.0044, 0.0105, 0.031, 0.13),
    ),
    "tiny": Config(
        levels=(((64, 16), (32, 16)), ((16, 24),), ((8, 32),)),
        lmbda=(0.0003, 0.002, 0.02),
        width={64: 192, 32: 192, 16: 192, 8: 192},
        hidden={64: 16, 32: 16, 16: 16, 8: 16},
        refine_blocks={64: 2, 32: 1, 16: 1, 8: 1},
        refine_hidden={64: 16, 32: 16, 16: 16, 8: 16},
        analysis_blocks={64: 0, 32: 0, 16: 0, 8: 1},
        analysis_hidden={64: 16, 32: 16, 16: 16, 8: 16},
        posterior_hidden={64: 16, 32: 16, 16: 16, 8: 16},
        synthesis_hidden=16,
        tail_width=16,
        tail_hidden=16,
        tail_blocks=1,
        stem_float_blocks=1,
        tail_float_blocks=1,
        float_hidden=16,
        gated=True,
    ),
}
