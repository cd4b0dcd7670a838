"""Hidden units that nothing wakes: found, and started anew almost without changing what the network computes.

Room: training. A rectified unit that is never positive has no gradient and stays so for ever. From a start as good as
a block DCT, at a high learning rate, most units die within minutes, for whatever they add at random is worse than
nothing: the network then is all but linear. `docs/experiments/dead-units.md` has the figures. Starting dormant units
anew with outgoing weights of about zero is the idea of Sokar et al. 2023 (arXiv 2302.12902).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hcodec.models.blocks import Block, FloatBranch
from hcodec.models.photo.network import Network

_RARE = 1e-3  # a unit that is positive in a smaller share of the cells counts as dead
_LEAST, _MOST = 0.1, 10.0  # size of a channel that is brought to 1, and the largest balance
_LEAST_SPREAD = 0.5  # of a unit before it is brought to 1: where nothing moves, nothing is blown up
_OUTGOING = 0.003  # root mean square of what all units of a block add, had they all been started anew


@dataclass(frozen=True)
class _Seen:
    """Inputs (cells, num_in) and outputs (cells, num_out) of one module on some pictures."""

    inputs: Tensor
    outputs: Tensor


class Watch:
    """What enters the first matrices of all blocks of a network, and leaves them, when pictures (B, 3, H, W) keep every level."""

    @torch.no_grad()
    def __init__(self, network: Network, pictures: Tensor) -> None:
        self.seen: dict[nn.Module, _Seen] = {}
        blocks = [module for module in network.modules() if isinstance(module, Block)]
        hooks = [block.fc1.register_forward_hook(self._note) for block in blocks]
        network(pictures, [network.config.num_levels] * len(pictures), hard=True)
        for hook in hooks:
            hook.remove()
        self.blocks = [block for block in blocks if block.fc1 in self.seen]  # what a forward pass uses

    def _note(self, module: nn.Module, inputs: tuple[Tensor], outputs: Tensor) -> None:
        self.seen[module] = _Seen(inputs[0].float().flatten(0, -2), outputs.float().flatten(0, -2))

    def dead(self, block: Block) -> Tensor:
        """Returns which hidden units of a block are dead, bool (hidden,)."""
        return (self.seen[block.fc1].outputs > 0).float().mean(0) < _RARE


def _outgoing(network: Network) -> Iterator[tuple[Block, list[nn.Linear]]]:
    """Yields every block and the matrices that take its hidden units."""
    heads = {latent.block: latent.head for latent in network.ordered_latents()}
    for module in network.modules():
        if isinstance(module, Block):
            yield module, [module.fc2, heads[module]] if module in heads else [module.fc2]


@torch.no_grad()
def balance(network: Network, pictures: Tensor) -> None:
    """Measures what all blocks get on pictures, float (B, 3, H, W) in [0, 1], and sets their balance.

    What rectified blocks compute stays the same. Float branches that were not measured yet get center and balance.
    """
    watch = Watch(network, pictures)
    for block in watch.blocks:
        _balance(block, watch.seen[block.fc1].inputs)
    _center(network, pictures)


def _balance(block: Block, spread: Tensor) -> None:
    """Brings what the kernel says, (cells, width), to root mean square 1."""
    size = spread.square().mean(0).sqrt().clamp(min=_LEAST)
    size = torch.maximum(size, block.balance / _MOST)
    block.balance /= size
    block.fc1.weight *= size


def _center(network: Network, pictures: Tensor) -> None:
    """Centers and balances float branches in the order in which data meets them, for each changes what the next ones get."""

    def measure(branch: FloatBranch, inputs: tuple[Tensor, ...]) -> None:
        """Fits a branch to its inputs (B, H, W, width), once."""
        if not branch.center.any():
            flat = inputs[0].float().flatten(0, -2)
            branch.center.copy_(flat.mean(0))
            branch.balance.copy_(1 / flat.std(0).clamp(min=_LEAST))

    branches = [module for module in network.modules() if isinstance(module, FloatBranch)]
    hooks = [branch.register_forward_pre_hook(measure) for branch in branches]
    network(pictures, [network.config.num_levels] * len(pictures), hard=True)
    for hook in hooks:
        hook.remove()


@torch.no_grad()
def restart(network: Network, average: Network, pictures: Tensor) -> int:
    """Starts the dead units of `network` anew, and those of its moving average with them; returns how many there were.

    pictures: float (B, 3, H, W) in [0, 1]; what a unit does on them decides. Draws from torch's generator.
    """
    watch = Watch(network, pictures)
    count = 0
    for (block, outgoing), (twin, twin_outgoing) in zip(_outgoing(network), _outgoing(average), strict=True):
        if block not in watch.blocks:
            continue
        dead = watch.dead(block)
        count += int(dead.sum())
        if dead.any():
            _draw_incoming(block, dead, watch.seen[block.fc1].inputs)
            _draw_outgoing(outgoing, dead)
            twin.fc1.weight[dead], twin.fc1.bias[dead] = block.fc1.weight[dead], block.fc1.bias[dead]
            for layer, other in zip(outgoing, twin_outgoing, strict=True):
                other.weight[:, dead] = layer.weight[:, dead]
    return count


def _draw_incoming(block: Block, dead: Tensor, inputs: Tensor) -> None:
    """Draws weights so that each dead unit has mean 0 and spread 1 on inputs (cells, width)."""
    weight = torch.randn(int(dead.sum()), inputs.shape[1], device=inputs.device) / inputs.std(0).clamp(min=_LEAST)
    product = inputs @ weight.T / math.sqrt(inputs.shape[1])
    scale = 1 / product.std(0).clamp(min=_LEAST_SPREAD)
    block.fc1.weight[dead] = weight * scale[:, None] / math.sqrt(inputs.shape[1])
    block.fc1.bias[dead] = -product.mean(0) * scale


def _draw_outgoing(layers: list[nn.Linear], dead: Tensor) -> None:
    """Draws weights of about zero from the dead units."""
    for layer in layers:
        drawn = torch.randn(len(layer.weight), int(dead.sum()), device=dead.device)
        layer.weight[:, dead] = drawn * _OUTGOING / math.sqrt(len(dead))
