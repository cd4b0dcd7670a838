"""The post filter: small filters, fitted to one picture and sent with it, on what the network makes of a level.

Room: photo (decode step 8; fitted in encode step 9). The network is the same for all pictures; how sharp, noisy and
colorful one picture is, the encoder sees and says in a few dozen bytes a level. As in the adaptive loop filter of VVC
(ITU-T H.266), filters are symmetric, go by local activity and come from least squares. But here bands of activity
pass smoothly into one another, so that the last bit of a float never decides between two filters. Float, as the
synthesis: nothing that is decoded depends on it. FORMAT.md, "Post filter".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

PAIRS = ((0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (2, 0), (1, 2), (2, 1), (1, -2), (2, -1))  # format: one neighbor of each pair
_FOREIGN = 2  # format: pairs, the first ones, that each color takes from each of the other two
WEIGHTS = len(PAIRS) + 2 * _FOREIGN  # of a filter, for each color
BANDS = 4  # format: of activity
GROUPINGS = ((), ((0, 1, 2, 3),), ((0, 1), (2, 3)), ((0,), (1,), (2,), (3,)))  # format: which bands share a filter
COARSENESSES = 6  # format
_STEPS = (1 / 16, 1 / 32, 1 / 64, 1 / 128)  # format: of the finest weights, by the last band of their group
_LOWEST = 0.6  # format: activity in gray levels at the first band; each next one is four times as active
_RADIUS = 3  # pixels around one that its activity depends on
_STRIP_PIXELS = 1 << 16  # that are filtered at a time, so that memory stays bounded
_RIDGE = 0.02  # squared gray levels: what hardly moves a pixel is not worth a large weight


@dataclass(frozen=True)
class PostFilter:
    """What is sent of a filter: which bands share one, how coarse the steps are, and the weights in steps.

    grouping: an index into GROUPINGS; coarseness: 0 to 5, each with steps twice as long as the one before;
    symbols: int32 (groups * 3 * WEIGHTS,).
    """

    grouping: int
    coarseness: int
    symbols: NDArray[np.int32]

    def weights(self) -> Tensor:
        """Returns float32 (BANDS, 3, WEIGHTS): what each of `_terms`, a pair's mean minus the pixel, counts."""
        weights = torch.zeros(BANDS, 3, WEIGHTS, dtype=torch.float32)
        groups = GROUPINGS[self.grouping]
        each = torch.from_numpy(self.symbols.astype(np.float32)).reshape(len(groups), 3, WEIGHTS)
        for group, filters in zip(groups, each, strict=True):
            weights[list(group)] = filters * (_STEPS[group[-1]] * 2**self.coarseness)
        return weights


def num_symbols(grouping: int) -> int:
    """Returns how many weights are sent for a grouping, an index into GROUPINGS."""
    return len(GROUPINGS[grouping]) * 3 * WEIGHTS


def _terms(color: int) -> list[tuple[int, int]]:
    """Returns color and pair (an index into PAIRS) of each weight of a color."""
    others = [(other, pair) for other in range(3) if other != color for pair in range(_FOREIGN)]
    return [(color, pair) for pair in range(len(PAIRS))] + others


def apply(x: Tensor, weights: Tensor) -> Tensor:
    """Returns the picture (1, 3, H, W), float in [0, 1], filtered with weights as `PostFilter.weights` gives them."""
    kernels = _kernels(weights.to(x.device))
    with torch.autocast(x.device.type, enabled=False):
        return torch.cat([_filtered(strip, kernels) for _, strip in _strips(x)], 2)


def _strips(x: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yields rows, four by four but for the last ones, and the picture there, clipped, with a margin of three pixels."""
    padded = F.pad(x.clamp(0, 1), (_RADIUS,) * 4, mode="replicate")
    height = max(1, _STRIP_PIXELS // (4 * x.shape[3])) * 4
    for top in range(0, x.shape[2], height):
        yield slice(top, top + height), padded[:, :, top : top + height + 2 * _RADIUS]


def _filtered(padded: Tensor, kernels: Tensor) -> Tensor:
    inside = padded[:, :, 1:-1, 1:-1]
    change = F.conv2d(inside, kernels).unflatten(1, (3, BANDS))
    center = padded[:, :, _RADIUS:-_RADIUS, _RADIUS:-_RADIUS]
    return center + (change * _shares(padded)[:, None]).sum(2)


def _kernels(weights: Tensor) -> Tensor:
    """Returns kernels (3 * BANDS, 3, 5, 5) that give the change of a pixel, color by color."""
    kernels = weights.new_zeros(3, BANDS, 3, 5, 5)
    for color in range(3):
        for (source, pair), weight in zip(_terms(color), weights[:, color].T, strict=True):
            row, column = PAIRS[pair]
            kernels[color, :, source, 2 + row, 2 + column] = kernels[color, :, source, 2 - row, 2 - column] = weight / 2
            kernels[color, :, source, 2, 2] -= weight
    return kernels.flatten(0, 1)


def _shares(padded: Tensor) -> Tensor:
    """Returns what each band counts at each pixel, (1, BANDS, H, W), 1 in all, from a picture with a margin of three pixels.

    The activity is the mean, over 5x5 pixels, of how far the gray level is from the mean of its four neighbors, times four.
    """
    gray = padded.mean(1, keepdim=True)
    beside = gray[:, :, 1:-1, :-2] + gray[:, :, 1:-1, 2:] + gray[:, :, :-2, 1:-1] + gray[:, :, 2:, 1:-1]
    activity = F.avg_pool2d((4 * gray[:, :, 1:-1, 1:-1] - beside).abs(), 5, 1) * 255
    position = (activity.clamp(min=1e-3) / _LOWEST).log2().div(2).clamp(0, BANDS - 1)
    bands = torch.arange(BANDS, device=padded.device).reshape(1, BANDS, 1, 1)
    return (1 - (position - bands).abs()).clamp(min=0)


class Fit:
    """The sums of squares that say what each filter would win on a picture.

    x_hat, x: as decoded and as it should be, (1, 3, H, W) in [0, 1]. Of larger pictures, every second or fourth row is seen.
    """

    def __init__(self, x_hat: Tensor, x: Tensor) -> None:
        size = BANDS * WEIGHTS
        self.products = torch.zeros(3, size, size, dtype=torch.float64)
        self.wanted = torch.zeros(3, size, dtype=torch.float64)
        self.num_pixels, self.step = 0, _step(x)
        with torch.autocast(x.device.type, enabled=False):
            for rows, strip in _strips(x_hat):
                self._see(strip, x[:, :, rows])

    def _see(self, padded: Tensor, x: Tensor) -> None:
        lack = 255 * (x - padded[:, :, _RADIUS:-_RADIUS, _RADIUS:-_RADIUS])[0, :, :: self.step]
        shares = _shares(padded)[0, :, None, :: self.step]
        pairs = [[_pair(plane, row, column)[:: self.step] for row, column in PAIRS] for plane in padded[0]]
        for color in range(3):
            terms = torch.stack([pairs[source][pair] for source, pair in _terms(color)])
            design = (shares * terms).flatten(0, 1).flatten(1)
            self.products[color] += (design @ design.T).double().cpu()
            self.wanted[color] += (design @ lack[color].flatten()).double().cpu()
        self.num_pixels += lack[0].numel()

    def candidates(self, limit: int) -> Iterator[tuple[PostFilter, float]]:
        """Yields a filter for each grouping, weights within the limit, and the squared error that it takes off a pixel.

        The error is in squared gray levels, summed over the three colors.
        """
        for grouping in range(1, len(GROUPINGS)):
            for post_filter in self._solve(grouping, limit):
                weights = post_filter.weights().permute(1, 0, 2).flatten(1).double()
                won = 2 * (weights * self.wanted).sum() - torch.einsum("ci,cij,cj->", weights, self.products, weights)
                yield post_filter, won.item() / self.num_pixels

    def _solve(self, grouping: int, limit: int) -> Iterator[PostFilter]:
        groups = GROUPINGS[grouping]
        tie = torch.zeros(len(groups), BANDS, dtype=torch.float64)
        for row, group in enumerate(groups):
            tie[row, list(group)] = 1
        tie = torch.kron(tie, torch.eye(WEIGHTS, dtype=torch.float64))
        products = tie @ self.products @ tie.T
        ridge = _RIDGE * self.num_pixels * torch.eye(len(tie), dtype=torch.float64)
        weights = torch.linalg.solve(products + ridge, (self.wanted @ tie.T)[..., None])[..., 0]
        steps = torch.tensor([_STEPS[group[-1]] for group in groups], dtype=torch.float64)[:, None]
        weights = weights.reshape(3, len(groups), WEIGHTS).permute(1, 0, 2)
        for coarseness in range(COARSENESSES):
            symbols = (weights / (steps[..., None] * 2**coarseness)).round().clamp(-limit, limit)
            yield PostFilter(grouping, coarseness, symbols.flatten().numpy().astype(np.int32))


def _step(x: Tensor) -> int:
    """Returns every how many rows of a picture say enough: 1, 2, from 512x512 pixels on 4."""
    return 1 << min(2, (x.shape[2] * x.shape[3] >> 17).bit_length())


def _pair(padded: Tensor, row: int, column: int) -> Tensor:
    """Returns, in gray levels, the mean of two opposite neighbors minus the pixel between them, (H, W)."""
    height, width = padded.shape[0] - 2 * _RADIUS, padded.shape[1] - 2 * _RADIUS
    there = padded[_RADIUS + row : _RADIUS + row + height, _RADIUS + column : _RADIUS + column + width]
    opposite = padded[_RADIUS - row : _RADIUS - row + height, _RADIUS - column : _RADIUS - column + width]
    return 255 * ((there + opposite) / 2 - padded[_RADIUS : _RADIUS + height, _RADIUS : _RADIUS + width])


def mixed(first: Tensor | None, second: Tensor | None, share: float) -> Tensor | None:
    """Returns the weights between two filters, `share` of them the second's; None is the filter that changes nothing."""
    if first is None or second is None:
        only = first if second is None else second
        return None if only is None else only * (1 - share if second is None else share)
    return first + (second - first) * share
