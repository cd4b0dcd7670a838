"""Pictures of 16 bits a sample, drawn from smooth numbers with grain."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

_HEIGHT, _WIDTH = 512, 768


def _photograph(seed: int, channels: int, fall: float, grain: float) -> NDArray[np.uint16]:
    """Returns noise whose power falls with frequency, and grain of so many steps of 65535; uint16 (H, W, channels)."""
    random = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(_HEIGHT)[:, None], np.fft.rfftfreq(_WIDTH)[None, :])
    frequency[0, 0] = 1 / _WIDTH
    shared, planes = random.normal(size=(_HEIGHT, _WIDTH)), []
    for _ in range(channels):
        noise = np.fft.rfft2(shared + 0.5 * random.normal(size=shared.shape))
        plane = np.fft.irfft2(noise / frequency**fall, s=shared.shape)
        planes.append(32768 + 11000 * plane / plane.std() + random.normal(0, grain, shared.shape))
    return np.clip(np.rint(np.stack(planes, axis=2)), 0, 65535).astype(np.uint16)


def deep() -> Iterator[tuple[str, NDArray[np.uint16]]]:
    """Yields each picture with its name; uint16 (H, W, 1 or 3)."""
    yield "gray, much texture", _photograph(1, 1, 1.4, 60)
    yield "gray, smooth", _photograph(2, 1, 2.2, 20)
    yield "RGB, much texture", _photograph(3, 3, 1.4, 60)
    yield "RGB, smooth", _photograph(4, 3, 2.2, 20)
    yield "RGB, 12 bits in 16", (_photograph(5, 3, 2.0, 60) & 0xFFF0).astype(np.uint16)
