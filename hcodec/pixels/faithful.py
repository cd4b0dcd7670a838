"""What is to be encoded, of what was given: read, without what is not wanted, and nothing lost in silence.

Room: pixels (encode step 2), above `picture`: what files and archives have in common before anything is coded.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterable
from dataclasses import replace
from typing import BinaryIO

import numpy as np
from PIL import Image

from hcodec.container.attachments import METADATA_KINDS, Chromaticities, Cicp, Density
from hcodec.errors import HcodecError, HcodecWarning, PictureError
from hcodec.pixels import metadata as blobs
from hcodec.pixels import picture
from hcodec.pixels.metadata import Metadata, Names
from hcodec.pixels.picture import Picture

ImageSource = Image.Image | str | os.PathLike[str] | bytes | BinaryIO | np.ndarray | Picture

_TYPES = {
    "icc": bytes,
    "exif": bytes,
    "xmp": bytes,
    "cicp": Cicp | None,
    "chromaticities": Chromaticities | None,
    "gamma": int | None,
    "density": Density | None,
    "text": tuple,
    "other": tuple,
}


def prepare(
    image: ImageSource, *, metadata: Names = METADATA_KINDS, strip: Names = (), exact: bool = False, convert: bool = False
) -> Picture:
    """Returns the picture with the metadata that is to be kept, whose notes `warn` gives.

    `exact`: it is to be coded without loss, so PictureError is raised if reading changed its samples, unless `convert` allows
    that; so it is of floats, whose range is a guess, exact or not. Raises what `picture.read` raises, and HcodecError (an
    unknown kind of metadata).
    """
    if not isinstance(convert, bool | np.bool_):
        raise HcodecError(f"convert is of type {type(convert).__name__}; it must be True or False")
    source = image if isinstance(image, Picture) else picture.read(image)
    _check(source)
    if (exact or source.guessed) and not convert and refusal(source):
        raise PictureError(refusal(source))
    kept = replace(source, metadata=blobs.keep(source.metadata, metadata, strip))
    return replace(kept, rounding=()) if exact else kept  # without loss, the samples of 16 bits are what is coded


def refusal(source: Picture) -> str:
    """Why coding without loss does not give the very samples of the source again; empty if it does. This decides it."""
    changes = "; ".join(source.changes)
    why = "the range of its samples is a guess" if source.guessed else "cannot be coded without loss"
    return f"{why}: {changes}; --convert (convert=True) codes that" if changes else ""


def warn(notes: Iterable[str]) -> None:
    """Warns of what was changed and what was left out, a line each."""
    for note in notes:
        warnings.warn(note, HcodecWarning, stacklevel=_callers_level() + 1)


def _callers_level() -> int:
    """How far up the first caller is that is not of this package: that is whose line a warning should name."""
    frame, level = sys._getframe(1), 1
    while frame.f_back and str(frame.f_globals.get("__name__", "")).partition(".")[0] == "hcodec":
        frame, level = frame.f_back, level + 1
    return level - 1


def _check(source: Picture) -> None:
    """Raises PictureError if a Picture that was made by hand is none."""
    pixels, alpha = source.pixels, source.alpha
    good = [isinstance(plane, np.ndarray) and plane.dtype == np.uint8 for plane in (pixels, *([] if alpha is None else [alpha]))]
    if not all(good) or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise PictureError("a Picture has pixels of uint8 (H, W, 3), and alpha of uint8 (H, W) or None")
    if alpha is not None and alpha.shape != pixels.shape[:2]:
        raise PictureError(f"a Picture has alpha of the shape of its pixels, not {alpha.shape} for {pixels.shape[:2]}")
    deep = source.deep
    if deep is not None and not (isinstance(deep, np.ndarray) and deep.dtype == np.uint16 and deep.shape[:2] == pixels.shape[:2]
                                 and deep.ndim == 3 and deep.shape[2] in (1, 2, 3, 4)):  # fmt: skip
        raise PictureError("a Picture has deep samples of uint16 (H, W, 1 to 4), or None")
    if deep is not None and deep.shape[2] != (1 if source.gray else 3) + (alpha is not None):
        raise PictureError(f"a Picture's deep samples have {deep.shape[2]} channels, its gray and alpha say others")
    if source.gray and (pixels[..., :1] != pixels[..., 1:]).any():
        raise PictureError("a Picture that is gray has three equal planes of pixels")
    if not isinstance(source.metadata, Metadata):
        raise PictureError(f"a Picture has metadata of type Metadata, not {type(source.metadata).__name__}")
    for name, kinds in _TYPES.items():
        value = getattr(source.metadata, name)
        if not isinstance(value, kinds):
            raise PictureError(f"{name} of a Metadata is of type {type(value).__name__}")
    if not all(isinstance(pair, tuple) and tuple(map(type, pair)) == (str, str) for pair in source.metadata.text):
        raise PictureError("text of a Metadata has pairs of a key and a value, both str")
