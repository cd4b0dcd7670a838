"""Where training starts: the network set up as a closed-loop pyramid of block DCTs.

Room: photo, training only. Coefficients get the orthonormal 8x8 DCT of the picture in an orthonormal luma-chroma
basis; a doubled stride sees the half-resolution picture that the low 4x4 frequencies hold; each latent codes the
coefficients in which the state still lacks most, with a step fitted to its level. Everything else of the network is
near zero at that moment. Random initialization spends most of a short training run on finding such a transform.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from hcodec.models.blocks import Dense, pad_to, space_to_depth
from hcodec.models.descend import at_stride
from hcodec.models.photo.config import NUM_COEFFICIENTS, STRIDES
from hcodec.models.photo.network import Latent, Network
from hcodec.models.rates import symbol_bits
from hcodec.models.tables.scales import MIN_LOG_SCALE

_FREE_SIGMA = 16.0  # of the coefficients beyond the DCT, in pixel units: the typical error that they will help to mend
_LOGISTIC = math.pi / math.sqrt(3)  # standard deviation of a logistic distribution of scale 1


def dct_matrix(size: int) -> Tensor:
    """Returns the orthonormal DCT-II (size, size), frequency by position."""
    n = torch.arange(size, dtype=torch.float64)
    matrix = torch.cos(math.pi / size * (n[None] + 0.5) * n[:, None]) * math.sqrt(2 / size)
    matrix[0] /= math.sqrt(2)
    return matrix


def color_matrix() -> Tensor:
    """Returns the orthonormal basis (3, 3) of luma, red minus blue, and green against both."""
    rows = torch.tensor([[1.0, 1, 1], [1, 0, -1], [1, -2, 1]], dtype=torch.float64)
    return rows / rows.norm(dim=1, keepdim=True)


def patch_transform() -> Tensor:
    """Returns the orthonormal map (192, 192) from an 8x8 RGB patch (row, column, color) to coefficients (v, u, color)."""
    dct = dct_matrix(8)
    return torch.einsum("vy,ux,kc->vukyxc", dct, dct, color_matrix()).reshape(NUM_COEFFICIENTS, NUM_COEFFICIENTS)


def merge_transform() -> Tensor:
    """Returns the map (192, 4 * 192) from the coefficients of 2x2 cells to those of the half-resolution cell above.

    Rows are orthonormal: the low 4x4 frequencies of each child, taken as a 4x4 DCT, give four 4x4 pictures whose 8x8 DCT
    is the parent. Its transpose is the best linear prediction of the children.
    """
    low = dct_matrix(4).T @ torch.eye(4, 8, dtype=torch.float64)  # (pixel, frequency of the child)
    rows = torch.stack([torch.cat([low, torch.zeros(4, 8)]), torch.cat([torch.zeros(4, 8), low])])  # (child, pixel, frequency)
    axis = torch.einsum("fp,cpg->fcg", dct_matrix(8), rows)  # (parent frequency, child, child frequency)
    merged = torch.einsum("vag,ubh,kl->vukabghl", axis, axis, torch.eye(3, dtype=torch.float64))
    return merged.reshape(NUM_COEFFICIENTS, 4 * NUM_COEFFICIENTS)


def widen(matrix: Tensor, rows: int, columns: int, groups_out: int = 1, groups_in: int = 1) -> Tensor:
    """Returns the matrix with zero rows and columns added behind the coefficients of each group."""
    out = torch.zeros(groups_out, rows, groups_in, columns)
    out[:, : matrix.shape[0] // groups_out, :, : matrix.shape[1] // groups_in] = matrix.reshape(
        groups_out, matrix.shape[0] // groups_out, groups_in, matrix.shape[1] // groups_in
    )
    return out.reshape(groups_out * rows, groups_in * columns)


@torch.no_grad()
def initialize(network: Network, pictures: Tensor) -> None:
    """Sets the network up as the pyramid coder, fitted to pictures (B, 3, H, W) in [0, 1], H and W multiples of 64."""
    network.dct.copy_(patch_transform())
    sigma = _set_transforms(network, pictures)
    features = network.analyze(pictures)

    position = network.begin(len(pictures), *pictures.shape[2:])
    for latent in network.ordered_latents():  # without priors: their blocks are random still
        position = at_stride(network, position, latent.stride)
        lack = features[latent.stride] - position.state
        _fit_latent(latent, lack, sigma[latent.stride], network.config.lmbda[latent.level - 1])
        coded = latent.project(latent.posterior.select(lack).round())
        position = replace(position, state=position.state + coded)


def _set_transforms(network: Network, pictures: Tensor) -> dict[int, Tensor]:
    """Fits the units of all coefficients and sets the way down and up; returns the units by stride."""
    pixels = (pad_to(pictures, 64) - 0.5).permute(0, 2, 3, 1) * 255
    coefficients = F.linear(space_to_depth(pixels, 8), network.dct)
    sigma, merge = {}, merge_transform().float()
    for stride in reversed(STRIDES):
        if stride > 8:
            coefficients = F.linear(space_to_depth(coefficients, 2), merge)
        flat = coefficients.reshape(-1, NUM_COEFFICIENTS)
        sigma[stride] = F.pad(flat.std(0).clamp(min=1.0), (0, network.config.width[stride] - NUM_COEFFICIENTS), value=_FREE_SIGMA)
    network.sigma.copy_(sigma[8][:NUM_COEFFICIENTS])
    network.start[:NUM_COEFFICIENTS] = flat.mean(0) / sigma[64][:NUM_COEFFICIENTS]
    for stride in (16, 32, 64):
        fine, coarse = sigma[stride // 2], sigma[stride]
        down, up = cast(Dense, network.analysis.down[str(stride)]), cast(Dense, network.up[str(stride // 2)])
        down.weight.copy_(widen(merge, len(coarse), len(fine), groups_in=4))
        down.gain_in.copy_(fine.repeat(4))
        down.gain_out.copy_(1 / coarse)
        up.weight.copy_(widen(merge.T, len(fine), len(coarse), groups_out=4))
        up.gain_in.copy_(coarse)
        up.gain_out.copy_(1 / fine.repeat(4))
    return sigma


def _fit_latent(latent: Latent, lack: Tensor, sigma: Tensor, lmbda: float) -> None:
    """Makes the latent code the coefficients in which that pays most, and fits its prior scales to what it then codes."""
    step, gain = _best_steps(lack * sigma, lmbda / 3)
    chosen = gain.argsort(descending=True)[: latent.channels]
    select, project = latent.posterior.select, latent.project
    select.weight.zero_()
    select.weight[torch.arange(latent.channels), chosen] = 1
    select.gain_in.copy_(sigma)
    select.gain_out.copy_(1 / step[chosen])
    project.weight.copy_(select.weight.T)
    project.gain_in.copy_(step[chosen])
    project.gain_out.copy_(1 / sigma)
    latent.head.bias[latent.channels :] = _best_log_scale(select(lack).round())


def _best_steps(lack: Tensor, weight: float) -> tuple[Tensor, Tensor]:
    """Returns for each coefficient of lack (B, H, W, C), in pixel units, the step that pays most and what it gains, in bits.

    weight: bits that one unit of squared error is worth. At high rate the best step is sqrt(12 / (2 ln 2 weight)).
    """
    theory = math.sqrt(6 / (math.log(2) * weight))
    spread = lack.square().mean((0, 1, 2)).sqrt()
    steps = [torch.full_like(spread, theory * factor) for factor in (0.6, 0.8, 1.0, 1.3)] + [3 * spread + 1e-3]
    gains = []
    for step in steps:
        symbol = (lack / step).round()
        saved = (lack.square() - (lack - symbol * step).square()).mean((0, 1, 2))
        gains.append(weight * saved - symbol_bits(symbol, _best_log_scale(symbol)).mean((0, 1, 2)))
    best = torch.stack(gains).max(0)
    return torch.stack(steps).gather(0, best.indices[None])[0], best.values


def _best_log_scale(symbol: Tensor) -> Tensor:
    """Returns, for each channel of symbol (..., C), the log scale that codes it with the fewest bits."""
    spread = symbol.square().mean((0, 1, 2)).sqrt() / _LOGISTIC
    candidates = [(spread * factor + 1e-9).log().clamp(min=MIN_LOG_SCALE) for factor in (0.25, 0.4, 0.6, 0.8, 1.0)]
    candidates += [torch.full_like(spread, math.log(scale)) for scale in (0.04, 0.06, 0.1, 0.15)]
    bits = torch.stack([symbol_bits(symbol, scale).mean((0, 1, 2)) for scale in candidates])
    return torch.stack(candidates).gather(0, bits.argmin(0, keepdim=True))[0]
