"""The progressive hierarchical VAE, in floats: analysis, priors, posteriors, state, synthesis.

Room: network (steps 5 to 10 of encoding and 4 to 8 of decoding walk the same blocks; the agreed ones among them are
repeated on integers by `exact.py`). No files, no logging, no metrics here.

Signals at stride 8 to 64 are (B, H_s, W_s, width) with H_s = ceil(H / s). The first 192 lanes start out as the 8x8 DCT of
the picture (at half resolution for each doubling of the stride) in units of their own standard deviation; see
`skeleton.py`. So training starts from a pyramid transform coder and not from noise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hcodec.models.blocks import Block, Dense, Lap, LowerBound, Spread, depth_to_space, space_to_depth
from hcodec.models.configs import Config
from hcodec.models.loss import symbol_bits
from hcodec.models.scales import LOG_SCALE_STEP, MIN_LOG_SCALE, NUM_SCALES

LANES = 192  # 8 x 8 pixels x 3 colors
STRIDES = (64, 32, 16, 8)  # top-down order
_MAX_LOG_SCALE = MIN_LOG_SCALE + (NUM_SCALES - 1) * LOG_SCALE_STEP


class Posterior(Spread):
    """Posterior mean relative to the prior mean, from what the state still lacks (float, encoder only).

    Residual form of NVAE (Vahdat and Kautz 2020, arXiv 2007.03898, section 3.2); the unit step replaces its scale.
    """

    def __init__(self, width: int, hidden: int, channels: int) -> None:
        super().__init__(width, hidden, centered=True)
        self.select = Dense(width, channels)
        self.prior = nn.Linear(2 * channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)
        nn.init.normal_(self.prior.weight, std=0.5 / math.sqrt(2 * channels))
        nn.init.normal_(self.fc2.weight, std=1e-3 / math.sqrt(hidden))
        for layer in (self.prior, self.fc2):
            nn.init.zeros_(layer.bias)

    def forward(self, lack: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
        """Returns posterior mean minus prior mean (B, H_l, W_l, C_l) from lack = feature - state (B, H_l, W_l, width)."""
        hidden = F.relu(self.spread(lack) + self.prior(torch.cat([mean, log_scale], -1)))
        return self.select(lack) + self.fc2(hidden) - mean


class Latent(nn.Module):
    """One latent variable: refine the state, predict, and add what was decoded. All but the posterior is agreed.

    refine, prior and advance are walked by encoder and decoder alike (p(z_l | z_<l) of the VAE).
    """

    def __init__(self, config: Config, level: int, stride: int, channels: int) -> None:
        super().__init__()
        width, hidden = config.width[stride], config.hidden[stride]
        self.level, self.stride, self.channels = level, stride, channels
        self.refine = Block(width, config.refine_hidden[stride])
        self.block = Block(width, hidden)
        self.head = nn.Linear(hidden, 2 * channels)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.project = Dense(channels, width)
        self.posterior = Posterior(width, config.refine_hidden[stride], channels)

    def prior(self, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the refined state, the prior mean and the natural log of its logistic scale."""
        state = self.refine(state)
        hidden = self.block.expand(state)
        mean, log_scale = self.head(hidden).float().chunk(2, -1)
        log_scale = -LowerBound.apply(-LowerBound.apply(log_scale, MIN_LOG_SCALE), -_MAX_LOG_SCALE)
        return state + self.block.fc2(hidden), mean, log_scale

    def advance(self, state: Tensor, z_hat: Tensor) -> Tensor:
        """Returns the state with the decoded latent z_hat (B, H_l, W_l, C_l) added."""
        return state + self.project(z_hat)


class Analysis(nn.Module):
    """Bottom-up transform g_a: picture -> one feature map per stride (float, encoder only)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        tail = config.tail_width
        self.stem = nn.Linear(48, tail)
        self.stem_blocks = nn.Sequential(*(Block(tail, config.tail_hidden) for _ in range(config.tail_blocks)))
        self.stem_out = nn.Linear(4 * tail, config.width[8])
        nn.init.normal_(self.stem_out.weight, std=1e-3)
        self.lap = Lap(LANES)
        self.blocks = nn.ModuleDict()
        self.down = nn.ModuleDict()
        for stride in (8, 16, 32, 64):
            shape = config.width[stride], config.hidden[stride]
            blocks = (Block(*shape, centered=True) for _ in range(config.analysis_blocks[stride]))
            self.blocks[str(stride)] = nn.Sequential(*blocks)
            if stride > 8:
                self.down[str(stride)] = Dense(4 * config.width[stride // 2], config.width[stride])

    def forward(self, lanes: Tensor, patches: Tensor) -> dict[int, Tensor]:
        """Returns {stride: feature} from whitened lanes (B, H/8, W/8, 192) and 4x4 patches (B, H/4, W/4, 48)."""
        fine = self.stem_blocks(self.stem(patches).float())
        stem = self.stem_out(space_to_depth(fine, 2))
        x = F.pad(self.lap(lanes), (0, stem.shape[-1] - LANES)) + stem
        features = {}
        for stride in (8, 16, 32, 64):
            if stride > 8:
                x = self.down[str(stride)](space_to_depth(pad_even(x), 2))
            x = self.blocks[str(stride)](x)
            features[stride] = x
        return features


class Synthesis(nn.Module):
    """Top transform g_s: stride-8 state -> picture. Float: nothing that is decoded depends on it.

    It is told how many levels the state holds (an embedding), since what is missing decides how much to smooth.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        width, tail = config.width[8], config.tail_width
        self.embed = nn.Parameter(torch.zeros(config.num_levels, width))
        self.lane_gain = nn.Parameter(torch.ones(config.num_levels, LANES))
        self.block = Block(width, config.hidden[8], centered=True)
        self.lap = Lap(LANES)
        self.fine_in = nn.Linear(width, 4 * tail)
        self.fine_blocks = nn.Sequential(*(Block(tail, config.tail_hidden) for _ in range(config.tail_blocks)))
        self.fine_out = nn.Linear(tail, 48)
        nn.init.normal_(self.fine_out.weight, std=1e-3)

    def forward(self, state: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Returns lanes (B, H/8, W/8, 192) and pixel corrections (B, H/4, W/4, 48).

        weights: (B, num_levels), convex, says which levels the state holds (two neighbours share it when a layer is cut).
        """
        state = self.block(state + (weights @ self.embed)[:, None, None])
        lanes = self.lap(state[..., :LANES] * (weights @ self.lane_gain)[:, None, None])
        fine = self.fine_blocks(depth_to_space(self.fine_in(state).float(), 2))
        return lanes, self.fine_out(fine).float()


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
        self.register_buffer("dct", torch.eye(LANES))
        self.register_buffer("sigma", torch.ones(LANES))

    def ordered_latents(self) -> Iterator[Latent]:
        """Yields the latents in coding order, coarse first."""
        for latent in self.latents:
            assert isinstance(latent, Latent)  # noqa: S101 (for the type checker only: ModuleList forgets types)
            yield latent

    def analyze(self, x: Tensor) -> dict[int, Tensor]:
        """Returns {stride: feature (B, ceil(H/s), ceil(W/s), width)}."""
        pixels = pad_to(x - 0.5, 8).permute(0, 2, 3, 1)
        lanes = F.linear(space_to_depth(pixels, 8), self.dct) * 255 / self.sigma
        return self.analysis(lanes, space_to_depth(pixels, 4) * 4)

    def begin(self, batch: int, height: int, width: int) -> Tensor:
        """Returns the first state: the learned constant on the grid of stride 64."""
        return self.start.expand(batch, -(-height // 64), -(-width // 64), -1)

    def ascend(self, state: Tensor, stride: int, height: int, width: int) -> Tensor:
        """Returns the state at `stride`, made from the state at twice that stride, cut to the grid of the picture."""
        state = depth_to_space(self.up[str(stride)](state), 2)
        return state[:, : -(-height // stride), : -(-width // stride)]

    def synthesize(self, state: Tensor, weights: Tensor, height: int, width: int) -> Tensor:
        """Returns the picture (B, 3, H, W), not clipped; weights as in `Synthesis.forward`."""
        lanes, fine = self.synthesis(state, weights)
        pixels = depth_to_space(F.linear(lanes * (self.sigma / 255), self.dct.T), 8)
        pixels = pixels + depth_to_space(fine, 4) / 8
        return (pixels[:, :height, :width] + 0.5).permute(0, 3, 1, 2)

    def forward(self, x: Tensor, exits: Tensor, hard: bool) -> tuple[Tensor, Tensor]:
        """Returns the reconstructions (B, 3, H, W) and the estimated bits (B, num_levels) of streams that end at exits.

        exits: (B,) int64 in num_levels..1, falling along the batch; later levels stay at the prior mean and cost nothing.
        hard: estimate the rate on rounded symbols instead of on noisy ones (Ballé et al. 2017, arXiv 1611.01704, Eq. 10);
        the state always gets rounded ones (Minnen and Singh 2020, arXiv 2007.08739, section 3.4).
        """
        if (exits.diff() > 0).any():
            raise ValueError("exits must not rise along the batch")
        height, width = x.shape[2:]
        features = self.analyze(x)
        state = self.begin(len(x), height, width)
        bits = x.new_zeros(len(x), self.config.num_levels)
        stride = 64
        for latent in self.ordered_latents():
            while stride > latent.stride:
                stride //= 2
                state = self.ascend(state, stride, height, width)
            state, mean, log_scale = latent.prior(state)
            active = (exits >= latent.level).float()
            kept = max(1, int(active.sum()))  # with none, one goes along for nothing: every weight has a gradient
            mean, later = mean[:kept], mean[kept:]
            log_scale, active = log_scale[:kept], active[:kept]
            residual = latent.posterior(features[stride][:kept] - state[:kept], mean, log_scale)
            symbol = residual + (residual.round() - residual).detach()
            coded = symbol if hard else residual + torch.rand_like(residual) - 0.5
            cost = symbol_bits(coded, log_scale).sum((1, 2, 3)) * active
            bits = bits.index_add(1, torch.tensor([latent.level - 1], device=x.device), F.pad(cost, (0, len(later)))[:, None])
            state = latent.advance(state, torch.cat([mean + symbol * active[:, None, None, None], later]))
        weights = F.one_hot(exits - 1, self.config.num_levels).float()
        return self.synthesize(state, weights, height, width), bits


def pad_even(x: Tensor) -> Tensor:
    """Returns x (B, H, W, C) with the last row and column repeated where H or W is odd."""
    if x.shape[1] % 2:
        x = torch.cat([x, x[:, -1:]], 1)
    if x.shape[2] % 2:
        x = torch.cat([x, x[:, :, -1:]], 2)
    return x


def pad_to(x: Tensor, stride: int) -> Tensor:
    """Returns x (B, C, H, W) with its edge repeated to multiples of the stride."""
    return F.pad(x, (0, -x.shape[3] % stride, 0, -x.shape[2] % stride), mode="replicate")
