"""The one path through the levels that encoding and decoding share.

Room: network (steps 6 to 10 of encoding, 4 to 8 of decoding). A walk holds the state open: `predict` the next latent,
then `advance` with its symbols. What the symbols are, the encoder asks of `posterior` and the decoder of the stream.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from hcodec.models.integer.kernels import exact_products
from hcodec.models.integer.products import STATE_UNIT
from hcodec.models.photo import post_filter
from hcodec.models.photo.agreed import MEAN_UNIT, Agreed, IntegerLatent
from hcodec.models.photo.network import Network
from hcodec.models.tables.scales import LOG_SCALE_STEP, MIN_LOG_SCALE
from hcodec.models.tables.symbol_tables import MAX_SYMBOL


class Walk:
    """The state between two latents, for one picture of height x width pixels."""

    def __init__(self, network: Network, agreed: Agreed, height: int, width: int) -> None:
        self.network, self.agreed, self.height, self.width = network, agreed, height, width
        self.state = agreed.begin(height, width)
        self.stride, self.position = 64, 0
        self.mean, self.index = self.state, self.state
        self.post_filter: Tensor | None = (
            None  # weights of the filter that `render` ends with, as `post_filter.PostFilter` gives them
        )

    @property
    def latent(self) -> IntegerLatent:
        """The latent that comes next."""
        return self.agreed.latents[self.position]

    @property
    def done(self) -> bool:
        """Whether all latents are decoded."""
        return self.position == len(self.agreed.latents)

    def copy(self) -> Walk:
        """Returns an independent walk in the same place."""
        return copy.copy(self)  # states are never changed in place once they are stored

    def predict(self) -> tuple[Tensor, Tensor]:
        """Returns prior mean and scale index (1, H_l, W_l, C_l) of the next latent."""
        with exact_products():
            while self.stride > self.latent.stride:
                self.stride //= 2
                self.state = self.agreed.ascend(self.state, self.stride, self.height, self.width)
            self.state, self.mean, self.index = self.latent.prior(self.state)
        return self.mean, self.index

    def posterior(self, features: dict[int, Tensor]) -> Tensor:
        """Returns posterior minus prior mean of the predicted latent, in steps, from `Network.analyze`'s features."""
        latent = list(self.network.ordered_latents())[self.position]
        lack = features[self.stride] - self.state * STATE_UNIT
        return latent.posterior(lack, self.mean * MEAN_UNIT, log_scale(self.index))

    def advance(self, symbols: Tensor) -> None:
        """Adds the predicted latent's symbols (1, H_l, W_l, C_l) and moves on."""
        with exact_products():
            z_hat = self.mean + symbols * round(1 / MEAN_UNIT)
            self.state = self.latent.advance(self.state, z_hat)
        self.position += 1

    def at_finest(self) -> Tensor:
        """Returns the state (1, H/8, W/8, width) as the latents so far left it, brought to the finest stride."""
        walk = self.copy()
        with exact_products():
            while walk.stride > 8:
                walk.stride //= 2
                walk.state = self.agreed.ascend(walk.state, walk.stride, self.height, self.width)
        return walk.state

    def render(self, levels: float, temperature: float = 0.0, seed: int = 0) -> Tensor:
        """Returns the picture (1, 3, H, W), not clipped, with missing latents at the prior mean, or sampled around it.

        levels: how many levels the state holds; a fraction says how much of the last one.
        """
        walk, random = self.copy(), torch.Generator("cpu").manual_seed(seed % 2**63)
        while not walk.done:
            _, index = walk.predict()
            walk.advance(_sample(index, temperature, random))
        count = self.agreed.config.num_levels
        weights = torch.zeros(1, count, dtype=torch.float32, device=walk.state.device)
        low = min(max(int(levels), 1), count)
        weights[0, low - 1] = 1.0
        if low < count and levels > low:
            weights[0, low - 1], weights[0, low] = 1 - (levels - low), levels - low
        with torch.inference_mode():
            x = self.network.synthesize(walk.state * STATE_UNIT, weights, self.height, self.width)
            return x if self.post_filter is None else post_filter.apply(x, self.post_filter)


def log_scale(index: Tensor) -> Tensor:
    """Returns the natural log of the logistic scale that a scale index stands for."""
    return MIN_LOG_SCALE + index.float() * LOG_SCALE_STEP


def _sample(index: Tensor, temperature: float, random: torch.Generator) -> Tensor:
    """Returns symbols drawn from the prior with its scale times the temperature; zeros at temperature 0."""
    if temperature == 0:
        return torch.zeros(index.shape, dtype=torch.float32, device=index.device)
    uniform = torch.rand(index.shape, generator=random, dtype=torch.float32, device="cpu").clamp(1e-6, 1 - 1e-6)
    drawn = torch.logit(uniform).to(index.device) * log_scale(index).exp() * temperature
    return drawn.clamp(-MAX_SYMBOL, MAX_SYMBOL)  # beyond what can be coded, the state's integers would not be certified
