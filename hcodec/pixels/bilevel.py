"""Pictures of black and white alone: their samples have one bit, where a format has those.

Room: pixels (after decode step 9), below `picture`. Imports Pillow only.
"""

from __future__ import annotations

from collections.abc import Collection

from PIL import ExifTags, Image, features

FORMATS = ("BMP", "PNG", "TIFF")  # that hold samples of one bit, and that everybody reads so
_BLACK, _WHITE = 0, 255
_DIRECTORIES = {ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo, ExifTags.IFD.Interop}


def narrowed(image: Image.Image) -> Image.Image:
    """Returns a gray image of mode L that is black and white alone in mode 1; any other as it is."""
    if image.mode != "L" or any(image.histogram()[_BLACK + 1 : _WHITE]):
        return image
    return image.convert("1", dither=Image.Dither.NONE)


def options(image: Image.Image, image_format: str, tags: Collection[int]) -> dict[str, str]:
    """Returns how an image is to be written: those of one bit as fax machines code them, where TIFF files can be written so.

    tags: of its Exif; libtiff, as Pillow calls it, cannot write those that stand for a directory.
    """
    is_fax = (image.mode, image_format) == ("1", "TIFF") and features.check("libtiff") and not _DIRECTORIES & set(tags)
    return {"compression": "group4"} if is_fax else {}
