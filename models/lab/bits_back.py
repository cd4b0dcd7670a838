"""Bits back for every family: two visits of the network, once popping, once pushing in reverse.

Room: the codec of the lab; the only file here that knows a stack. Townsend et al. 2019, arXiv 1901.04866, section 2:

    push: pop z ~ q(z | x),  push x ~ p(x | z),  push z ~ p(z)
    pop:  pop z ~ p(z),      pop x ~ p(x | z),   push z ~ q(z | x)
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from hcodec.coding.float_stack import LEAST_MASS, FloatStack
from hcodec.models.lab.distributions import Distribution
from hcodec.models.lab.protocol import PIXELS, Family, Given, Recorded

_BITS_A_LATENT = 5


class Popped(Given):
    """Takes every value from a stack."""

    def __init__(self, stack: FloatStack) -> None:
        super().__init__()
        self.stack = stack

    def draw(self, distribution: Distribution) -> Tensor:
        """Returns the value popped."""
        return distribution.pop(self.stack)


@torch.no_grad()
def push(network: Family, stack: FloatStack, x: Tensor) -> float:
    """Puts pictures (B, C, H, W), float32 0..255, on the stack; returns the bound in bits at the latents popped."""
    x = x.clone(memory_format=torch.contiguous_format)
    stack.whiten(_num_whitened(network, x.shape))
    posterior = Popped(stack)
    network.infer(x, posterior)
    prior = Recorded({**posterior.values, PIXELS: x})
    network.generate(x.shape, prior)
    _push_reversed(stack, prior)
    return _bits(prior) - _bits(posterior)


@torch.no_grad()
def pop(network: Family, stack: FloatStack, shape: torch.Size) -> Tensor:
    """Takes pictures of this shape from the stack: what `push` put there."""
    prior = Popped(stack)
    x = network.generate(shape, prior).clone(memory_format=torch.contiguous_format)
    posterior = Recorded(prior.values)
    network.infer(x, posterior)
    _push_reversed(stack, posterior)
    stack.unwhiten(_num_whitened(network, shape))
    return x


def _bits(visit: Given) -> float:
    """Returns the information of everything that was asked: latents in bins of one step, nothing below the least mass."""
    masses = [distribution.log_mass(value).clamp(min=math.log(LEAST_MASS)) for _, distribution, value in visit.asked]
    return -sum(float(each.sum()) for each in masses) / math.log(2)


@functools.lru_cache(maxsize=64)
def _num_whitened(network: Family, shape: torch.Size) -> int:
    """Returns how much of the stack's top is whitened: about what the posterior pops."""
    asked = Given(temperature=0.0)
    network.generate(shape, asked)
    return sum(value.numel() for value in asked.values.values()) * _BITS_A_LATENT // 24


def _push_reversed(stack: FloatStack, visit: Recorded) -> None:
    for _, distribution, value in reversed(visit.asked):
        distribution.push(stack, value)
