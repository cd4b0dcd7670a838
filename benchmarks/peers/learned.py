"""Learned codecs of compressai, untrained: for their speed only, since weights would have to be downloaded.

Their files are real (packed here with their lengths), but their rates and pictures mean nothing.
"""

from __future__ import annotations

import struct
from functools import lru_cache, partial
from typing import Any

import numpy as np

from benchmarks.images import Pixels
from benchmarks.peers import bridge
from benchmarks.peers.peer import Absent, Found, Peer

_STRIDE = 64
_QUALITY = 4
_NETWORKS = {
    "bmshj2018-hyperprior": "scale hyperprior (untrained)",
    "mbt2018-mean": "mean-scale hyperprior (untrained)",
}


def found() -> Found:
    """Two networks of compressai's zoo."""
    try:
        version = bridge.version()
    except ImportError:
        return [Absent("compressai", "compressai is not installed")]
    return [
        Peer(
            name=f"compressai-{name}",
            label=label,
            version=version,
            settings=(_QUALITY,),
            typical=_QUALITY,
            encode=partial(_encode, name=name),
            decode=partial(_decode, name=name),
        )
        for name, label in _NETWORKS.items()
    ]


@lru_cache(maxsize=4)
def _network(name: str, quality: int) -> Any:
    import torch

    torch.manual_seed(0)
    return bridge.architecture(name, quality)


def _encode(pixels: Pixels, quality: float, *, name: str) -> bytes:
    import torch

    height, width = pixels.shape[:2]
    padded = np.pad(pixels, ((0, -height % _STRIDE), (0, -width % _STRIDE), (0, 0)), mode="edge")
    x = torch.from_numpy(padded.transpose(2, 0, 1).astype(np.float32) / 255)[None]
    with torch.inference_mode():
        out = _network(name, int(quality)).compress(x)
    strings = [parts[0] for parts in out["strings"]]
    fields = [width, height, *out["shape"], *map(len, strings)]
    return struct.pack(f"<B{len(fields)}I", len(strings), *fields) + b"".join(strings)


def _decode(data: bytes, *, name: str) -> Pixels:
    import torch

    count = data[0]
    width, height, *rest = struct.unpack_from(f"<{4 + count}I", data, 1)
    shape, lengths = rest[:2], rest[2:]
    at, strings = 1 + 4 * (4 + count), []
    for length in lengths:
        strings.append([data[at : at + length]])
        at += length
    with torch.inference_mode():
        x_hat = _network(name, _QUALITY).decompress(strings, tuple(shape))["x_hat"]
    pixels = x_hat[0, :, :height, :width].clamp(0, 1).mul(255).round().byte()
    return np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())
