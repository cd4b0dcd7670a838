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

from hcodec.models.blocks import Block, Spread
from hcodec.models.photo.network import Network, Posterior

_RARE = 1e-3  # a unit that is positive in a smaller share of the cells counts as dead
_LOST = 0.9  # share of its units that must be dead for a block to be begun anew as a whole
_LEAST, _MOST = 0.1, 10.0  # size of a channel that is brought to 1, and the largest balance
_LEAST_SPREAD = 0.5  # of a unit before it is brought to 1: where nothing moves, nothing is blown up
_OUTGOING = 0.003  # root mean square of what all units of a block add, had they all been started anew
_PRIOR_SHARE = 0.5  # of a posterior unit's spread comes from the prior


@dataclass(frozen=True)
class _Seen:
    """Inputs (cells, num_in) and outputs (cells, num_out) of one module on some pictures."""

    inputs: Tensor
    outputs: Tensor


class Watch:
    """What enters and leaves all blocks and posteriors of a network when pictures (B, 3, H, W) keep every level."""

    @torch.no_grad()
    def __init__(self, network: Network, pictures: Tensor) -> None:
        self.seen: dict[nn.Module, _Seen] = {}
        everything = [module for module in network.modules() if isinstance(module, Spread)]
        hooks = [m.register_forward_hook(self._note) for module in everything for m in (module, *_incoming(module))]
        network(pictures, [network.config.num_levels] * len(pictures), hard=True)
        for hook in hooks:
            hook.remove()
        self.spreads = [module for module in everything if module.fc1 in self.seen]  # what a forward pass uses

    def _note(self, module: nn.Module, inputs: tuple[Tensor], outputs: Tensor) -> None:
        self.seen[module] = _Seen(inputs[0].float().flatten(0, -2), outputs.float().flatten(0, -2))

    def dead(self, module: Spread) -> Tensor:
        """Returns which hidden units of a module are dead, bool (hidden,)."""
        outputs = [self.seen[layer].outputs for layer in _incoming(module)]
        return (sum(outputs[1:], outputs[0]) > 0).float().mean(0) < _RARE


def _incoming(module: Spread) -> list[nn.Linear]:
    """Returns the matrices whose results add up to the hidden units."""
    return [module.fc1, module.prior] if isinstance(module, Posterior) else [module.fc1]


def _outgoing(network: Network) -> Iterator[tuple[Spread, list[nn.Linear]]]:
    """Yields every module and the matrices that take its hidden units."""
    heads = {latent.block: latent.head for latent in network.ordered_latents()}
    for module in network.modules():
        if isinstance(module, Block | Posterior):
            yield module, [module.fc2, heads[module]] if module in heads else [module.fc2]


@torch.no_grad()
def balance(network: Network, pictures: Tensor) -> None:
    """Measures what all blocks get on pictures, float (B, 3, H, W) in [0, 1], and sets their balance.

    What the network computes stays the same. Centered blocks in which next to nothing lives get a center, too.
    """
    watch = Watch(network, pictures)
    for module in watch.spreads:
        if not module.centered:
            _balance(module, watch.seen[module.fc1].inputs)
        elif watch.dead(module).float().mean() > _LOST:
            _begin(module, watch.seen[module].inputs)


def _balance(module: Spread, spread: Tensor) -> None:
    """Brings what the kernel says, (cells, width), to root mean square 1."""
    size = spread.square().mean(0).sqrt().clamp(min=_LEAST)
    size = torch.maximum(size, module.balance / _MOST)
    module.balance /= size
    module.fc1.weight *= size


def _begin(module: Spread, inputs: Tensor) -> None:
    """Fits a module without live units to its inputs (cells, width), and gives it a new kernel."""
    module.center.copy_(inputs.mean(0))
    module.balance.copy_(1 / inputs.std(0).clamp(min=_LEAST))
    module.kernel.normal_(std=0.1)
    module.kernel[:, :, 1, 1] += 1
    module.kernel_bias.zero_()
    for layer in _incoming(module):
        layer.weight.zero_()
        layer.bias.fill_(-1.0)


@torch.no_grad()
def restart(network: Network, average: Network, pictures: Tensor) -> int:
    """Starts the dead units of `network` anew, and those of its moving average with them; returns how many there were.

    pictures: float (B, 3, H, W) in [0, 1]; what a unit does on them decides. Draws from torch's generator.
    """
    watch = Watch(network, pictures)
    count = 0
    for (module, outgoing), (twin, twin_outgoing) in zip(_outgoing(network), _outgoing(average), strict=True):
        if module not in watch.spreads:
            continue
        dead = watch.dead(module)
        count += int(dead.sum())
        if dead.any():
            _draw_incoming(module, dead, watch)
            _draw_outgoing(outgoing, dead)
            for layer, other in zip(_incoming(module), _incoming(twin), strict=True):
                other.weight[dead], other.bias[dead] = layer.weight[dead], layer.bias[dead]
            for layer, other in zip(outgoing, twin_outgoing, strict=True):
                other.weight[:, dead] = layer.weight[:, dead]
    return count


def _draw_incoming(module: Spread, dead: Tensor, watch: Watch) -> None:
    """Draws weights so that each dead unit has mean 0 and spread 1."""
    layers = _incoming(module)
    shares = [1.0] if len(layers) == 1 else [math.sqrt(1 - _PRIOR_SHARE**2), _PRIOR_SHARE]
    for layer, share in zip(layers, shares, strict=True):
        inputs = watch.seen[layer].inputs
        weight = torch.randn(int(dead.sum()), inputs.shape[1], device=inputs.device) / inputs.std(0).clamp(min=_LEAST)
        product = inputs @ weight.T / math.sqrt(inputs.shape[1])
        scale = share / product.std(0).clamp(min=_LEAST_SPREAD)
        layer.weight[dead] = weight * scale[:, None] / math.sqrt(inputs.shape[1])
        layer.bias[dead] = -product.mean(0) * scale


def _draw_outgoing(layers: list[nn.Linear], dead: Tensor) -> None:
    """Draws weights of about zero from the dead units."""
    for layer in layers:
        drawn = torch.randn(len(layer.weight), int(dead.sum()), device=dead.device)
        layer.weight[:, dead] = drawn * _OUTGOING / math.sqrt(len(dead))
