"""What all adapters over Pillow share: save, decode, version, threads.

Imports numpy and Pillow only.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable

import numpy as np
import PIL
from PIL import Image, features

from benchmarks.images import Pixels
from benchmarks.peers.peer import Absent, Found, Peer

Options = Callable[[float], dict[str, object]]
"""From a setting to the keyword arguments of `Image.save`."""


def save(pixels: Pixels, setting: float, *, options: Options) -> bytes:
    """The file that Pillow writes of pixels uint8 (H, W, 3) with `options(setting)`."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, **options(setting))  # type: ignore[arg-type]
    return buffer.getvalue()


def decode(data: bytes) -> Pixels:
    """Pixels uint8 (H, W, 3) of any file that Pillow reads."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def version_with(codec: str) -> str:
    """Version text of Pillow together with one of its codecs."""
    return f"Pillow {PIL.__version__}, {codec}"


def built_in(name: str, feature: str, build: Callable[[str], list[Peer]]) -> Found:
    """The adapters that `build(version)` makes, or the reason why Pillow's `feature` is missing."""
    if not features.check(feature):
        return [Absent(name, f"this Pillow is built without {feature}")]
    return [*build(version_with(f"{feature} {features.version(feature)}"))]


def num_threads() -> int:
    """Threads that a codec may use: as many as torch is told, so that all have the same."""
    return int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
