"""The PixelVAE: a latent for what is global, and a masked autoregressive decoder for the pixels.

Room: network. Gulrajani et al. 2016, arXiv 1611.05013, section 3. Pixels come in phases, all those of row i and column j with the
same 2 i + j at once: each sees nearly all that it would see in raster order, and a picture takes 2 H + W passes instead of
H * W. Where the pixels are known, one pass does for all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hcodec.models.lab.layers import GAIN, PixelHead, conv, given_before, normalize, zero, zero_bias
from hcodec.models.lab.protocol import PIXELS, Answer
from hcodec.models.lab.topdown import TopDown
from hcodec.models.lab.vae import OnlyLatent


@dataclass(frozen=True)
class Config:
    """channels: of a picture. widths: of states at strides 1, 2, 4, ... latent: channels of z. blocks: of the masked decoder."""

    channels: int = 1
    widths: tuple[int, ...] = (32, 32, 32)
    latent: int = 4
    blocks: int = 5


TINY = Config(widths=(8, 8, 8), latent=2, blocks=2)


class Masked(nn.Conv2d):
    """A convolution that sees only pixels of earlier phases, and with `own` the one in the middle, too."""

    mask: Tensor

    def __init__(self, num_in: int, num_out: int, size: int, own: bool) -> None:
        super().__init__(num_in, num_out, size, padding=size // 2)
        row, column = torch.meshgrid(*2 * [torch.arange(size) - size // 2], indexing="ij")
        mask = 2 * row + column < 0
        mask[size // 2, size // 2] = own
        nn.init.normal_(self.weight, std=GAIN / math.sqrt(num_in * float(mask.sum())))
        zero_bias(self)
        self.register_buffer("mask", mask.float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Returns (B, num_out, H, W)."""
        return F.conv2d(x, self.weight * self.mask, self.bias, padding=self.padding)


class MaskedBlock(nn.Module):
    """x plus a masked 3x3 convolution between 1x1 ones over half the width, given the state."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.state = conv(width, width // 2, 1)
        self.narrow = conv(width, width // 2, 1)
        self.masked = Masked(width // 2, width // 2, 3, own=True)
        self.widen = zero(conv(width // 2, width, 1))

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        """Returns (B, width, H, W)."""
        hidden = self.narrow(F.silu(x)) + self.state(state)
        y: Tensor = self.widen(F.silu(self.masked(F.silu(hidden))))
        return x + y


class Decoder(nn.Module):
    """Features of each pixel from the state and all pixels of earlier phases."""

    def __init__(self, channels: int, width: int, blocks: int) -> None:
        super().__init__()
        self.first = Masked(channels, width, 7, own=False)
        self.blocks = nn.ModuleList(MaskedBlock(width) for _ in range(blocks))

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        """Returns (B, width, H, W) from pixels (B, C, H, W), 0..255, and the state at stride 1."""
        hidden = self.first(normalize(x)) + state
        for block in self.blocks:
            hidden = block(hidden, state)
        return hidden


class Network(TopDown):
    """The whole model."""

    head: PixelHead

    def __init__(self, config: Config) -> None:
        layer = OnlyLatent(1 << len(config.widths) - 1, config.widths[-1], config.latent)
        super().__init__(config.channels, config.widths, [layer])
        self.config = config
        self.decoder = Decoder(config.channels, config.widths[0], config.blocks)

    def paint(self, state: Tensor, answer: Answer) -> Tensor:
        """Asks for the pixels, at once if they are known, else phase by phase."""
        state = self.last(state)
        x = answer.known(PIXELS)
        if x is not None:
            return self.head.ask(self.decoder(x, state), answer)
        height, width = state.shape[2:]
        x = torch.zeros(len(state), self.config.channels, height, width, device=state.device)
        phase = 2 * torch.arange(height)[:, None] + torch.arange(width)
        for number in range(int(phase.max()) + 1):
            rows, columns = torch.nonzero(phase == number, as_tuple=True)
            x[:, :, rows, columns] = self._phase(x, state, rows, columns, answer)
        return x

    def _phase(self, x: Tensor, state: Tensor, rows: Tensor, columns: Tensor, answer: Answer) -> Tensor:
        """Returns the pixels (B, C, n) of one phase from those of all phases before."""
        mixtures, coefficients = self.head.parameters_of(self.decoder(x, state))
        mixtures, coefficients = mixtures[..., rows, columns], coefficients[..., rows, columns]
        found: list[Tensor] = []
        for channel in range(self.config.channels):
            part = (slice(None), channel, rows, columns)
            found.append(answer(PIXELS, given_before(mixtures, coefficients, found), part))
        return torch.stack(found, 1)
