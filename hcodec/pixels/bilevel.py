"""Pictures of black and white alone: their samples have one bit, where a format has those.

Room: pixels (after decode step 9), below `picture`. Imports Pillow only.
"""

from __future__ import annotations

from PIL import Image, features

FORMATS = ("BMP", "PNG", "TIFF")  # that hold samples of one bit, and that everybody reads so
_BLACK, _WHITE = 0, 255


def narrowed(image: Image.Image) -> Image.Image:
    """Returns a gray image of mode L that is black and white alone in mode 1; any other as it is."""
    if image.mode != "L" or any(image.histogram()[_BLACK + 1 : _WHITE]):
        return image
    return image.convert("1", dither=Image.Dither.NONE)


def options(image: Image.Image, image_format: str) -> dict[str, str]:
    """Returns how an image is to be written: those of one bit as fax machines code them, where TIFF files can be written so."""
    return {"compression": "group4"} if (image.mode, image_format) == ("1", "TIFF") and features.check("libtiff") else {}
