"""Pictures that callers have put together themselves: what does not hold of one is said before it is coded.

Room: pixels (encode step 2). Imports numpy, `metadata`, `picture` and `errors` only.
"""

from __future__ import annotations

import numpy as np

from hcodec.errors import PictureError
from hcodec.pixels.metadata import KINDS, Metadata
from hcodec.pixels.picture import Picture


def checked(picture: Picture) -> Picture:
    """Returns a picture as it is. Raises PictureError unless all that `Picture` promises holds."""
    pixels, alpha = _array("pixels", picture.pixels), picture.alpha
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        raise PictureError(f"the pixels of a Picture are of shape {pixels.shape}; they must be (H, W, 3)")
    if alpha is not None and _array("alpha", alpha).shape != pixels.shape[:2]:
        raise PictureError(f"the alpha of a Picture is of shape {alpha.shape}; it must be {pixels.shape[:2]}")
    if picture.gray and (pixels != pixels[..., :1]).any():
        raise PictureError("the pixels of a Picture differ in color, although it is said to be gray")
    if not isinstance(picture.metadata, Metadata):
        raise PictureError(f"the metadata of a Picture is of type {type(picture.metadata).__name__}; it must be Metadata")
    for name in KINDS:
        if not isinstance(getattr(picture.metadata, name), bytes):
            raise PictureError(f"the metadata of a Picture has {name} that is not bytes")
    return picture


def _array(name: str, value: object) -> np.ndarray:
    """Returns an array of uint8. Raises PictureError if it is another thing."""
    if not isinstance(value, np.ndarray) or value.dtype != np.uint8:
        kind = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
        raise PictureError(f"the {name} of a Picture are {kind}; they must be an array of uint8")
    return value
