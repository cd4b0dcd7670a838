"""Formats that Pillow knows only with the help of others: HEIC and JPEG XL, where their packages are installed.

Room: pixels, below `picture`. They are looked for when a file or a suffix is not known otherwise. Imports Pillow, and
pillow-heif and pillow-jxl-plugin inside a function.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError


def opened(file: BinaryIO) -> Image.Image:
    """Returns an open file as an image that is not loaded yet. Raises what Pillow raises."""
    try:
        return Image.open(file)
    except UnidentifiedImageError:
        if not _register():
            raise
        file.seek(0)
        return Image.open(file)


def extensions() -> dict[str, str]:
    """Returns Pillow's name of the format for each suffix."""
    Image.init()
    _register()
    return Image.registered_extensions()


@cache
def _register() -> bool:
    """Makes Pillow know more formats; returns whether there are any."""
    before = len(Image.OPEN)
    with suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()
    with suppress(ImportError):
        import pillow_jxl  # noqa: F401 (it registers itself)
    return len(Image.OPEN) > before
