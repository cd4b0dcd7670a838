"""Encoder-side search: the symbols of one picture, refined by descending on what its stream costs.

Room: photo (between encode steps 5 and 8, on demand). The analysis is amortized: it was fitted to all pictures and is
best for none. Here each latent gets an offset to its posterior mean, and the offsets descend on the training
objective of this one picture (semi-amortized inference: Kim et al. 2018, arXiv 1802.02550; for compression: Campos et
al. 2019, arXiv 1906.01223), through a differentiable twin of the agreed path. The symbols are still taken on the
exact path, by `prefix.Prefix`: what is sent changes, format, weights and decoder do not. Imports neither the codec
nor the coder.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from hcodec.models.blocks import depth_to_space, depthwise
from hcodec.models.descend import Position, descend
from hcodec.models.integer.certificate import ACTIVATION_LIMIT
from hcodec.models.integer.products import STATE_UNIT, IntegerBlock, Product
from hcodec.models.photo.agreed import IntegerLatent
from hcodec.models.photo.config import COARSEST
from hcodec.models.photo.model import Model, torch_networks
from hcodec.models.photo.objective import SEARCH_EXPONENT, exit_weights, mean_squared_error
from hcodec.models.photo.walk import MEAN_UNIT
from hcodec.models.rates import symbol_bits
from hcodec.models.tables import symbol_tables
from hcodec.models.tables.scales import LOG_SCALE_STEP, MIN_LOG_SCALE, NUM_SCALES

TILE = 768  # longest edge in pixels of what is searched at a time, so that memory stays bounded
MARGIN = 64  # pixels around a tile that are searched with it and thrown away, so that its neighbors matter
_CURVATURE = 12 / math.log(2)  # bits per squared step of the objective at high rate, where Delta^2/12 of error costs best
_MOMENTUM = 0.5
_SOFT_SHARE = 0.5  # of the descent that sees soft symbols, then come rounded ones
_HARDNESS = 0.6  # of the soft symbols at last; 1 would be flat at the integers

Show = Callable[[float], None]  # gets the share that is done


def refine(
    model: Model, pixels: NDArray[np.uint8], levels: int, passes: int, show: Show = lambda share: None, device: str = "cpu"
) -> list[NDArray[np.float32]]:
    """Returns the offset of each latent of the first `levels`, in steps, to add to posterior minus prior mean before rounding.

    pixels: uint8 (H, W, 3). passes: how often each exit's gradient is taken; memory goes with the size of a tile, time with
    pixels times passes times levels. The same machine gives the same offsets. Shapes: float32 (1, H_l, W_l, C_l).
    """
    height, width = pixels.shape[:2]
    with torch.inference_mode(False), torch.enable_grad():
        search = _Search(model, levels, torch.device(device))
        x = torch.tensor(pixels, device=device).permute(2, 0, 1)[None].float() / 255
        offsets = search.zeros(height, width)
        tiles = [(rows, columns) for rows in _spans(height) for columns in _spans(width)]
        for done, (rows, columns) in enumerate(tiles):
            part = x[:, :, rows.outer, columns.outer]
            found = search.lower(part, passes, _part_of(show, done, len(tiles)))
            for whole, tile, latent in zip(offsets, found, search.latents, strict=True):
                inner = rows.inner(latent.stride), columns.inner(latent.stride)
                whole[:, inner[0], inner[1]] = tile[:, rows.kept(latent.stride), columns.kept(latent.stride)]
    return [offset.cpu().numpy() for offset in offsets]


def _part_of(show: Show, done: int, count: int) -> Show:
    """Returns what a tile reports to, so that `show` gets the share of all tiles."""
    return lambda share: show((done + share) / count)


@dataclass(frozen=True)
class _Span:
    """One tile along one edge: pixels begin..end, in a window low..high with margins."""

    begin: int
    end: int
    low: int
    high: int

    @property
    def outer(self) -> slice:
        """The window, in pixels."""
        return slice(self.low, self.high)

    def inner(self, stride: int) -> slice:
        """The tile's cells in the grid of the picture."""
        return slice(self.begin // stride, -(-self.end // stride))

    def kept(self, stride: int) -> slice:
        """The tile's cells in the grid of its window."""
        return slice((self.begin - self.low) // stride, -(-(self.end - self.low) // stride))


def _spans(edge: int) -> Iterator[_Span]:
    """Yields the tiles along an edge, nearly as long as each other, which begin at multiples of the coarsest stride."""
    count = -(-edge // TILE)
    length = -(-edge // count // COARSEST) * COARSEST
    for begin in range(0, edge, length):
        end = min(begin + length, edge)
        yield _Span(begin, end, max(begin - MARGIN, 0), min(end + MARGIN, edge))


def _order(levels: int) -> list[int]:
    """Returns every exit once, every third in turn, so that few steps in a row see coarse and fine ones."""
    return [level for first in (1, 2, 3) for level in range(first, levels + 1, 3)]


class _Block:
    """`products.IntegerBlock` with gains folded in and without rounding, so that gradients pass; states in float units."""

    def __init__(self, block: IntegerBlock) -> None:
        self.gain = block.gain / STATE_UNIT
        self.kernel, self.kernel_bias = _folded(block.kernel, 1.0)
        self.fc1, self.fc2 = _folded(block.fc1, 1.0), _folded(block.fc2, STATE_UNIT)
        self.head = None if block.head is None else _folded(block.head, 1.0)

    def __call__(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the new state and the hidden activations."""
        x = (state * self.gain).clamp(-ACTIVATION_LIMIT, ACTIVATION_LIMIT)
        x = depthwise(x, self.kernel, self.kernel_bias).clamp(-ACTIVATION_LIMIT, ACTIVATION_LIMIT)
        hidden = F.linear(x, *self.fc1).clamp(0, ACTIVATION_LIMIT)
        return state + F.linear(hidden, *self.fc2), hidden


def _folded(product: Product, unit: float) -> tuple[Tensor, Tensor]:
    """Returns weight and bias of a product with its gain, in float32, its results being worth `unit` each."""
    gain = product.gain * unit
    weight = product.weight * gain.reshape(-1, *[1] * (product.weight.dim() - 1))
    return weight.float(), (product.bias * gain).float()


def _carry(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Returns a product that carries the signal itself, in float32 always."""
    with torch.autocast(x.device.type, enabled=False):
        return F.linear(x.float(), weight, bias)


class _Latent:
    """`agreed.IntegerLatent` without rounding, and the float posterior of the same latent."""

    def __init__(self, agreed: IntegerLatent, posterior: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]) -> None:
        self.index, self.level, self.stride, self.channels = agreed.index, agreed.level, agreed.stride, agreed.channels
        self.refine, self.posterior = [_Block(block) for block in agreed.refine], posterior
        self.block = _Block(agreed.block)
        weight, self.bias = _folded(agreed.project, STATE_UNIT)
        self.weight = weight / MEAN_UNIT

    def prior(self, state: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Returns the refined state, and the prior: its mean in steps and the scale index, not rounded."""
        for refine in self.refine:
            state, _ = refine(state)
        state, hidden = self.block(state)
        head = F.linear(hidden, *self.block.head).float() if self.block.head is not None else hidden
        mean, index = head.split(self.channels, -1)
        return state, (mean * MEAN_UNIT, index.clamp(0, NUM_SCALES - 1))

    def advance(self, state: Tensor, prior: tuple[Tensor, Tensor], symbols: Tensor) -> Tensor:
        """Returns the state with the symbols, steps from the prior's mean, added."""
        return state + _carry(prior[0] + symbols, self.weight, self.bias)


class _Search:
    """The twin of a model's agreed path, and gradient descent on what the stream of one picture costs."""

    def __init__(self, model: Model, levels: int, device: torch.device) -> None:
        self.network, agreed = torch_networks(model.path, device)
        self.config, self.device = model.config, device
        self.start = agreed.start * STATE_UNIT
        self.up = {stride: _folded(product, 1.0) for stride, product in agreed.up.items()}
        posteriors = (latent.posterior for latent in self.network.ordered_latents())
        self.all_latents = [_Latent(*pair) for pair in zip(agreed.latents, posteriors, strict=True)]
        self.latents = [latent for latent in self.all_latents if latent.level <= levels]
        self.levels, self.weights = levels, exit_weights(self.config.lmbda, levels, SEARCH_EXPONENT)
        self.num_silent = symbol_tables.split(model.tables)[0]
        self.half = _is_bfloat16_fast(device)

    def zeros(self, height: int, width: int) -> list[Tensor]:
        """Returns a zero offset for each latent that is kept."""
        return [
            torch.zeros(1, -(-height // latent.stride), -(-width // latent.stride), latent.channels, device=self.device)
            for latent in self.latents
        ]

    def lower(self, x: Tensor, passes: int, show: Show) -> list[Tensor]:
        """Returns the offsets of a picture (1, 3, H, W): descent with momentum, one exit a step."""
        offsets = [offset.requires_grad_() for offset in self.zeros(x.shape[2], x.shape[3])]
        speeds = [torch.zeros_like(offset) for offset in offsets]
        with torch.no_grad():
            features = self.network.analyze(x)
        steps = [1 / (_CURVATURE * sum(self.weights[latent.level - 1 :])) for latent in self.latents]
        exits = passes * _order(self.levels)
        for done, level in enumerate(exits):
            share = done / len(exits)
            cost, errors = self.cost(x, features, offsets, level, share)
            gradients = torch.autograd.grad(cost, offsets, allow_unused=True)
            rate = 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * share))
            with torch.no_grad():
                for offset, speed, step, gradient, error in zip_longest(offsets, speeds, steps, gradients, errors):
                    speed.mul_(_MOMENTUM)
                    if gradient is not None:
                        speed.add_(_without_own(error, gradient), alpha=(1 - _MOMENTUM) * step)
                    offset.sub_(speed, alpha=rate)
            show((done + 1) / len(exits))
        return [offset.detach() for offset in offsets]

    def cost(
        self, x: Tensor, features: dict[int, Tensor], offsets: list[Tensor], level: int, share: float
    ) -> tuple[Tensor, list[Tensor]]:
        """Returns weight * (bits + lmbda * pixels * MSE) of the stream of a picture that ends at a level.

        share: of the descent that is done. Second: the error of rounding of each latent that the stream holds, in steps.
        """
        height, width = x.shape[2:]
        bits: list[Tensor] = []
        errors: list[Tensor] = []

        def answer(latent: _Latent, state: Tensor, prior: tuple[Tensor, Tensor]) -> Tensor:
            """Returns rounded residuals where the stream holds the latent, else zeros; counts their bits."""
            mean, index = prior
            if latent.level > level:
                return torch.zeros_like(mean)
            log_scale = MIN_LOG_SCALE + index * LOG_SCALE_STEP
            residual = latent.posterior(state, features[latent.stride], mean, log_scale) + offsets[latent.index]
            coded = (index.round() >= self.num_silent).float()
            bits.append((_smooth_bits(residual, log_scale) * coded).sum())
            symbols, error = _rounded(residual, share)
            errors.append(error * coded)
            return symbols * coded

        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.half):
            start = self.start.expand(1, -(-height // COARSEST), -(-width // COARSEST), -1)
            end = descend(self, Position(start, COARSEST, height, width), answer)
            exits = F.one_hot(torch.tensor([level - 1], device=x.device), self.config.num_levels).float()
            x_hat = self.network.synthesize(end.state, exits, height, width).float().clamp(0, 1)
        distortion = height * width * mean_squared_error(x_hat, x).sum()
        return self.weights[level - 1] * (sum(bits, x.new_zeros(())) + self.config.lmbda[level - 1] * distortion), errors

    def ordered_latents(self) -> list[_Latent]:
        """Returns the latents in coding order, coarse first."""
        return self.all_latents

    def ascend(self, state: Tensor, stride: int, height: int, width: int) -> Tensor:
        """Returns the state at `stride` from the one at twice that stride, cut to the grid of the picture."""
        weight, bias = self.up[stride]
        state = depth_to_space(_carry(state, weight, bias * STATE_UNIT), 2)
        return state[:, : -(-height // stride), : -(-width // stride)]


def _smooth_bits(residual: Tensor, log_scale: Tensor) -> Tensor:
    """Returns the mean of the bits over the unit bin around each residual (Simpson's rule): noise without randomness."""
    inner, outer = symbol_bits(residual, log_scale), residual.new_tensor(0.5)
    return (symbol_bits(residual - outer, log_scale) + 4 * inner + symbol_bits(residual + outer, log_scale)) / 6


def _rounded(residual: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Returns the residuals as symbols, passing gradients, and the error of rounding, without; share: of the descent done.

    First they are only drawn towards integers, so that the large steps at the beginning see a smooth objective.
    """
    if share < _SOFT_SHARE:
        hardness = _HARDNESS * share / _SOFT_SHARE
        return residual - hardness / (2 * math.pi) * torch.sin(2 * math.pi * residual), torch.zeros_like(residual)
    error = (residual.round() - residual).detach()
    return residual + error, error


def _without_own(error: Tensor, gradient: Tensor) -> Tensor:
    """Returns the gradient (1, H, W, C) at true symbols without what each symbol's own error of rounding adds to it.

    That part drives a residual away from the integer to which it was rounded, whatever its error; no small step can mend it, but
    it hides the rest. Errors are as good as random, so a regression over each channel tells how much they add (the curvature).
    """
    slope = (gradient * error).sum((0, 1, 2)) / (error.square().sum((0, 1, 2)) + 1e-3)
    return gradient - slope.clamp(min=0) * error


def _is_bfloat16_fast(device: torch.device) -> bool:
    """Whether products in bfloat16 save time; the gradients do not need more."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", bool)())  # older versions of torch cannot tell
