"""What the families are built of: residual blocks, a bottom-up pyramid, Gaussian heads and the pixel likelihood.

Room: network. Tensors are (B, C, H, W). A feature or state at stride s has ceil(H / s) rows and ceil(W / s) columns, so pictures
may have any size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hcodec.models.lab.distributions import STEP, Gaussian, Pixels, bounded
from hcodec.models.lab.protocol import PIXELS, Answer

COMPONENTS = 5  # of the mixture of each sub-pixel
GAIN = 1.5  # of weights after a SiLU or GELU
_SMALL = 0.3  # what the branch of a residual block counts at first
_READY = -1.0  # raw log scale of an informative posterior
NUM_COEFFICIENTS = {1: 0, 3: 3}  # of green on red, of blue on red and green


def conv(num_in: int, num_out: int, size: int, stride: int = 1) -> nn.Conv2d:
    """Returns a convolution that keeps the size of activations after a SiLU or GELU, at first; without this, z would be faint."""
    layer = nn.Conv2d(num_in, num_out, size, stride, size // 2)
    nn.init.normal_(layer.weight, std=GAIN / math.sqrt(num_in * size**2))
    return zero_bias(layer)


def zero(layer: nn.Conv2d) -> nn.Conv2d:
    """Returns the layer with weights and bias set to zero."""
    nn.init.zeros_(layer.weight)
    return zero_bias(layer)


def zero_bias(layer: nn.Conv2d) -> nn.Conv2d:
    """Returns the layer with its bias set to zero."""
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def normalize(x: Tensor) -> Tensor:
    """Returns pixels 0..255 on the scale from -1 to 1."""
    return x / 127.5 - 1


class Residual(nn.Module):
    """x + conv(silu(conv(silu(x)))), 3x3, the branch small at initialization; (B, width, H, W)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = conv(width, width, 3)
        self.second = conv(width, width, 3)
        self.second.weight.data.mul_(_SMALL)

    def forward(self, x: Tensor) -> Tensor:
        """Returns (B, width, H, W)."""
        y: Tensor = self.second(F.silu(self.first(F.silu(x))))
        return x + y


def down(num_in: int, num_out: int) -> nn.Conv2d:
    """Returns a convolution to half the rows and columns, rounded up."""
    return conv(num_in, num_out, 3, stride=2)


class Pyramid(nn.Module):
    """The deterministic bottom-up path: pixels to one feature per stride 2, 4, ...; widths start at stride 1."""

    def __init__(self, channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.stem = conv(channels, widths[0], 3)
        self.downs = nn.ModuleList(down(a, b) for a, b in pairwise(widths))
        self.blocks = nn.ModuleList(Residual(width) for width in widths[1:])

    def forward(self, x: Tensor) -> dict[int, Tensor]:
        """Returns {stride: feature} from pixels (B, C, H, W), 0..255."""
        state, features = self.stem(normalize(x)), {}
        for i, (down, block) in enumerate(zip(self.downs, self.blocks, strict=True)):
            state = features[2 << i] = block(down(F.silu(state)))
        return features


class Rise(nn.Module):
    """Twice the rows and columns by repeating each cell (nearest neighbor), then a 1x1 convolution."""

    def __init__(self, num_in: int, num_out: int) -> None:
        super().__init__()
        self.mix = conv(num_in, num_out, 1)

    def forward(self, state: Tensor, height: int, width: int) -> Tensor:
        """Returns (B, num_out, height, width), cut to that grid."""
        return nearest(self.mix(state).float(), height, width)


def nearest(x: Tensor, height: int, width: int) -> Tensor:
    """Returns x (B, C, H, W) with each cell repeated by a power of two until it covers height and width, then cut to them."""
    while x.shape[2] < height or x.shape[3] < width:
        x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    return x[:, :, :height, :width]


def grid(size: int, stride: int) -> int:
    """Returns the rows or columns of a feature at a stride."""
    return -(-size // stride)


class GaussianHead(nn.Module):
    """Mean and raw log scale of a latent from a feature: at first a standard Gaussian, or with `ready` an informative one."""

    def __init__(self, num_in: int, channels: int, ready: bool = False) -> None:
        super().__init__()
        self.conv = zero(conv(num_in, 2 * channels, 1))
        if ready:
            nn.init.normal_(self.conv.weight[:channels], std=1 / math.sqrt(num_in))
            self.conv.bias = nn.Parameter(torch.cat([torch.zeros(channels), torch.full((channels,), _READY)]))

    def parameters_of(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        """Returns mean and raw log scale (B, channels, H, W)."""
        mean, raw = self.conv(F.silu(feature)).float().chunk(2, 1)
        return mean, raw

    def forward(self, feature: Tensor) -> Gaussian:
        """Returns the Gaussian."""
        mean, raw = self.parameters_of(feature)
        return Gaussian(mean, bounded(raw))


def standard(shape: Sequence[int], like: Tensor) -> Gaussian:
    """Returns the standard Gaussian of a shape, as heads give it at initialization."""
    blank = torch.zeros(*shape, device=like.device)
    return Gaussian(blank, bounded(blank), STEP)


class PixelHead(nn.Module):
    """The likelihood of all pixels from a state at stride 1: mixtures, each channel given those before it."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.conv = conv(width, 3 * channels * COMPONENTS + NUM_COEFFICIENTS[channels], 1)
        nn.init.normal_(self.conv.weight, std=0.02)
        bias = torch.zeros(3, channels, COMPONENTS)
        bias[1] = torch.linspace(-1, 1, COMPONENTS)
        bias[2] = -1.5
        self.conv.bias = nn.Parameter(torch.cat([bias.flatten(), torch.zeros(NUM_COEFFICIENTS[channels])]))

    def parameters_of(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the mixtures (B, 3, C, K, H, W) and the coefficients (B, 0 or 3, H, W)."""
        numbers = self.conv(F.silu(state)).float()
        count = 3 * self.channels * COMPONENTS
        return numbers[:, :count].unflatten(1, (3, self.channels, COMPONENTS)), numbers[:, count:]

    def ask(self, state: Tensor, answer: Answer) -> Tensor:
        """Asks for all pixels, channel after channel; returns them (B, C, H, W)."""
        mixtures, coefficients = self.parameters_of(state)
        found: list[Tensor] = []
        for channel in range(self.channels):
            found.append(answer(PIXELS, given_before(mixtures, coefficients, found), (slice(None), channel)))
        return torch.stack(found, 1)


def given_before(mixtures: Tensor, coefficients: Tensor, before: Sequence[Tensor]) -> Pixels:
    """Returns the distribution of the next channel given the values of those before, 0..255, each (B, ...).

    mixtures (B, 3, C, K, ...), coefficients (B, 0 or 3, ...); the linear terms are those of Salimans et al. 2017, Eq. 3.
    """
    channel = len(before)
    logits, means, log_scales = mixtures[:, :, channel].unbind(1)
    first = channel * (channel - 1) // 2
    for i, value in enumerate(before):
        means = means + coefficients[:, first + i, None] * normalize(value)[:, None]
    return Pixels(logits, means, log_scales)
