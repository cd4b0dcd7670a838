"""The negative evidence lower bound of a chain model, without bins or tables: what its chains are measured against.

Room: small, benchmarks and tests only. The same integer network as in coding, but latents are real numbers drawn from
the posterior's density, and distributions are evaluated by formula. So the difference to a chain's net rate is all
that bins, tables, the stack and the pictures that go directly cost.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hcodec.models.descend import at_stride, descend
from hcodec.models.integer.kernels import exact_products
from hcodec.models.rates import mixture_bits
from hcodec.models.small.integer import IntegerSmall, SmallIntegerLatent
from hcodec.models.small.network import condition, logistic_bits, noise
from hcodec.models.small.planes import NUM_PLANES, Pixels
from hcodec.models.small.walk import COEFFICIENT_STEPS
from hcodec.models.tables.likelihood import LOG_SCALE_STEP, MEAN_STEPS, MIN_LOG_SCALE, MIN_TAIL, TAIL_STEP


def lower_bound_bits(model: IntegerSmall, pixels: Pixels) -> Tensor:
    """Returns one sample of the negative bound of each picture, in bits (B,); pixels (B, H, W[, 3])."""
    planes = model.planes.split(pixels)
    bits = torch.zeros(len(pixels), dtype=torch.float64)
    with exact_products():
        features = model.analyze(planes)

        def answer(latent: SmallIntegerLatent, state: Tensor, prior: tuple[Tensor, Tensor]) -> Tensor:
            """Returns a sample of the posterior and counts its net bits."""
            scale, shape = prior
            mean, spread = latent.posterior(features[latent.stride] - state, scale)
            z = mean / MEAN_STEPS + _log_scale(spread).exp() * noise(mean)
            cost = logistic_bits(z, 0.0, _log_scale(scale), _tail(shape))
            refund = logistic_bits(z, mean / MEAN_STEPS, _log_scale(spread), torch.full_like(z, MIN_TAIL))
            bits.add_((cost - refund).double().sum((1, 2, 3)))
            return z

        end = at_stride(model, descend(model, model.begin(len(pixels), *pixels.shape[1:3]), answer), 1)
        return bits + _pixel_bits(model, end.state, torch.from_numpy(planes).float()).double().sum((1, 2, 3))


def _pixel_bits(model: IntegerSmall, state: Tensor, values: Tensor) -> Tensor:
    """Returns the bits of each value (B, H, W, 3), zero where it is not coded."""
    mean, scale, shape, coefficient = model.parameters(state)
    mean = mean / MEAN_STEPS
    if model.config.channels == 3:
        mean = condition(mean, values, coefficient / COEFFICIENT_STEPS)
    low, high = (torch.from_numpy(limit).float() for limit in (model.planes.low, model.planes.high))
    mean = mean.maximum(low).minimum(high)
    coded = [model.planes.coded(values.int().numpy(), plane) for plane in range(NUM_PLANES)]
    bits = mixture_bits(values, mean, _log_scale(scale), _tail(shape))
    return bits * torch.stack([torch.from_numpy(where) for where in coded], -1)


def _log_scale(index: Tensor) -> Tensor:
    return MIN_LOG_SCALE + index * LOG_SCALE_STEP


def _tail(shape: Tensor) -> Tensor:
    return MIN_TAIL + shape * TAIL_STEP
