"""Samples of 16 bits to bytes and back: high and low bytes, each as an 8-bit picture without loss.

Room: coders, below `whole`, above `stored`. FORMAT.md, "16 bits".
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from hcodec.coders import stored
from hcodec.container.fields import Cursor, Range, pack_varint
from hcodec.errors import FormatError

Deep = NDArray[np.uint16]  # (H, W, C), C being 1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha
_PLAIN, _GRADIENT = range(2)  # format: filters
_FILTER = Range("filter", _PLAIN, _GRADIENT)  # format, as those below
_CHANNELS = Range("number of channels", 1, 4)
_STEP = Range("step", 1, 65535)


def encode(samples: Deep) -> bytes:
    """Returns samples uint16 (H, W, C) as bytes."""
    parts = [_encode_part(part) for part in _parts(samples)]
    return bytes([samples.shape[2]]) + b"".join(head for head, _ in parts) + b"".join(body for _, body in parts)


def _parts(samples: Deep) -> list[Deep]:
    """Returns the color and, if there is one, the alpha channel, each (H, W) or (H, W, 3)."""
    num_colors = 1 if samples.shape[2] < 3 else 3
    parts = [samples[..., :num_colors], samples[..., num_colors:]]
    return [part[..., 0] if part.shape[2] == 1 else part for part in parts if part.shape[2]]


def _encode_part(samples: Deep) -> tuple[bytes, bytes]:
    """Returns what says how a part is coded, and the two pictures of its high and low bytes."""
    step = max(1, int(np.gcd.reduce(samples.ravel())))  # of 8 bits in 16 it is 257, of 12 bits 16
    values = (samples // step).astype(np.uint16)
    bodies = [_encode_bytes(filtered) for filtered in (values, _gradient(values))]
    best = _PLAIN if len(bodies[_PLAIN]) <= len(bodies[_GRADIENT]) else _GRADIENT
    return bytes([best]) + pack_varint(step), bodies[best]


def _encode_bytes(values: Deep) -> bytes:
    return stored.encode_chain([(values >> 8).astype(np.uint8), (values & 255).astype(np.uint8)])


def _gradient(values: Deep) -> Deep:
    """Returns what is left of values after left + above - above left, modulo 2^16, small numbers of both signs being small."""
    rest = values.copy()
    rest[1:] -= values[:-1]
    rest[:, 1:] -= rest[:, :-1].copy()
    return ((rest << 1) ^ np.negative(rest >> 15)).astype(np.uint16)


def _ungradient(rest: Deep) -> Deep:
    """Returns the values of `_gradient`."""
    signed = (rest >> 1) ^ np.negative(rest & 1)
    return np.cumsum(np.cumsum(signed, axis=0, dtype=np.uint16), axis=1, dtype=np.uint16)


def decode(data: bytes, height: int, width: int) -> Deep:
    """Returns the samples of `encode`. Raises FormatError if the bytes are anything else."""
    cursor = Cursor(data, "the picture")
    num_channels = cursor.byte(_CHANNELS)
    heads = [(cursor.byte(_FILTER), cursor.varint(_STEP)) for _ in range(2 - num_channels % 2)]
    planes = stored.decode_chain(cursor.rest(), [(height, width)] * (2 * len(heads)))
    shapes = [(height, width, 1 if num_channels < 3 else 3), (height, width, 1)]
    pairs = zip(planes[::2], planes[1::2], strict=True)
    parts = [_decode_part(head, pair, shape) for head, pair, shape in zip(heads, pairs, shapes, strict=False)]
    return np.concatenate(parts, axis=2)


def _decode_part(head: tuple[int, int], halves: Iterable[NDArray[np.uint8]], shape: tuple[int, int, int]) -> Deep:
    high, low = (_channels(half, shape[2]).astype(np.uint16) for half in halves)
    values = (high << 8 | low).astype(np.uint16)
    values = _ungradient(values) if head[0] == _GRADIENT else values
    if int(values.max()) * head[1] > 65535:
        raise FormatError("the picture is damaged: it has samples of more than 16 bits")
    return (values * np.uint16(head[1])).astype(np.uint16)


def _channels(half: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """Returns a decoded picture as (H, W, count): what was gray may have come back with three equal planes, or the other way."""
    planes = half[..., None] if half.ndim == 2 else half
    return np.repeat(planes, 3, axis=2) if count > planes.shape[2] else planes[..., :count]
