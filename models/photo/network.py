"""The progressive hierarchical VAE, in floats: analysis, priors, posteriors, state, synthesis.

Room: photo (encode steps 5 to 8 and 10, decode steps 4, 5, 7 and 8; the agreed parts of these are repeated on
integers by `agreed.py`). No files, no logging, no metrics here.

Signals at stride 8 to 64 are (B, H_s, W_s, width) with H_s = ceil(H / s). The first 192 coefficients start out as the 8x8 DCT of
the picture (at half resolution for each doubling of the stride) in units of their own standard deviation; see
`initialize.py`. So training starts from a pyramid transform coder and not from noise.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hcodec.models.blocks import Block, Dense, FloatBranch, LowerBound, depth_to_space, pad_to, space_to_depth
from hcodec.models.descend import Position, descend
from hcodec.models.photo.analysis import Analysis
from hcodec.models.photo.config import COARSEST, NUM_COEFFICIENTS, Config
from hcodec.models.photo.synthesis import Synthesis
from hcodec.models.rates import symbol_bits
from hcodec.models.tables.scales import LOG_SCALE_STEP, MIN_LOG_SCALE, NUM_SCALES

_MAX_LOG_SCALE = MIN_LOG_SCALE + (NUM_SCALES - 1) * LOG_SCALE_STEP


class Posterior(nn.Module):
    """Posterior mean relative to the prior mean (float, encoder only): what the state lacks, and a correction of it by context.

    Residual form of NVAE (Vahdat and Kautz 2020, arXiv 2007.03898, section 3.2); the unit step replaces its scale.
    """

    def __init__(self, width: int, hidden: int, channels: int, gated: bool) -> None:
        super().__init__()
        self.select = Dense(width, channels)
        self.correct = FloatBranch(2 * width, hidden, channels, 2 * channels, gated)

    def forward(self, state: Tensor, feature: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
        """Returns posterior minus prior mean (B, H_l, W_l, C_l) from state and feature (B, H_l, W_l, width) and the prior."""
        lack = feature - state
        correction = self.correct(torch.cat([lack, feature], -1), torch.cat([mean, log_scale], -1))
        return self._corrected(lack, correction, mean)

    def gathered(self, state: Tensor, feature: Tensor) -> Tensor:
        """Returns what the correction takes from the cells around each, (B, H_l, W_l, 2 * width)."""
        return self.correct.gathered(torch.cat([feature - state, feature], -1))

    def joined(self, state: Tensor, feature: Tensor, mean: Tensor, log_scale: Tensor, gathered: Tensor) -> Tensor:
        """Returns what `forward` returns, cell by cell, from what has been gathered."""
        return self._corrected(feature - state, self.correct.mixed(gathered, torch.cat([mean, log_scale], -1)), mean)

    def _corrected(self, lack: Tensor, correction: Tensor, mean: Tensor) -> Tensor:
        residual: Tensor = self.select(lack) + correction - mean
        return residual.float()


class Latent(nn.Module):
    """One latent variable: refine the state, predict, and add what was decoded. All but the posterior is agreed.

    refine, prior and advance are walked by encoder and decoder alike (p(z_l | z_<l) of the VAE).
    """

    def __init__(self, config: Config, level: int, stride: int, channels: int) -> None:
        super().__init__()
        width, hidden = config.width[stride], config.hidden[stride]
        self.level, self.stride, self.channels = level, stride, channels
        refine = (Block(width, config.refine_hidden[stride]) for _ in range(config.refine_blocks[stride]))
        self.refine = nn.Sequential(*refine)
        self.block = Block(width, hidden)
        self.head = nn.Linear(hidden, 2 * channels)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.project = Dense(channels, width)
        self.posterior = Posterior(width, config.posterior_hidden[stride], channels, config.gated)

    def prior(self, state: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Returns the refined state, and the prior: its mean and the natural log of its logistic scale."""
        state = self.refine(state)
        hidden = self.block.expand(state)
        mean, log_scale = self.head(hidden).float().chunk(2, -1)
        log_scale = -LowerBound.apply(-LowerBound.apply(log_scale, MIN_LOG_SCALE), -_MAX_LOG_SCALE)
        return state + self.block.fc2(hidden), (mean, log_scale)

    def advance(self, state: Tensor, prior: tuple[Tensor, Tensor], symbols: Tensor) -> Tensor:
        """Returns the state with the symbols (B, H_l, W_l, C_l), steps from the prior's mean, added."""
        return state + self.project(prior[0] + symbols)


class Network(nn.Module):
    """The whole model. Pictures are (B, 3, H, W), float32 in [0, 1]; any H and W from 1."""

    dct: Tensor
    sigma: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.analysis = Analysis(config)
        self.start = nn.Parameter(torch.zeros(config.width[64]))
        self.up = nn.ModuleDict({str(s): Dense(config.width[2 * s], 4 * config.width[s]) for s in (32, 16, 8)})
        self.latents = nn.ModuleList(
            Latent(config, level, stride, channels)
            for level, latents in enumerate(config.levels, 1)
            for stride, channels in latents
        )
        self.synthesis = Synthesis(config)
        self.register_buffer("dct", torch.eye(NUM_COEFFICIENTS))
        self.register_buffer("sigma", torch.ones(NUM_COEFFICIENTS))

    def ordered_latents(self) -> list[Latent]:
        """Returns the latents in coding order, coarse first."""
        return list(cast("Iterable[Latent]", self.latents))

    def analyze(self, x: Tensor) -> dict[int, Tensor]:
        """Returns {stride: feature (B, ceil(H/s), ceil(W/s), width)}."""
        pixels = pad_to(x, 8).permute(0, 2, 3, 1)
        features: dict[int, Tensor] = self.analysis(self.stemmed(pixels, self.analysis.stem_blocks(self.patched(pixels))))
        return features

    def patched(self, pixels: Tensor) -> Tensor:
        """Returns the fine signal (B, H/4, W/4, tail_width) before its blocks; pixels (B, H, W, 3), H and W multiples of 8."""
        return self.analysis.patched(space_to_depth(pixels - 0.5, 4) * 4)

    def stemmed(self, pixels: Tensor, fine: Tensor) -> Tensor:
        """Returns the signal (B, H/8, W/8, width) that analysis starts from; fine: after its blocks."""
        coefficients = F.linear(space_to_depth(pixels - 0.5, 8), self.dct) * 255 / self.sigma
        return self.analysis.stemmed(coefficients, fine)

    def begin(self, batch: int, height: int, width: int) -> Position:
        """Returns where the way down begins: the learned constant on the grid of the coarsest stride."""
        state = self.start.expand(batch, -(-height // COARSEST), -(-width // COARSEST), -1)
        return Position(state, COARSEST, height, width)

    def ascend(self, state: Tensor, stride: int, height: int, width: int) -> Tensor:
        """Returns the state at `stride`, made from the state at twice that stride, cut to the grid of the picture."""
        state = depth_to_space(self.up[str(stride)](state), 2)
        return state[:, : -(-height // stride), : -(-width // stride)]

    def synthesize(self, state: Tensor, weights: Tensor, height: int, width: int) -> Tensor:
        """Returns the picture (B, 3, H, W), not clipped; weights as in `Synthesis.refined`."""
        state = self.synthesis.refined(state, weights)
        pixels = self.pixels(state, self.synthesis.fine_blocks(self.synthesis.widened(state)), weights)
        return pixels[:, :height, :width].permute(0, 3, 1, 2)

    def pixels(self, state: Tensor, fine: Tensor, weights: Tensor) -> Tensor:
        """Returns pixels (B, 8 rows, 8 columns, 3) of a state from `Synthesis.refined` and the fine signal after its blocks."""
        coefficients, fine = self.synthesis.finished(state, fine, weights)
        pixels = depth_to_space(F.linear(coefficients * (self.sigma / 255), self.dct.T), 8)
        return pixels + depth_to_space(fine, 4) / 8 + 0.5

    def noise(self, batch: int, height: int, width: int) -> list[Tensor]:
        """Returns what stands for rounding in training: uniform numbers in [-1/2, 1/2), (B, H_l, W_l, C_l) for each latent."""
        grids = [(batch, -(-height // each.stride), -(-width // each.stride), each.channels) for each in self.ordered_latents()]
        return [torch.rand(grid, device=self.start.device) - 0.5 for grid in grids]

    def forward(
        self, x: Tensor, exits: Sequence[int], hard: bool, noise: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Returns the reconstructions (B, 3, H, W) and the estimated bits (B, num_levels) of streams that end at exits.

        exits: one of num_levels..1 for each picture, falling along the batch; later levels stay at the prior mean and cost
        nothing. Plain numbers, so that shapes are known without asking the device.
        hard: estimate the rate on rounded symbols instead of on noisy ones (Ballé et al. 2017, arXiv 1611.01704, Eq. 10);
        the state always gets rounded ones (Minnen and Singh 2020, arXiv 2007.08739, section 3.4). noise: as `noise` returns it,
        which is called if it is None; a captured step must get it from outside, so that it is new every time.
        """
        if any(later > earlier for earlier, later in itertools.pairwise(exits)):
            raise ValueError("exits must not rise along the batch")
        noise = self.noise(len(x), *x.shape[2:]) if noise is None and not hard else noise
        pending = iter(noise or ())  # one for each latent, in order
        features = self.analyze(x)
        bits: list[Tensor] = [x.new_zeros(len(x)) for _ in range(self.config.num_levels)]

        def answer(latent: Latent, state: Tensor, prior: tuple[Tensor, Tensor]) -> Tensor:
            """Returns rounded residuals where a stream holds the latent, else zeros; counts their bits."""
            num_active = sum(level >= latent.level for level in exits)
            kept = max(1, num_active)  # with none, one goes along for nothing: every weight has a gradient
            active = 1.0 if num_active else 0.0
            mean, log_scale = (part[:kept] for part in prior)
            residual = latent.posterior(state[:kept], features[latent.stride][:kept], mean, log_scale)
            symbols = residual + (residual.round() - residual).detach()
            coded = symbols if hard else residual + next(pending)[:kept]
            cost = symbol_bits(coded, log_scale).sum((1, 2, 3)) * active
            bits[latent.level - 1] = bits[latent.level - 1] + F.pad(cost, (0, len(x) - kept))
            return F.pad(symbols * active, (0, 0) * 3 + (0, len(x) - kept))

        end = descend(self, self.begin(len(x), *x.shape[2:]), answer)
        weights = per_exit(torch.eye(self.config.num_levels, device=x.device), exits)
        return self.synthesize(end.state, weights, *x.shape[2:]), torch.stack(bits, 1)


def per_exit(rows: Tensor, exits: Sequence[int]) -> Tensor:
    """Returns the row (num_levels, ...) of each exit, one of num_levels..1. Without numbers from the host's memory.

    Nothing may be copied from there while a step is captured.
    """
    groups = [(exit_level, len(list(group))) for exit_level, group in itertools.groupby(exits)]
    return torch.cat([rows[None, exit_level - 1].expand(count, *rows.shape[1:]) for exit_level, count in groups])
