"""What cannot be seen from outside of hcodec: rate and picture of each step from the trained float network to the file.

Beside `inside`, the only file of the benchmarks that looks behind hcodec's public names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.images import Pixels
from benchmarks.metrics import psnr

if TYPE_CHECKING:
    from torch import Tensor

    from hcodec.models import Model
    from hcodec.models.photo.network import Network

Points = list[tuple[float, float]]
"""Bits of the prefix that ends with each level, and the PSNR (dB) of the picture that it gives."""
STEPS = {
    "floats": "float network, rounded symbols, rate by the training likelihood",
    "integers": "integer network, rate by the training likelihood at the scale indices",
    "tables": "symbols that the coder can say, rate by its tables",
    "layers": "bytes of the layers, with the post filters and the scale offsets that are sent along",
    "files": "bytes of the files",
}
"""The steps in order, and what each measures."""


@cache
def trained(checkpoint: Path) -> Network:
    """The averaged float network of a training checkpoint."""
    import torch

    from hcodec.models import weights_file
    from hcodec.models.photo.network import Network

    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    network = Network(weights_file.config_from(state["config"]))
    network.load_state_dict(state["average"])
    return network.requires_grad_(False)


def steps(checkpoint: Path, model: str, pixels: Pixels) -> Mapping[str, Points]:
    """The points of one picture, uint8 (H, W, 3), by step; layers and files show what is decoded."""
    import hcodec
    from hcodec import models

    loaded = models.load(model)
    data = hcodec.encode(pixels, model=model)
    levels = hcodec.info(data).levels
    decoded = [psnr(pixels, np.asarray(hcodec.decode(data, levels=level.level))) for level in levels]
    layers = accumulate(8.0 * level.num_bytes for level in levels)
    files = (8.0 * len(hcodec.truncate(data, levels=level.level)) for level in levels)
    return {
        "floats": _floats(trained(checkpoint), pixels),
        "integers": list(_integers(loaded, pixels)),
        "tables": list(_coded(loaded, pixels)),
        "layers": list(zip(layers, decoded, strict=True)),
        "files": list(zip(files, decoded, strict=True)),
    }


def _quality(rendered: Tensor, pixels: Pixels) -> float:
    from hcodec.pixels import picture

    return psnr(pixels, picture.from_tensor(rendered))


def _floats(network: Network, pixels: Pixels) -> Points:
    import torch

    from hcodec.pixels import picture

    x, points = picture.to_tensor(pixels), []
    with torch.inference_mode():
        for level in range(1, network.config.num_levels + 1):
            x_hat, bits = network(x, [level], True)
            points.append((float(bits.sum()), _quality(x_hat, pixels)))
    return points


def _integers(model: Model, pixels: Pixels) -> Iterator[tuple[float, float]]:
    import torch

    from hcodec.models.photo.walk import Walk
    from hcodec.models.tables.symbol_tables import MAX_SYMBOL
    from hcodec.pixels import picture

    walk, bits = Walk(model.network, model.agreed, *pixels.shape[:2]), 0.0
    with torch.inference_mode():
        features = model.network.analyze(picture.to_tensor(pixels))
        while not walk.done:
            level = walk.latent.level
            _, index = walk.predict()
            symbols = walk.posterior(features).round().clamp(-MAX_SYMBOL, MAX_SYMBOL)
            bits += likelihood_bits(symbols, index)
            walk.advance(symbols)
            if walk.done or walk.latent.level > level:
                yield bits, _quality(walk.render(level), pixels)


def likelihood_bits(symbols: Any, index: Any) -> float:
    """Bits of integer symbols by the training likelihood, at the scales that their indices stand for; tensors of one shape."""
    from hcodec.models.photo.walk import log_scale
    from hcodec.models.rates import symbol_bits

    return float(symbol_bits(symbols.double(), log_scale(index).double()).sum())


def _coded(model: Model, pixels: Pixels) -> Iterator[tuple[float, float]]:
    from hcodec.encoder import LevelEncoder

    encoder, bits = LevelEncoder(model, pixels), 0.0
    for level in range(1, model.agreed.config.num_levels + 1):
        bits += sum(encoder.tables.estimate(*latent) for latent in encoder.next_level())
        yield bits, _quality(encoder.walk.render(level), pixels)
