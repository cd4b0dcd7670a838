"""What training minimizes: the bound in bits per dimension, with the options that keep upper levels alive.

Room: training. All options are understood by every family, for they act on the terms of the bound alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hcodec.models.lab.protocol import Terms

_EPSILON = 0.01  # nats that keep the balance of dead levels finite


@dataclass(frozen=True)
class Options:
    """How to train.

    warmup: share of the budget over which the KL's weight rises from 0 to 1 (Sønderby et al. 2016, section 2.3).
    free_bits: bits of each level and picture that cost nothing (Kingma et al. 2016, Eq. 15).
    balance: whether, while it rises, levels weigh as much as they hold (Vahdat and Kautz 2020, appendix A, where the size of a
        level counts as well).
    skip: gradients this many times as large as usual are skipped (Child 2021, section 3.2, where the limit is fixed); 0 skips
        none.
    """

    warmup: float = 0.0
    free_bits: float = 0.0
    balance: bool = False
    skip: float = 0.0


def loss(terms: Terms, options: Options, progress: float, dimensions: int) -> Tensor:
    """Returns the objective in bits per dimension, a scalar; progress: share of the budget spent, 0 to 1."""
    levels = torch.stack([kl.mean() for kl in terms.kl.values()])
    weight = min(1.0, progress / options.warmup) if options.warmup else 1.0
    weights = torch.full_like(levels, weight)
    if options.balance and weight < 1:
        weights = weights * balance(levels.detach())
    kept = levels.clamp(min=options.free_bits * math.log(2))
    return (terms.pixels.mean() + (weights * kept).sum()) / (dimensions * math.log(2))


def balance(levels: Tensor) -> Tensor:
    """Returns weights of levels with these KLs (L,), 1 on average and in proportion to what each level holds."""
    held = levels.clamp(min=0) + _EPSILON
    return held / held.mean()
