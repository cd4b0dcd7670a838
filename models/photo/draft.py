"""Drafts: steps that say nearly what others do in less time, for previews alone.

Room: photo. Each is the torch network of the step that it stands for, float, whose large products are then computed on int8
(`preview.packed`). Nothing that is decoded depends on them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hcodec.models.blocks import Block, depth_to_space
from hcodec.models.integer.products import IntegerBlock, Product
from hcodec.models.photo.agreed import Agreed, IntegerLatent
from hcodec.models.photo.config import FINEST, Config
from hcodec.models.photo.network import Network
from hcodec.models.photo.steps import block_step, example, float_step, synthesis_steps
from hcodec.models.runtime.steps import Reach
from hcodec.models.runtime.torch_steps import TorchStep, check_step

SYNTHESIS = "synthesis"
_LAST = ("synthesis.", "dct", "sigma")  # how names of tensors begin that synthesis has in a network's state


@torch.no_grad()
def drafts(network: Network, agreed: Agreed, expected: Iterable[range]) -> dict[str, dict[str, Tensor]]:
    """Returns the states of drafts by their names, from the networks of a model.

    `expected.I.K` and `expected.I`: blocks of a latent that takes its mean; `added.I`, `ascend.S`: linear; SYNTHESIS: all of it.
    expected: for each level, the latents that a preview takes at their means; the first of them is predicted exactly.
    """
    found: dict[str, nn.Module] = {f"ascend.{FINEST}": _linear(agreed.up[FINEST])}
    for first, *others in expected:
        found[f"added.{first}"] = _linear(agreed.latents[first].project)
        for index in others:
            found |= dict(_blocks(agreed.latents[index]))
    last = {name: tensor for name, tensor in network.state_dict().items() if name.startswith(_LAST)}
    return {name: each.state_dict() for name, each in found.items()} | {SYNTHESIS: last}


def _linear(product: Product) -> nn.Linear:
    linear = nn.Linear(product.weight.shape[1], len(product.weight))
    linear.weight.copy_(product.weight * product.gain[:, None])
    linear.bias.copy_(product.bias * product.gain)
    return linear


def _blocks(latent: IntegerLatent) -> Iterator[tuple[str, Block]]:
    for k, block in enumerate(latent.refine):
        yield f"expected.{latent.index}.{k}", _block(block)
    assert latent.block.head is not None  # noqa: S101 (for the type checker: a latent's block has a head)
    last, head, project = _block(latent.block), _linear(latent.block.head), _linear(latent.project)
    last.fc2.weight.add_(project.weight @ head.weight[: latent.channels])  # what adding the mean would do
    last.fc2.bias.add_(project(head.bias[: latent.channels]))
    yield f"expected.{latent.index}", last


def _block(block: IntegerBlock) -> Block:
    """Returns a block on the state's integers, without rounding; in between it keeps the units that were measured for them."""
    hidden, width = block.fc1.weight.shape
    found = Block(width, hidden)
    found.kernel.copy_(block.kernel.weight * (block.gain * block.kernel.gain)[:, None, None, None])
    found.kernel_bias.copy_(block.kernel.bias * block.kernel.gain)
    found.fc1, found.fc2 = _linear(block.fc1), _linear(block.fc2)
    return found


def steps(config: Config, groups: Mapping[str, Mapping[str, Tensor]]) -> dict[str, TorchStep]:
    """Returns the steps of drafts, and `check`, from the states of their networks, by the names that `drafts` gave them."""
    found = {"check": check_step()}
    for name, tensors in groups.items():
        if name == SYNTHESIS:
            found |= synthesis_steps(_synthesis(config, tensors))
        elif "kernel" in tensors:
            hidden, width = tensors["fc1.weight"].shape
            found[name] = block_step(_filled(Block(width, hidden), tensors), example(width))
        else:
            num_out, num_in = tensors["weight"].shape
            found[name] = (_ascend if name.startswith("ascend") else _added)(_filled(nn.Linear(num_in, num_out), tensors))
    return found


def _synthesis(config: Config, tensors: Mapping[str, Tensor]) -> Network:
    """Returns a network whose synthesis has that state, and nothing else."""
    with torch.random.fork_rng(devices=[]):
        network = Network(config).requires_grad_(False)
    missing = network.load_state_dict(tensors, strict=False).missing_keys
    if lost := [name for name in missing if name.startswith(_LAST)]:
        raise KeyError(lost[0])
    return network.to(tensors["dct"].device)


def _filled(network: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Returns a network with that state."""
    network.load_state_dict(tensors)
    return network.requires_grad_(False).to(next(iter(tensors.values())).device)


def _ascend(linear: nn.Linear) -> TorchStep:
    return float_step(lambda state: depth_to_space(_mapped(linear, state), 2), (example(linear.in_features),), Reach())


def _added(linear: nn.Linear) -> TorchStep:
    examples = example(linear.out_features), example(linear.in_features)
    return float_step(lambda state, mean: state + _mapped(linear, mean), examples, Reach())


def _mapped(linear: nn.Linear, x: Tensor) -> Tensor:
    """Returns a linear map of each cell; of a matrix, a runtime adds the bias within the product."""
    found: Tensor = linear(x.flatten(0, 2))
    return found.reshape(*x.shape[:3], linear.out_features)
