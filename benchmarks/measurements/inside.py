"""What cannot be seen from outside of hcodec: estimated rates, rate and picture from the floats to the file, threads.

With `chains` the only file of the benchmarks that looks behind hcodec's public names. It changes nothing: one function is
listened to for the time of one call.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from benchmarks.images import Pixels
from benchmarks.metrics import psnr

if TYPE_CHECKING:
    from hcodec.models import Model
    from hcodec.models.photo.network import Network
    from hcodec.models.photo.prefix import Prefix

_PUSH = "hcodec.coders.levels.stacked"  # what every lossy layer of `hcodec.encode` goes through: tables, then all its parts
Part = tuple[Any, Any]
"""Symbols int32, and the index of the table that codes each."""


@dataclass(frozen=True)
class _Level:
    """One level of a picture as it is coded, and the prefix that ends with it."""

    number: int
    tables: Any
    parts: Sequence[Part]
    prefix: Prefix

    @property
    def table_bits(self) -> float:
        """Bits of the level by the coder's tables."""
        return sum(float(self.tables.estimate(*part)) for part in self.parts)

    def layer(self) -> bytes:
        """The bytes of the level."""
        from hcodec.coding.stack import stacked

        return stacked(self.tables, self.parts)


def _each_level(model: Model, pixels: Pixels) -> Iterator[_Level]:
    """Encodes level after level of a picture of one window, nothing fitted to it."""
    from hcodec.coders import levels

    tables, wanted, prefix = levels.tables_of(model), _posterior(model, pixels), _empty(model, pixels)
    for number in range(1, model.config.num_levels + 1):
        parts, prefix = levels.encoded(tables, prefix, wanted)
        yield _Level(number, tables, parts, prefix)


def _posterior(model: Model, pixels: Pixels) -> Any:
    """What the latents of a picture are to be, as an answer."""
    from hcodec.models.photo.prefix import posterior
    from hcodec.models.photo.walk import analyze

    steps = model.walk.steps
    return posterior(steps, analyze(model.config, steps, pixels, sorted(model.config.width)))


def _empty(model: Model, pixels: Pixels) -> Prefix:
    from hcodec.models.photo.prefix import Prefix

    return Prefix.empty(model.walk, *pixels.shape[:2])


def set_threads(count: int) -> None:
    """Has hcodec compute with so many threads, as `-j` does."""
    from hcodec.models.runtime import threads

    threads.set_threads(count)


@contextmanager
def one_thread() -> Iterator[None]:
    """Has hcodec compute on the calling thread alone, then on as many as there are processors."""
    set_threads(1)
    try:
        yield
    finally:
        set_threads(os.cpu_count() or 1)


# --- the rate that the model estimates


@dataclass(frozen=True)
class Rate:
    """Bits of one encoded picture: `table_bits` by the coder's tables, `model_bits` by the model's likelihoods."""

    layer_bits: float
    table_bits: float
    model_bits: float
    container_bits: float


def rate(pixels: Pixels) -> Rate:
    """What encoding a picture costs, and what the model said that it would."""
    import hcodec

    data, pushed = _listening(lambda: hcodec.encode(pixels, lossless=False))
    layer_bits = 8.0 * sum(level.num_bytes for level in hcodec.info(data).levels)
    table_bits = sum(tables.estimate(*part) for tables, part in pushed)
    model_bits = sum(_model_bits(tables, *part) for tables, part in pushed)
    return Rate(layer_bits, table_bits, model_bits, 8 * len(data) - layer_bits)


def _listening(call: Callable[[], bytes]) -> tuple[bytes, list[tuple[Any, Part]]]:
    """What the call returns, and all that it pushed, each part with its tables."""
    import pkgutil

    pushed: list[tuple[Any, Part]] = []
    original = pkgutil.resolve_name(_PUSH)

    def listener(tables: Any, parts: Sequence[Part]) -> bytes:
        """Does what the original does, and keeps what it was given."""
        pushed.extend((tables, part) for part in parts)
        return bytes(original(tables, parts))

    with patch(_PUSH, listener):
        return call(), pushed


def _model_bits(tables: Any, symbols: Any, indices: Any) -> float:
    """Bits of the symbols by the training likelihood; those of offsets, of which it knows nothing, by their table."""
    from hcodec.models.tables.symbol_tables import OFFSET_INDEX

    if indices.max() == OFFSET_INDEX:
        return float(tables.estimate(symbols, indices))
    return _likelihood_bits(symbols, indices)


def _likelihood_bits(symbols: NDArray[Any], index: NDArray[np.uint8]) -> float:
    """Bits of integer symbols by the training likelihood, at the scales that their indices stand for; one shape."""
    import torch

    from hcodec.models.photo.prefix import log_scale
    from hcodec.models.rates import symbol_bits

    return float(symbol_bits(torch.from_numpy(symbols).double(), torch.from_numpy(log_scale(index)).double()).sum())


# --- what each step from the trained network to the file costs

Points = list[tuple[float, float]]
"""Bits of the prefix that ends with each level, and the PSNR (dB) of the picture that it gives."""
STEPS = {
    "floats": "float network, rounded symbols, rate by the training likelihood",
    "integers": "integer network, rate by the training likelihood at the scale indices",
    "tables": "symbols that the coder can say, rate by its tables",
    "layers": "bytes of the layers, with the scale offsets that are sent along",
    "files": "bytes of the files",
}
"""The steps in order, and what each measures."""


def steps(checkpoint: Path, model: str, pixels: Pixels) -> dict[str, Points]:
    """The points of one picture, uint8 (H, W, 3), by step; layers and files show what is decoded."""
    import hcodec
    from hcodec import models

    loaded = models.load(model)
    data = hcodec.encode(pixels, model=model, lossless=False)
    levels = hcodec.info(data).levels
    decoded = [psnr(pixels, np.asarray(hcodec.decode(data, levels=level.level))) for level in levels]
    layers = accumulate(8.0 * level.num_bytes for level in levels)
    files = (8.0 * len(hcodec.truncate(data, levels=level.level)) for level in levels)
    return {
        "floats": list(_floats(_trained(checkpoint), pixels)),
        "integers": list(_integers(loaded, pixels)),
        "tables": list(_tables(loaded, pixels)),
        "layers": list(zip(layers, decoded, strict=True)),
        "files": list(zip(files, decoded, strict=True)),
    }


@cache
def _trained(checkpoint: Path) -> Network:
    """The averaged float network of a training checkpoint."""
    import torch

    from hcodec.models import weights_file
    from hcodec.models.photo.network import Network

    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    network = Network(weights_file.config_from(state["config"]))
    network.load_state_dict(state["average"])
    return network.requires_grad_(False)


def _quality(shown: NDArray[np.float32], pixels: Pixels) -> float:
    """PSNR of a picture float (H, W, 3) about 0 to 1."""
    from hcodec.mosaic import to_pixels

    return psnr(pixels, to_pixels(shown[: pixels.shape[0], : pixels.shape[1]]))


def _floats(network: Network, pixels: Pixels) -> Iterator[tuple[float, float]]:
    import torch

    from hcodec.models.training.data import to_float

    x = to_float(torch.from_numpy(pixels.copy())[None])
    with torch.inference_mode():
        for level in range(1, network.config.num_levels + 1):
            x_hat, bits = network(x, [level], True)
            yield float(bits.sum()), _quality(x_hat[0].permute(1, 2, 0).numpy(), pixels)


def _integers(model: Model, pixels: Pixels) -> Iterator[tuple[float, float]]:
    from hcodec.models.tables.symbol_tables import MAX_SYMBOL

    bits, wanted, prefix = 0.0, _posterior(model, pixels), _empty(model, pixels)

    def answer(latent: Any, state: NDArray[Any], prior: Any) -> NDArray[Any]:
        """Returns the rounded posterior and counts its bits."""
        nonlocal bits
        symbols: NDArray[Any] = np.rint(wanted(latent, state, prior)).clip(-MAX_SYMBOL, MAX_SYMBOL)
        bits += _likelihood_bits(symbols, prior.index)
        return symbols

    for _ in range(model.config.num_levels):
        prefix = prefix.extended(answer)
        yield bits, _shown(model, prefix, pixels)


def _shown(model: Model, prefix: Prefix, pixels: Pixels) -> float:
    """PSNR of what a prefix shows."""
    from hcodec.models.photo.prefix import sampled, synthesize

    return _quality(synthesize(model.walk, prefix.completed(sampled()), prefix.levels), pixels)


def _tables(model: Model, pixels: Pixels) -> Iterator[tuple[float, float]]:
    bits = 0.0
    for level in _each_level(model, pixels):
        bits += level.table_bits
        yield bits, _shown(model, level.prefix, pixels)


# --- the lossless layer


@dataclass(frozen=True)
class LosslessLayerRate:
    """Bits of a picture's lossless layer built on one level, whose own layers take `level_bits`. No container, no checksums."""

    level: int
    level_bits: int
    layer_bits: int


def lossless_layer(pixels: Pixels) -> list[LosslessLayerRate]:
    """What the lossless layer of a picture of one window costs from each level that it may be built on (shipped model)."""
    from hcodec import models
    from hcodec.coders.tiles import Source, encode
    from hcodec.models import registry

    model = models.load("photo-1")
    lossless, rates, level_bits = registry.load_lossless(model.fingerprint), [], 0
    for level in _each_level(model, pixels):
        level_bits += 8 * len(level.layer())
        if level.number in lossless.starts:
            stacks = encode(lossless, Source(level.prefix.at_finest(), level.number, False), pixels)
            rates.append(LosslessLayerRate(level.number, level_bits, 8 * sum(map(len, stacks))))
    return rates
