"""What a preview's networks are set to before and after training: linear maps to pixels, in closed form.

Room: photo, training only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from hcodec.models.blocks import FloatBlock, depth_to_space, space_to_depth
from hcodec.models.photo.config import FINEST
from hcodec.models.photo.network import Network
from hcodec.models.photo.shortcut import Shortcut, neighbors
from hcodec.models.runtime.narrow import narrowed, widened

_RIDGE = 1e-6


@dataclass(frozen=True)
class Examples:
    """What one level's shortcut is trained on: states and the teacher's pixels, float16 (N, 32, 32, C), and weights (N,)."""

    states: Tensor
    pixels: Tensor
    weights: Tensor


@torch.no_grad()
def begin(shortcut: Shortcut, network: Network, known: dict[int, Examples]) -> None:
    """Fills a new shortcut: hidden units of the first block of synthesis and others at random, and what neighbors say most of."""
    block, levels = cast(FloatBlock, network.synthesis.blocks[0]), [level - 1 for level in shortcut.shape.levels]
    shortcut.center.copy_(block.center - network.synthesis.embed[levels].mean(0))
    shortcut.balance.copy_(block.balance)
    shortcut.kernel.copy_(block.kernel)
    shortcut.kernel_bias.copy_(block.kernel_bias)
    count = min(shortcut.shape.hidden, len(block.fc1.weight))
    torch.nn.init.normal_(shortcut.fc1.weight, std=shortcut.shape.width**-0.5)
    shortcut.fc1.weight[:count] = block.fc1.weight[:count]
    for level in shortcut.shape.levels:
        shortcut.output(level).bias1[:count] = block.fc1.bias[:count]
    shortcut.near.weight.copy_(_nearest(shortcut, known[max(known)]))


def _nearest(shortcut: Shortcut, known: Examples, count: int = 60) -> Tensor:
    """Returns the directions (near, width) of a neighbor's state that say most of a cell's pixels."""
    width, near = shortcut.shape.width, shortcut.shape.near
    x = shortcut.balanced(known.states[:count].float())
    own, beside, pixels = (each.flatten(0, 2) for each in (x, neighbors(x), known.pixels[:count].float()))
    features = torch.cat([torch.ones(len(own), 1), own, beside], 1)
    fit = _Fit()
    fit.add(features, pixels)
    say = fit.solved()[1 + width :].reshape(4, width, -1).permute(1, 0, 2).flatten(1)
    spread, axes = torch.linalg.eigh(own.T @ own / len(own))
    root = spread.clamp(min=1e-6).sqrt()
    directions = torch.linalg.svd((axes * root).T @ say, full_matrices=False).U[:, :near]
    return ((axes / root) @ directions).T


class _Fit:
    """Normal equations of a linear map, gathered piece by piece."""

    def __init__(self) -> None:
        self.gram, self.right = torch.zeros(()), torch.zeros(())

    def add(self, features: Tensor, wanted: Tensor) -> None:
        """Takes in what the map is to make `wanted` (N, out) of, features (N, in)."""
        self.gram = self.gram + (features.T @ features).double()
        self.right = self.right + (features.T @ wanted).double()

    def solved(self) -> Tensor:
        """Returns the map (in, out), with a little ridge."""
        return torch.linalg.solve(self.gram + _RIDGE * torch.diag(self.gram.diagonal().clamp(min=1e-9)), self.right).float()


def _pieces(known: Examples, count: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yields states and pixels of the first `count` examples, some at a time, and the roots of their weights."""
    for start in range(0, min(count, len(known.states)), 8):
        state, pixels, weights = (x[start : start + 8].float() for x in (known.states, known.pixels, known.weights))
        yield state, pixels, weights.sqrt()[:, None, None, None]


@torch.no_grad()
def fit_output(shortcut: Shortcut, level: int, known: Examples, count: int) -> None:
    """Fits what ends in pixels, of one level, to its first `count` examples, in closed form."""
    fit = _Fit()
    for state, pixels, root in _pieces(known, count):
        seen, beside = shortcut.gathered(state)
        hidden = shortcut.hidden(seen.flatten(0, 2), level).reshape(*seen.shape[:3], -1)
        features = torch.cat([torch.ones_like(root).expand(*seen.shape[:3], 1), shortcut.balanced(state), beside, hidden], -1)
        fit.add((features * root).flatten(0, 2), (pixels * root).flatten(0, 2))
    output, width, near = shortcut.output(level), shortcut.shape.width, 4 * shortcut.shape.near
    bias, own, beside, hidden = fit.solved().split([1, width, near, shortcut.shape.hidden])
    output.fc2.bias.copy_(bias[0])
    for layer, value in ((output.own, own), (output.beside, beside), (output.fc2, hidden)):
        layer.weight.copy_(value.T)


@torch.no_grad()
def fit_tail(network: Network, level: int, known: Examples) -> None:
    """Fits what ends in pixels of a shortened network to the examples of a level, in closed form."""
    synthesis, weights = network.synthesis, torch.eye(network.config.num_levels)[level - 1 : level]
    synthesis.fine_out.weight.zero_()
    synthesis.fine_out.bias.zero_()
    fit = _Fit()
    for state, pixels, root in _pieces(known, len(known.states)):
        state = synthesis.refined(state, weights)
        fine = synthesis.fine_blocks(synthesis.widened(state))
        lack = space_to_depth(depth_to_space(pixels, FINEST) + 0.5 - network.pixels(state, fine, weights), 4) * 8
        features = torch.cat([torch.ones_like(fine[..., :1]), fine], -1)
        fit.add((features * root).flatten(0, 2), (lack * root).flatten(0, 2))
    bias, weight = fit.solved().split([1, fine.shape[-1]])
    synthesis.fine_out.bias.copy_(bias[0])
    synthesis.fine_out.weight.copy_(weight.T)


@torch.no_grad()
def narrow(layer: torch.nn.Linear) -> None:
    """Rounds a layer's weights to what their file will hold."""
    layer.weight.copy_(torch.from_numpy(widened(*narrowed(layer.weight.numpy()))))
