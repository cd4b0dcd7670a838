"""The self-test of `hcodec doctor`: one picture, decoded, encoded again and decoded again, by the models that are shipped.

`reference.hcodec` is a file of format 1.0 with all levels and a coded lossless layer: its pixels come out of the whole exact
integer path, so that the digest below holds on every machine or not at all.
"""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hcodec import codec, container
from hcodec.errors import HcodecError
from hcodec.pixels import picture

REFERENCE = Path(__file__).with_name("reference.hcodec")
DIGEST = "6a7e4eba19cf62df9b37cfba26456436bac4b241055d14e210c3f9f63d0e5345"  # SHA-256 of its pixels
_LEAST_DB = 30.0  # of all levels of this picture, with much to spare


def run() -> str:
    """Returns what was tested, in one line. Raises HcodecError, or whatever goes wrong, if the codec does not work here."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what is lost is a fault here
        pixels = _exact(REFERENCE.read_bytes(), "the reference file")
        whole = codec.encode(pixels)
        _exact(codec.encode(pixels, lossless=True), "a lossless file made here")
        quality = picture.psnr(codec.decode_picture(whole).pixels, pixels)
        first = container.truncate(whole, levels=1)
        worst = picture.psnr(codec.decode_picture(first).pixels, pixels)
    if not worst < quality or quality < _LEAST_DB:
        raise HcodecError(f"a picture comes back with {worst:.1f} dB from one level and {quality:.1f} dB from all")
    height, width = pixels.shape[:2]
    return f"{width}x{height} pixels: exact, and {quality:.1f} dB from {8 * len(whole) / pixels[..., 0].size:.2f} bits a pixel"


def _exact(data: bytes, what: str) -> NDArray[np.uint8]:
    """Returns the pixels of a lossless file of the reference picture. Raises HcodecError if they are others."""
    found = codec.decode_picture(data)
    digest = hashlib.sha256(np.ascontiguousarray(found.pixels).tobytes()).hexdigest()
    if not found.exact or digest != DIGEST:
        raise HcodecError(f"{what} decodes to other pixels than it should ({digest[:16]})")
    return found.pixels
