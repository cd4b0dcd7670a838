"""Rate and distortion of the training objective.

Room: models. The prior of a symbol is a logistic distribution integrated over a unit bin: its log mass has a closed
form that never underflows, and its tails fit transform residuals better than a Gaussian's.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from hcodec.models.tables.likelihood import WIDE


def symbol_bits(symbol: Tensor, log_scale: Tensor) -> Tensor:
    """Returns -log2 of the logistic mass of [symbol - 1/2, symbol + 1/2], elementwise, in bits.

    symbol: float, integers or noisy; log_scale: natural log of the logistic scale b (standard deviation / 1.814).
    """
    inverse = torch.exp(-log_scale)
    low = (symbol.abs() - 0.5) * inverse
    nats = F.softplus(-low - inverse) + F.softplus(low) - torch.log(-torch.expm1(-inverse))
    return nats / math.log(2)


def mixture_bits(value: Tensor, mean: Tensor, log_scale: Tensor, tail: Tensor) -> Tensor:
    """Returns -log2 of the mass of the unit bin around each value under the mixtures of `likelihood`, in bits.

    value, mean, log_scale (natural log, of the narrow logistic) and tail (logit of the wide one's weight): float, one shape.
    """
    distance = value - mean
    narrow = -symbol_bits(distance, log_scale) * math.log(2) + F.logsigmoid(-tail)
    wide = -symbol_bits(distance, log_scale + math.log(WIDE)) * math.log(2) + F.logsigmoid(tail)
    return -torch.logaddexp(narrow, wide) / math.log(2)
