"""The float network of a chain model: a small top-down hierarchical VAE for pictures up to about 64x64.

Room: small, training only: coding uses its integer form, `integer.py`. One class for gray and color, by
configuration. Every latent has a logistic prior around zero and a residual posterior from what the state still lacks
(Vahdat and Kautz 2020, arXiv 2007.03898, section 3.2; the prior's mean needs no head of its own, for the block before
it moves the state there). Latents live on the integers: training samples continuous ones, whose posterior is never
narrower than MIN_POSTERIOR, so that a unit bin is 1.2 posterior deviations at most and little is lost by rounding.

States and features are (B, H_s, W_s, width) with H_s = ceil(H / s). Their first coefficients start out as a Haar
pyramid of the planes (`planes.py`); so training starts from a transform coder and not from noise.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hcodec.models.blocks import Block, Dense, LowerBound, depth_to_space, pad_even, space_to_depth
from hcodec.models.descend import Position, at_stride, descend
from hcodec.models.rates import mixture_bits
from hcodec.models.small.config import COARSEST, MIN_POSTERIOR, NUM_COEFFICIENTS, SmallConfig
from hcodec.models.small.planes import NUM_PLANES
from hcodec.models.tables.likelihood import MIN_LOG_SCALE, MIN_TAIL, WIDE

_HAAR = torch.tensor([[1.0, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]])  # rows: average and three details
_NUM_BANDS = 4 * NUM_PLANES
_STEP = {8: 4 / 64, 4: 5 / 64, 2: 6 / 64}  # of a fresh latent, in the unit of its coefficient


def logistic_bits(value: Tensor, mean: Tensor | float, log_scale: Tensor, tail: Tensor) -> Tensor:
    """Returns -log2 of the density of the mixtures of `likelihood`, without bins; arguments as of `rates.mixture_bits`."""
    narrow = _log_density(value - mean, log_scale) + F.logsigmoid(-tail)
    wide = _log_density(value - mean, log_scale + math.log(WIDE)) + F.logsigmoid(tail)
    return -torch.logaddexp(narrow, wide) / math.log(2)


def _log_density(distance: Tensor, log_scale: Tensor) -> Tensor:
    ratio = distance.abs() * torch.exp(-log_scale)
    return -ratio - log_scale - 2 * F.softplus(-ratio)


class SmallLatent(nn.Module):
    """One latent variable: prior, posterior and what its value adds to the state."""

    def __init__(self, stride: int, channels: int, width: int, hidden: int) -> None:
        super().__init__()
        self.stride, self.channels = stride, channels
        self.block, self.head = Block(width, hidden), _head(hidden, 2 * channels)
        self.inference, self.inference_head = Block(width, hidden), _head(hidden, 2 * channels)
        self.select = Dense(width, channels)
        self.project = Dense(channels, width)

    def prior(self, state: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Returns the new state, and log scale and tail of the prior (B, H, W, C)."""
        hidden = self.block.expand(state)
        log_scale, tail = self.head(hidden).float().chunk(2, -1)
        tail = LowerBound.apply(tail, MIN_TAIL)
        return state + self.block.fc2(hidden), (LowerBound.apply(log_scale, MIN_POSTERIOR), -LowerBound.apply(-tail, 0.0))

    def posterior(self, lack: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
        """Returns mean and log scale of the posterior from lack = feature - state and the prior's log scale."""
        hidden = self.inference.expand(lack)
        mean, change = self.inference_head(hidden).float().chunk(2, -1)
        mean = mean + self.select(lack + self.inference.fc2(hidden))
        return mean, LowerBound.apply(log_scale + change, MIN_POSTERIOR)

    def advance(self, state: Tensor, prior: tuple[Tensor, Tensor], z: Tensor) -> Tensor:
        """Returns the state with the latent's value (B, H, W, C) added."""
        return state + self.project(z)


def _head(hidden: int, outputs: int) -> nn.Linear:
    head = nn.Linear(hidden, outputs)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


class SmallNetwork(nn.Module):
    """The whole model. values: planes (B, H, W, 3) as float32; any H and W from 1."""

    center: Tensor
    spread: Tensor

    def __init__(self, config: SmallConfig) -> None:
        super().__init__()
        self.config = config
        planes = config.planes()
        self.register_buffer("center", torch.tensor(planes.center), persistent=False)
        self.register_buffer("spread", torch.tensor(planes.spread), persistent=False)
        width = {stride: config.at(stride)[0] for stride in (8, 4, 2, 1)}
        self.down = nn.ModuleDict({str(s): Dense(_NUM_BANDS if s == 2 else 4 * width[s // 2], width[s]) for s in (2, 4, 8)})
        self.analysis = nn.ModuleDict({str(s): Block(*config.at(s)) for s in (2, 4, 8)})
        self.start = nn.Parameter(torch.zeros(width[8]))
        self.up = nn.ModuleDict({str(s): Dense(width[2 * s], 4 * width[s]) for s in (4, 2, 1)})
        self.latents = nn.ModuleList(SmallLatent(s, c, *config.at(s)) for s, c in config.latents)
        self.last, self.last_head = Block(*config.at(1)), _head(config.at(1)[1], 2 * NUM_PLANES + NUM_COEFFICIENTS)
        _initialize(self)

    def ordered_latents(self) -> list[SmallLatent]:
        """Returns the latents in coding order, coarse first."""
        return list(cast("Iterable[SmallLatent]", self.latents))

    def begin(self, batch: int, height: int, width: int) -> Position:
        """Returns where the way down begins: the learned constant on the grid of the coarsest stride."""
        state = self.start.expand(batch, -(-height // COARSEST), -(-width // COARSEST), -1)
        return Position(state, COARSEST, height, width)

    def analyze(self, values: Tensor) -> dict[int, Tensor]:
        """Returns {stride: feature}."""
        x, features = (values - self.center) / self.spread, {}
        for stride in (2, 4, 8):
            x = self.down[str(stride)](space_to_depth(pad_even(x), 2))
            features[stride] = x = self.analysis[str(stride)](x)
        return features

    def ascend(self, state: Tensor, stride: int, height: int, width: int) -> Tensor:
        """Returns the state at `stride` from the one at twice that stride, cut to the grid of the picture."""
        state = depth_to_space(self.up[str(stride)](state), 2)
        return state[:, : -(-height // stride), : -(-width // stride)]

    def likelihood(self, state: Tensor, values: Tensor) -> Tensor:
        """Returns the bits of each value (B, H, W, 3) from the state at stride 1."""
        hidden = self.last.expand(state)
        log_scale, tail, coefficient = self.last_head(hidden).float().split([NUM_PLANES, NUM_PLANES, NUM_COEFFICIENTS], -1)
        state = state + self.last.fc2(hidden)
        mean = state[..., :NUM_PLANES].float() * self.spread + self.center
        if self.config.channels == 3:
            mean = condition(mean, values, coefficient)
        tail = -LowerBound.apply(-LowerBound.apply(tail, MIN_TAIL), 0.0)
        return mixture_bits(values, mean, LowerBound.apply(log_scale, MIN_LOG_SCALE), tail)

    def forward(self, values: Tensor, coded: Tensor, direct: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns estimated bits (B,): of the pixels, of the latents, and those that the latents borrow. Continuous, one sample.

        coded: (B, H, W, 3), 1 where a value is coded, else 0. direct: (B,) bool, pictures whose latents are all zero.
        """
        features = self.analyze(values)
        keep = (~direct).float()[:, None, None, None]
        coded_bits, borrowed_bits = [], []

        def answer(latent: SmallLatent, state: Tensor, prior: tuple[Tensor, Tensor]) -> Tensor:
            """Returns a sample of the posterior, or zeros; counts its bits."""
            log_scale, tail = prior
            mean, spread = latent.posterior(features[latent.stride] - state, log_scale)
            z = mean + spread.exp() * noise(mean)
            coded_bits.append((logistic_bits(z, 0.0, log_scale, tail) * keep).sum((1, 2, 3)))
            borrowed_bits.append((logistic_bits(z, mean, spread, torch.full_like(tail, MIN_TAIL)) * keep).sum((1, 2, 3)))
            return z * keep

        end = at_stride(self, descend(self, self.begin(len(values), *values.shape[1:3]), answer), 1)
        pixel_bits = (self.likelihood(end.state, values) * coded).sum((1, 2, 3))
        return pixel_bits, torch.stack(coded_bits).sum(0), torch.stack(borrowed_bits).sum(0)


def condition(mean: Tensor, values: Tensor, coefficient: Tensor) -> Tensor:
    """Returns the means of green, red and blue given the channels before, by linear coefficients (B, H, W, 3)."""
    green, red = (values - mean)[..., 0], (values - mean)[..., 1]
    a, b, c = coefficient.unbind(-1)
    return torch.stack([mean[..., 0], mean[..., 1] + a * green, mean[..., 2] + b * green + c * red], -1)


def noise(like: Tensor) -> Tensor:
    """Returns samples of the posterior's mixture with mean 0 and scale 1: a logistic, now and then WIDE times as wide."""
    uniform = torch.rand_like(like).clamp(1e-6, 1 - 1e-6)
    wide = torch.rand_like(like) < 1 / (1 + math.exp(-MIN_TAIL))
    return torch.logit(uniform) * torch.where(wide, WIDE, 1.0)


@torch.no_grad()
def _initialize(network: SmallNetwork) -> None:
    """Makes the first coefficients a Haar pyramid, and the latents code it, coarse coefficients finely and fine ones coarsely."""
    for stride in (2, 4, 8):
        down, up = network.down[str(stride)], network.up[str(stride // 2)]
        assert isinstance(down, Dense) and isinstance(up, Dense)  # noqa: S101 (for the type checker)
        wide, narrow = down.weight.shape[1] // 4, up.weight.shape[0] // 4
        up.weight.mul_(0.3)
        for plane in range(NUM_PLANES):
            coefficients = [band * NUM_PLANES + plane for band in range(4)]
            down.weight[coefficients] = 0
            for child in range(4):
                down.weight[coefficients, child * wide + plane] = _HAAR[:, child] / 4
                up.weight[child * narrow + plane] = 0
                up.weight[child * narrow + plane, coefficients] = _HAAR[:, child]
    seen: set[int] = set()
    for latent in network.ordered_latents():
        _aim(latent, fresh=latent.stride not in seen)
        seen.add(latent.stride)
    network.last_head.bias[:NUM_PLANES] = torch.tensor([math.log(10 * s / 64) for s in network.spread.tolist()])
    network.last_head.bias[2 * NUM_PLANES :] = torch.tensor([0.8, 0.4, 0.4])


def _aim(latent: SmallLatent, fresh: bool) -> None:
    """Lets a latent code coefficients of its stride: details first, averages first where nothing coarser exists."""
    latent.select.weight.mul_(0.3)
    latent.project.weight.mul_(0.03)
    width = math.log(2.0) if fresh else MIN_POSTERIOR + 0.1
    latent.head.bias[: latent.channels] = width
    latent.inference_head.bias[latent.channels :] = MIN_POSTERIOR + 0.1 - width
    order = np.roll(np.arange(_NUM_BANDS), 0 if latent.stride == COARSEST else -NUM_PLANES)
    for channel, coefficient in enumerate(order[: latent.channels] if fresh else ()):
        latent.select.weight[channel] = 0
        latent.select.weight[channel, coefficient] = 1 / _STEP[latent.stride]
        latent.project.weight[:, channel] = 0
        latent.project.weight[coefficient, channel] = _STEP[latent.stride]
