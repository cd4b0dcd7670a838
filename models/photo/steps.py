"""The steps of a photo network: the pieces of the torch networks that `analysis`, `prefix` and graphs are made of.

Room: photo. Nothing is computed here that is not a method of `Network` or `Agreed`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from hcodec.models.blocks import Block
from hcodec.models.integer.products import STATE_UNIT
from hcodec.models.photo.agreed import Agreed, IntegerLatent, IntegerPrior
from hcodec.models.photo.config import FINEST, STRIDES
from hcodec.models.photo.network import Network
from hcodec.models.photo.walk import MEAN_UNIT
from hcodec.models.runtime.steps import Reach
from hcodec.models.runtime.torch_steps import TorchStep, check_step
from hcodec.models.tables.scales import LOG_SCALE_STEP, MIN_LOG_SCALE

Named = Iterator[tuple[str, TorchStep]]
_ROWS, _COLUMNS = 4, 6  # of the maps that show shapes


def steps(network: Network, agreed: Agreed) -> dict[str, TorchStep]:
    """Returns all steps, by name.

    Of the agreed path: `ascend.S`, `prior.I` and `advance.I`; of analysis: `stem`, `stem.K`, `stem.out`, `down.S` and
    `analysis.S.K`; `posterior.I`; of synthesis: `synthesis`, `tail`, `tail.K` and `pixels`; and `check`.
    """
    return {"check": check_step(), **dict(_agreed(agreed)), **dict(_float(network))}


def _agreed(agreed: Agreed) -> Named:
    config = agreed.config
    for stride in STRIDES[1:]:
        yield f"ascend.{stride}", TorchStep(_ascend(agreed, stride), (_map(config.width[2 * stride]),))
    for latent in agreed.latents:
        state, value = _map(config.width[latent.stride]), _map(latent.channels)
        yield f"prior.{latent.index}", TorchStep(_prior(latent), (state,), Reach(len(latent.refine) + 1))
        yield f"advance.{latent.index}", TorchStep(_advance(latent), (state, value, value))


def _ascend(agreed: Agreed, stride: int) -> Callable[[Tensor], tuple[Tensor]]:
    return lambda state: (agreed.ascended(state, stride),)


def _prior(latent: IntegerLatent) -> Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]:
    def function(state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the refined state, and mean and scale index of the prior."""
        state, prior = latent.prior(state)
        return state, prior.mean, prior.index

    return function


def _advance(latent: IntegerLatent) -> Callable[[Tensor, Tensor, Tensor], tuple[Tensor]]:
    return lambda state, mean, symbols: (latent.advance(state, IntegerPrior(mean, mean), symbols),)


def _float(network: Network) -> Named:
    config, analysis = network.config, network.analysis
    pixels, fine = _map(3, 8), _map(config.tail_width, 2)
    yield "stem", _float_step(network.patched, (pixels,), Reach(0, 8))
    yield from _fine_blocks("stem", analysis.stem_blocks, fine)
    yield "stem.out", _float_step(network.stemmed, (pixels, fine), Reach(8, 8))
    for stride in sorted(STRIDES):
        if stride > FINEST:
            down = analysis.halved(stride)
            yield f"down.{stride}", _float_step(down, (_map(config.width[stride // 2], 2),), Reach(0, 2))
        for k, block in enumerate(analysis.blocks_at(stride)):
            yield f"analysis.{stride}.{k}", _float_step(block, (_map(config.width[stride]),), Reach(2))
    for index, latent in enumerate(network.ordered_latents()):
        state, value = _map(config.width[latent.stride]), _map(latent.channels)
        examples = (state, state, value, value.to(torch.uint8))
        yield f"posterior.{index}", _float_step(_posterior(latent.posterior), examples, Reach(2))
    yield from _synthesis(network)


def _synthesis(network: Network) -> Named:
    config = network.config
    state, weights = _map(config.width[FINEST]), torch.full((1, config.num_levels), 1 / config.num_levels)
    scaled = lambda state, weights: network.synthesis.refined(state * STATE_UNIT, weights)  # noqa: E731
    yield "synthesis", _float_step(scaled, (state, weights), Reach(2 * config.synthesis_blocks))
    yield "tail", _float_step(network.synthesis.widened, (state,), Reach())
    fine = _map(config.tail_width, 2)
    yield from _fine_blocks("tail", network.synthesis.fine_blocks, fine)
    yield "pixels", _float_step(network.pixels, (state, fine, weights), Reach(1))


def _fine_blocks(name: str, blocks: nn.Sequential, fine: Tensor) -> Named:
    for k, block in enumerate(blocks):
        yield f"{name}.{k}", _float_step(block, (fine,), Reach(1 if isinstance(block, Block) else 2))


def _float_step(function: Callable[..., Tensor], examples: tuple[Tensor, ...], reach: Reach) -> TorchStep:
    return TorchStep(lambda *tensors: (function(*tensors),), examples, reach, exact=False)


def _posterior(own: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def function(state: Tensor, feature: Tensor, mean: Tensor, index: Tensor) -> Tensor:
        """Returns posterior minus prior mean in steps, of the integers that the agreed path gives."""
        return own(state * STATE_UNIT, feature, mean * MEAN_UNIT, MIN_LOG_SCALE + index.float() * LOG_SCALE_STEP)

    return function


def _map(channels: int, unit: int = 1) -> Tensor:
    return torch.zeros(1, _ROWS * unit, _COLUMNS * unit, channels)
