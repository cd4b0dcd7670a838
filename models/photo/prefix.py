"""A picture as far as the first levels of its stream say: what encoder and decoder both hold, and what it looks like.

Room: photo (encode steps 6 to 8 and 10; decode steps 4, 5, 7 and 8). A prefix never changes; a level more makes
another one. Where the symbols of that level come from (the posterior, a stream) is said by an `answer`, as in
`descend`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hcodec.models.descend import Answer, Position, at_stride, descend
from hcodec.models.integer.kernels import exact_products
from hcodec.models.integer.products import STATE_UNIT
from hcodec.models.photo import post_filter
from hcodec.models.photo.agreed import MEAN_UNIT, Agreed, IntegerLatent, IntegerPrior
from hcodec.models.photo.config import FINEST
from hcodec.models.photo.network import Network
from hcodec.models.tables.scales import LOG_SCALE_STEP, MIN_LOG_SCALE
from hcodec.models.tables.symbol_tables import MAX_SYMBOL


@dataclass(frozen=True)
class Prefix:
    """The first levels of a stream, decoded.

    levels: how many; a fraction says how much of the last one. post_filter: weights of the filter that shows it, as
    `PostFilter.weights` gives them, or None.
    """

    network: Network
    agreed: Agreed
    position: Position
    levels: float = 0.0
    post_filter: Tensor | None = None

    @classmethod
    def empty(cls, network: Network, agreed: Agreed, height: int, width: int) -> Prefix:
        """Returns the prefix without a level of a picture of height x width pixels."""
        return cls(network, agreed, agreed.begin(height, width))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the picture in pixels."""
        return self.position.height, self.position.width

    def extended(self, answer: Answer) -> Prefix:
        """Returns the prefix with one level more, without a post filter; answer(latent, state, prior) gives its symbols."""
        levels = int(self.levels) + 1
        with exact_products():
            position = descend(self.agreed, self.position, answer, self.agreed.config.num_latents(levels))
        return replace(self, position=position, levels=float(levels), post_filter=None)

    def at_finest(self) -> Tensor:
        """Returns the state (1, H/8, W/8, width) as the levels so far left it, brought to the finest stride."""
        with exact_products():
            return at_stride(self.agreed, self.position, FINEST).state

    def render(self, temperature: float = 0.0, seed: int = 0) -> Tensor:
        """Returns the picture (1, 3, H, W), not clipped, with missing latents at the prior mean, or sampled around it."""
        with exact_products():
            end = descend(self.agreed, self.position, sampled(temperature, seed))
        weights = self._weights().to(end.state.device)
        with torch.inference_mode():
            x = self.network.synthesize(end.state * STATE_UNIT, weights, *self.size)
            return x if self.post_filter is None else post_filter.apply(x, self.post_filter)

    def _weights(self) -> Tensor:
        """Returns which levels the state holds, (1, num_levels), two sharing it where the last one is not whole."""
        count = self.agreed.config.num_levels
        weights = torch.zeros(1, count, dtype=torch.float32)
        low = min(max(int(self.levels), 1), count)
        weights[0, low - 1] = 1.0
        if low < count and self.levels > low:
            weights[0, low - 1], weights[0, low] = 1 - (self.levels - low), self.levels - low
        return weights


def posterior(network: Network, features: Mapping[int, Tensor]) -> Callable[[IntegerLatent, Tensor, IntegerPrior], Tensor]:
    """Returns an answer for the features of a picture, from `Network.analyze`: posterior minus prior mean in steps."""
    latents = network.ordered_latents()

    def answer(latent: IntegerLatent, state: Tensor, prior: IntegerPrior) -> Tensor:
        """Returns float32 (1, H_l, W_l, C_l)."""
        own = latents[latent.index].posterior
        found: Tensor = own(state * STATE_UNIT, features[latent.stride], prior.mean * MEAN_UNIT, log_scale(prior.index))
        return found

    return answer


def sampled(temperature: float, seed: int) -> Answer:
    """Returns an answer that draws symbols from the prior with its scale times the temperature; zeros at temperature 0."""
    random = torch.Generator("cpu").manual_seed(seed % 2**63)

    def answer(latent: IntegerLatent, state: Tensor, prior: IntegerPrior) -> Tensor:
        """Returns symbols, float32 (1, H_l, W_l, C_l)."""
        index = prior.index
        if temperature == 0:
            return torch.zeros(index.shape, dtype=torch.float32, device=index.device)
        uniform = torch.rand(index.shape, generator=random, dtype=torch.float32, device="cpu").clamp(1e-6, 1 - 1e-6)
        drawn = torch.logit(uniform).to(index.device) * log_scale(index).exp() * temperature
        return drawn.clamp(-MAX_SYMBOL, MAX_SYMBOL)  # beyond what can be coded, the state's integers would not be certified

    return answer


def log_scale(index: Tensor) -> Tensor:
    """Returns the natural log of the logistic scale that a scale index stands for."""
    return MIN_LOG_SCALE + index.float() * LOG_SCALE_STEP
