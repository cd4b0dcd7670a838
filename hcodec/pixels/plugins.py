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


def format_of(suffix: str) -> str | None:
    """Returns Pillow's name of the format of a suffix such as ".png"; None if there is none."""
    name = Image.registered_extensions().get(suffix)
    return Image.registered_extensions().get(suffix) if name is None and _register() else name


def can_write(image_format: str) -> bool:
    """Whether a format, by Pillow's name, can be written."""
    Image.init()
    return image_format in Image.SAVE or (_register() and image_format in Image.SAVE)


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
