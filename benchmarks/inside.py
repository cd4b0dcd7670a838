"""What cannot be seen from outside of hcodec: the rate that its model estimates, and where its time goes.

With `inside_steps` the only file of the benchmarks that looks behind hcodec's public names. It changes nothing: functions
are wrapped for the time of one call.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

from benchmarks.images import Pixels
from benchmarks.inside_steps import likelihood_bits

_STAGES = {
    "hcodec.models.load": "load model",
    "hcodec.pixels.picture.read": "read picture",
    "hcodec.pixels.picture.to_tensor": "read picture",
    "hcodec.pixels.picture.from_tensor": "write picture",
    "hcodec.models.photo.network.Network.analyze": "analysis",
    "hcodec.models.photo.network.Network.synthesize": "synthesis",
    "hcodec.models.photo.walk.Walk.predict": "prior",
    "hcodec.models.photo.walk.Walk.posterior": "posterior",
    "hcodec.models.photo.walk.Walk.advance": "advance",
    "hcodec.coding.stack.EntropyModel": "entropy tables",
    "hcodec.coding.stack.encode_layer": "entropy coding",
    "hcodec.coding.stack.LayerDecoder.decode": "entropy coding",
    "hcodec.container.write": "container",
    "hcodec.container.Reader.feed": "container",
}


@dataclass
class _Clock:
    """Seconds of each stage, without those of the stages that it calls."""

    seconds: dict[str, float] = field(default_factory=dict)
    children: list[float] = field(default_factory=list)

    def wrap(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Returns the function, with the time of each call, less that of wrapped calls within it, added to the stage."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            """Calls the function and keeps its time."""
            self.children.append(0.0)
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                total = time.perf_counter() - start
                own = total - self.children.pop()
                self.seconds[stage] = self.seconds.get(stage, 0.0) + own
                if self.children:
                    self.children[-1] += total

        return timed


def stage_seconds(call: Callable[[], object]) -> dict[str, float]:
    """Seconds of each stage of one call of hcodec, and of what is in no stage as "other"."""
    clock = _Clock()
    with ExitStack() as stack:
        for target, stage in _STAGES.items():
            stack.enter_context(_wrapped(target, stage, clock))
        clock.wrap("other", call)()
    return clock.seconds


@contextmanager
def _wrapped(target: str, stage: str, clock: _Clock) -> Iterator[None]:
    owner, name = _resolve(target)
    with patch.object(owner, name, clock.wrap(stage, getattr(owner, name))):
        yield


def _resolve(target: str) -> tuple[Any, str]:
    """The module or class that holds a dotted name, and the last part of the name. Raises ImportError, AttributeError."""
    import pkgutil

    owner, _, name = target.rpartition(".")
    return pkgutil.resolve_name(owner), name


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
    from hcodec.coding.stack import encode_layer

    estimates: list[tuple[float, float]] = []

    def listening(tables: Any, coded: Sequence[Any]) -> bytes:
        """Encodes as ever and keeps what the rate should have been."""
        estimates.extend((tables.estimate(*part), _model_bits(tables, *part)) for part in coded)
        return original(tables, coded)

    original = encode_layer
    with patch("hcodec.coding.stack.encode_layer", listening):
        data = hcodec.encode(pixels)
    table_bits, model_bits = map(sum, zip(*estimates, strict=True))
    layer_bits = 8 * sum(level.num_bytes for level in hcodec.info(data).levels)
    return Rate(layer_bits, table_bits, model_bits, 8 * len(data) - layer_bits)


def _model_bits(tables: Any, symbols: Any, indices: Any) -> float:
    """Bits of the symbols by the training likelihood; those of offsets, of which it knows nothing, by their table."""
    import torch

    from hcodec.models.tables.symbol_tables import OFFSET_INDEX

    if indices.max() == OFFSET_INDEX:
        return float(tables.estimate(symbols, indices))
    return likelihood_bits(torch.from_numpy(symbols), torch.from_numpy(indices))


@dataclass(frozen=True)
class LastLayerRate:
    """Bits of a picture's lossless layer built on one level, whose own layers take `level_bits`.

    `direct_bits`: without fine latents; `net_bits`: with bits back; `gross_bits`: with the same latents and no refund;
    `elbo_bits`: the negative ELBO by the tables, latents drawn anew, every tile with latents. No container, no checksums.
    """

    level: int
    level_bits: int
    direct_bits: int
    net_bits: int
    gross_bits: float
    elbo_bits: float


def last_layer(pixels: Pixels) -> list[LastLayerRate]:
    """What the lossless layer of a picture costs from each level that it may be built on, coded with the shipped model."""
    from hcodec import models
    from hcodec.coders.tiles import Source
    from hcodec.coding.stack import encode_layer
    from hcodec.encoder import LevelEncoder
    from hcodec.models import registry

    model = models.load("photo")
    last, encoder = registry.load_lossless(model.fingerprint), LevelEncoder(model, pixels)
    rates, level_bits = [], 0
    for level in range(1, max(last.starts) + 1):
        level_bits += 8 * len(encode_layer(encoder.tables, encoder.next_level()))
        if level in last.starts:
            rates.append(_last_layer_on(last, Source(encoder.walk.at_finest(), level, False), pixels, level_bits))
    return rates


def _last_layer_on(last: Any, source: Any, pixels: Pixels, level_bits: int) -> LastLayerRate:
    from hcodec.coders.tiles import Source, estimate, push_picture
    from hcodec.coding.stack import Stack
    from hcodec.container.lossless_layer import tiles

    direct, net = Stack(), Stack()
    push_picture(last, direct, source, pixels, False)
    pushed = push_picture(last, net, source, pixels, True)
    elbo_bits = sum(
        estimate(last, Source(source.state[tile.cells].contiguous(), source.start, False), pixels[tile.inside], True)
        for tile in tiles(*pixels.shape[:2])
    )
    return LastLayerRate(
        source.start, level_bits, 8 * len(direct.to_bytes()), 8 * len(net.to_bytes()), pushed.gross_bits, elbo_bits
    )
