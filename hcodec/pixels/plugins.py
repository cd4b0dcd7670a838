"""Formats that Pillow knows only with the help of others: HEIC and JPEG XL, where their packages are installed.

Room: pixels, below `picture`. They are looked for when a file or a suffix is not known otherwise. Imports Pillow,
`container.header`, `errors`, and pillow-heif and pillow-jxl-plugin inside a function.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from hcodec.container.header import ARCHIVE, MAGIC
from hcodec.errors import PictureError

_BRANDS = (b"heic", b"heix", b"hevc", b"mif1", b"msf1")
_SUFFIXES = (".heic", ".heif", ".hif", ".jxl")
_OURS = {  # unless our own plugin for Pillow was imported
    MAGIC: "is an hcodec file already (hcodec truncate makes it shorter, hcodec decode a picture of it)",
    ARCHIVE: "is an archive of hcodec (hcodec unpack takes its pictures out)",
}
_JXL = (b"\xff\x0a", b"\0\0\0\x0cJXL ")


def opened(file: BinaryIO) -> Image.Image:
    """Returns an open file as an image that is not loaded yet. Raises what Pillow raises, PictureError if a package lacks."""
    try:
        return Image.open(file)
    except UnidentifiedImageError:
        if _register():
            file.seek(0)
            with suppress(UnidentifiedImageError):
                return Image.open(file)
        if kind := _needed_for(file):
            raise PictureError(f"a damaged {kind} file, or the package for it is missing: pip install hcodec[formats]") from None
        file.seek(0)
        if ours := _OURS.get(file.read(len(MAGIC))):
            raise PictureError(ours) from None
        raise


def _needed_for(file: BinaryIO) -> str:
    """Returns which of the formats a file claims to have; empty if none."""
    file.seek(0)
    start = file.read(12)
    if start[4:8] == b"ftyp" and start[8:] in _BRANDS:
        return "HEIC"
    return "JPEG XL" if start.startswith(_JXL) else ""


def format_of(suffix: str) -> str | None:
    """Returns Pillow's name of the format of a suffix such as ".png"; None if there is none."""
    name = Image.registered_extensions().get(suffix)
    return Image.registered_extensions().get(suffix) if name is None and _register() else name


def is_known(suffix: str) -> bool:
    """Whether a suffix is that of pictures, in whichever format, other than ours; its package may be missing."""
    name = Image.registered_extensions().get(suffix)
    return suffix in _SUFFIXES or (name is not None and name != "HCODEC")


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
