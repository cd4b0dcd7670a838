"""What the known neighbors of a pixel say of it: the same arithmetic in floats for training and on integers for coding."""

from __future__ import annotations

import torch
from torch import Tensor


def neighbors(known: Tensor, base: Tensor, offset: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the mean of the four known neighbors, the base's distance from its own such mean, and the slant.

    known: (B, H, W, 4, 3), the pixels of each cell in row-major order; base: the same of what the base shows. The slant is
    half the difference between the two pairs of opposite neighbors.
    """
    pairs = [_pairs(maps, offset) for maps in (known, base)]
    (first, second), (base_first, base_second) = pairs
    own = base[..., offset[0] * 2 + offset[1], :]
    return (first + second) / 2, own - (base_first + base_second) / 2, (first - second) / 2


def _pairs(maps: Tensor, offset: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Returns the means of the two pairs of opposite known neighbors, (B, H, W, 3) each."""
    corner, center = maps[..., 0, :], maps[..., 3, :]
    right, below = _next(corner, 2), _next(corner, 1)
    if offset == (1, 1):
        return (corner + _next(right, 1)) / 2, (right + below) / 2
    if offset == (0, 1):
        return (corner + right) / 2, (center + _previous(center, 1)) / 2
    return (corner + below) / 2, (center + _previous(center, 2)) / 2


def _next(x: Tensor, axis: int) -> Tensor:
    """Returns the map moved by one cell, so that each cell holds its right or lower neighbor; the edge repeats."""
    return torch.cat([x.narrow(axis, 1, x.shape[axis] - 1), x.narrow(axis, x.shape[axis] - 1, 1)], axis)


def _previous(x: Tensor, axis: int) -> Tensor:
    return torch.cat([x.narrow(axis, 0, 1), x.narrow(axis, 0, x.shape[axis] - 1)], axis)
