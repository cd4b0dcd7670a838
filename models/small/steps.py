"""The steps of a chain model: the pieces of `IntegerSmall` that `walk` and graphs are made of.

Room: small. Nothing is computed here that is not a method of `IntegerSmall` or its latents. Indices and values come and
go as int32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from hcodec.models.runtime.steps import Reach
from hcodec.models.runtime.torch_steps import TorchStep, check_step
from hcodec.models.small.integer import IntegerSmall, SmallIntegerLatent
from hcodec.models.small.planes import NUM_PLANES

Function = Callable[..., tuple[Tensor, ...]]
Named = Iterator[tuple[str, TorchStep]]
_ROWS, _COLUMNS = 4, 6  # of the maps that show shapes


def steps(network: IntegerSmall) -> dict[str, TorchStep]:
    """Returns all steps, by name: `analysis.S`, `ascend.S`, `prior.I`, `posterior.I` and `advance.I`, `pixels`, and `check`."""
    return {"check": check_step(), **dict(_by_stride(network)), **dict(_by_latent(network)), "pixels": _pixels(network)}


def _by_stride(network: IntegerSmall) -> Named:
    for stride in (2, 4, 8):
        channels = NUM_PLANES if stride == 2 else network.config.at(stride // 2)[0]
        yield f"analysis.{stride}", TorchStep(_analysis(network, stride), (_map(channels),), Reach(2, 2))
        state = _map(network.config.at(stride)[0])
        yield f"ascend.{stride // 2}", TorchStep(_ascend(network, stride // 2), (state,))


def _analysis(network: IntegerSmall, stride: int) -> Function:
    return lambda x: (network.halved(x, stride),)


def _ascend(network: IntegerSmall, stride: int) -> Function:
    return lambda state: (network.ascended(state, stride),)


def _by_latent(network: IntegerSmall) -> Named:
    for latent in network.ordered_latents():
        state, value = _map(network.config.at(latent.stride)[0]), _map(latent.channels).int()
        yield f"prior.{latent.index}", TorchStep(_prior(latent), (state,), Reach(1))
        yield f"posterior.{latent.index}", TorchStep(_posterior(latent), (state, state, value), Reach(1))
        yield f"advance.{latent.index}", TorchStep(_advance(latent), (state, value))


def _prior(latent: SmallIntegerLatent) -> Function:
    def function(state: Tensor) -> tuple[Tensor, ...]:
        """Returns the new state, and scale and shape index of the prior."""
        state, prior = latent.prior(state)
        return state, *_whole(*prior)

    return function


def _posterior(latent: SmallIntegerLatent) -> Function:
    return lambda state, feature, scale: _whole(*latent.posterior(feature - state, scale))


def _advance(latent: SmallIntegerLatent) -> Function:
    return lambda state, z: (latent.advance(state, (z, z), z),)


def _pixels(network: IntegerSmall) -> TorchStep:
    return TorchStep(lambda state: _whole(*network.parameters(state)), (_map(network.config.at(1)[0]),), Reach(1))


def _whole(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(tensor.to(torch.int32) for tensor in tensors)


def _map(channels: int) -> Tensor:
    return torch.zeros(1, _ROWS, _COLUMNS, channels)
