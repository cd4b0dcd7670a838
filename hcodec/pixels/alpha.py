"""The alpha channel as bytes, lossless.

Room: pixels, below `attachments` (encode step 11, decode step 9). What it makes is the payload of the alpha chunk.
FORMAT.md, "The alpha channel". Imports numpy, `image_file` and `errors` only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hcodec.pixels import image_file

_QUALITY = 100  # of WebP: the shorter on everything tried


def encode_alpha(alpha: NDArray[np.uint8]) -> bytes:
    """Returns an alpha channel, uint8 (H, W), without loss: one byte if constant, else a lossless file."""
    if (alpha == alpha[0, 0]).all():
        return bytes(alpha[:1, :1])
    return image_file.encode(alpha, _QUALITY)


def decode_alpha(data: bytes, height: int, width: int) -> NDArray[np.uint8]:
    """Returns the alpha channel, uint8 (H, W), that `encode_alpha` made. Raises FormatError if damaged or of another size."""
    if len(data) == 1:
        return np.full((height, width), data[0], np.uint8)
    samples = image_file.decode(data, height, width, "the alpha channel", color=False)
    return samples if samples.ndim == 2 else samples[..., 0].copy()
