"""The steps of a photo network: the pieces of the torch networks that `analysis`, `prefix` and graphs are made of.

Room: photo. Nothing is computed here that is not a method of `Network` or `Agreed`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

import torch
from torch import Tensor, nn

from hcodec.models.blocks import Block, FloatBlock
from hcodec.models.integer.products import STATE_UNIT, IntegerBlock
from hcodec.models.photo.agreed import Agreed, IntegerLatent, IntegerPrior
from hcodec.models.photo.config import FINEST, STRIDES
from hcodec.models.photo.network import Network, Posterior
from hcodec.models.photo.walk import MEAN_UNIT
from hcodec.models.runtime.steps import Reach
from hcodec.models.runtime.torch_steps import Half, TorchStep, check_step
from hcodec.models.tables.scales import LOG_SCALE_STEP, MIN_LOG_SCALE

Named = Iterator[tuple[str, TorchStep]]
_ROWS, _COLUMNS = 4, 6  # of the maps that show shapes


def steps(network: Network, agreed: Agreed) -> dict[str, TorchStep]:
    """Returns all steps, by name.

    Of the agreed path: `ascend.S`, `prior.I.K` (refining blocks), `prior.I`, `advance.I`; of analysis: `stem`, `stem.K`,
    `stem.out`, `down.S`, `analysis.S.K`; `posterior.I`; of synthesis: `synthesis.K`, `tail`, `tail.K`, `pixels`; and `check`.
    """
    return {"check": check_step(), **dict(_agreed(agreed)), **dict(_float(network))}


def _agreed(agreed: Agreed) -> Named:
    config = agreed.config
    for stride in STRIDES[1:]:
        yield f"ascend.{stride}", TorchStep(_ascend(agreed, stride), (example(config.width[2 * stride]),))
    for latent in agreed.latents:
        state, value = example(config.width[latent.stride]), example(latent.channels)
        for k, block in enumerate(latent.refine):
            yield f"prior.{latent.index}.{k}", _exact_block(_refined(block), block, state)
        yield f"prior.{latent.index}", _exact_block(_prior(latent), latent.block, state)
        yield f"advance.{latent.index}", TorchStep(_advance(latent), (state, value, value))


def _ascend(agreed: Agreed, stride: int) -> Callable[[Tensor], tuple[Tensor]]:
    return lambda state: (agreed.ascended(state, stride),)


def _exact_block(function: Callable[..., tuple[Tensor, ...]], block: IntegerBlock, state: Tensor) -> TorchStep:
    return TorchStep(function, (state,), Reach(1), gather=Half(lambda state: (block.gathered(state),)))


def _refined(block: IntegerBlock) -> Callable[[Tensor, Tensor], tuple[Tensor]]:
    return lambda state, gathered: (block.joined(state, gathered)[0],)


def _prior(latent: IntegerLatent) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]:
    def function(state: Tensor, gathered: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the refined state, and mean and scale index of the prior."""
        state, prior = latent.predicted(state, gathered)
        return state, prior.mean, prior.index

    return function


def _advance(latent: IntegerLatent) -> Callable[[Tensor, Tensor, Tensor], tuple[Tensor]]:
    return lambda state, mean, symbols: (latent.advance(state, IntegerPrior(mean, mean), symbols),)


def _float(network: Network) -> Named:
    config, analysis = network.config, network.analysis
    pixels, fine = example(3, 8), example(config.tail_width, 2)
    yield "stem", float_step(network.patched, (pixels,), Reach(0, 8))
    yield from _blocks("stem", analysis.stem_blocks, fine)
    yield "stem.out", float_step(network.stemmed, (pixels, fine), Reach(8, 8))
    for stride in sorted(STRIDES):
        if stride > FINEST:
            down = analysis.halved(stride)
            yield f"down.{stride}", float_step(down, (example(config.width[stride // 2], 2),), Reach(0, 2))
        yield from _blocks(f"analysis.{stride}", analysis.blocks_at(stride), example(config.width[stride]))
    for index, latent in enumerate(network.ordered_latents()):
        yield f"posterior.{index}", _posterior(latent.posterior, example(config.width[latent.stride]), example(latent.channels))
    yield from synthesis_steps(network)


def synthesis_steps(network: Network) -> Named:
    """Yields the steps of synthesis."""
    config, synthesis = network.config, network.synthesis
    state, weights = example(config.width[FINEST]), torch.full((1, config.num_levels), 1 / config.num_levels)
    first = cast(FloatBlock, synthesis.blocks[0])
    begun = lambda state, weights: synthesis.begun(state * STATE_UNIT, weights)  # noqa: E731
    yield (
        "synthesis.0",
        _halves(
            lambda state, weights, gathered: first.joined(begun(state, weights), gathered),
            Half(lambda state, weights: (first.gathered(begun(state, weights)),), 2),
            (state, weights),
            2,
        ),
    )
    yield from _blocks("synthesis", synthesis.blocks, state, 1)
    yield "tail", float_step(synthesis.widened, (state,), Reach())
    fine = example(config.tail_width, 2)
    yield from _blocks("tail", synthesis.fine_blocks, fine)
    yield "pixels", float_step(network.pixels, (state, fine, weights), Reach(1))


def _blocks(name: str, blocks: nn.Sequential, x: Tensor, first: int = 0) -> Named:
    for k, block in enumerate(blocks):
        if k >= first:
            yield f"{name}.{k}", block_step(cast("Block | FloatBlock", block), x)


def block_step(block: Block | FloatBlock, x: Tensor) -> TorchStep:
    """Returns the step of a block; x: a map such as it takes."""
    return _halves(block.joined, Half(lambda x: (block.gathered(x),)), (x,), 1 if isinstance(block, Block) else 2)


def _halves(function: Callable[..., Tensor], gather: Half, examples: tuple[Tensor, ...], radius: int) -> TorchStep:
    return TorchStep(lambda *tensors: (function(*tensors),), examples, Reach(radius), exact=False, gather=gather)


def float_step(function: Callable[..., Tensor], examples: tuple[Tensor, ...], reach: Reach) -> TorchStep:
    """Returns a step that is a function of float maps, in one part."""
    return TorchStep(lambda *tensors: (function(*tensors),), examples, reach, exact=False)


def _posterior(own: Posterior, state: Tensor, value: Tensor) -> TorchStep:
    def gather(state: Tensor, feature: Tensor) -> tuple[Tensor]:
        """Returns what the correction takes from other cells."""
        return (own.gathered(state * STATE_UNIT, feature),)

    def function(state: Tensor, feature: Tensor, mean: Tensor, index: Tensor, gathered: Tensor) -> Tensor:
        """Returns posterior minus prior mean in steps, of the integers that the agreed path gives."""
        log_scale = MIN_LOG_SCALE + index.float() * LOG_SCALE_STEP
        return own.joined(state * STATE_UNIT, feature, mean * MEAN_UNIT, log_scale, gathered)

    return _halves(function, Half(gather, 2), (state, state, value, value.to(torch.uint8)), 2)


def example(channels: int, unit: int = 1) -> Tensor:
    """Returns a map of so many channels."""
    return torch.zeros(1, _ROWS * unit, _COLUMNS * unit, channels)
