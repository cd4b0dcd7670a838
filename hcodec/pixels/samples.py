"""Samples of every kind to 8-bit gray or RGB, with or without alpha, and what that changes.

Room: pixels (encode step 2), below `picture`. Whatever it does that cannot be undone, it says. Imports numpy, Pillow and
`errors` only.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from hcodec.errors import PictureError

_CHANNELS = {  # Pillow's modes that hold 8-bit gray or RGB, and the mode in which they are read; others are converted
    "1": "L",
    "L": "L",
    "LA": "LA",
    "La": "LA",
    "P": "RGB",
    "PA": "RGBA",
    "RGB": "RGB",
    "RGBA": "RGBA",
    "RGBa": "RGBA",
    "RGBX": "RGB",
}
_WITH_ALPHA = {"L": "LA", "RGB": "RGBA"}
_PREMULTIPLIED = ("La", "RGBa")
_CONVERTED = ("HSV", "YCbCr")  # modes that Pillow converts to RGB, with rounding
_MAX_16 = 0xFFFF
_FULL = (1, 255, _MAX_16)  # where the usual ranges of floats end


def rawmode(image: Image.Image) -> str:
    """Returns how the samples lie in the file, as far as Pillow tells before the image is loaded; else nothing."""
    tiles = getattr(image, "tile", None)
    arguments = tiles[0][3] if tiles else ""
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def convert(image: Image.Image, rawmode: str, bits: int) -> tuple[Image.Image, list[str]]:
    """Returns a loaded image in mode L, LA, RGB or RGBA, and what was changed on the way, each in a few words.

    `bits`: of a sample in the file, 0 where Pillow gives as many. Raises PictureError if its mode cannot be coded.
    """
    if image.mode.startswith("I"):
        return _convert_integers(image, bits)
    changes = [f"{bits}-bit samples cut to 8 bits"] if bits > 8 else []
    if image.mode == "CMYK":
        return _convert_cmyk(image, changes)
    if image.mode in _CONVERTED:
        return image.convert("RGB"), [*changes, f"{image.mode} converted to RGB"]
    if image.mode == "F":
        rounded, change = _round_floats(np.asarray(image))
        return Image.fromarray(rounded), [*changes, change]
    if image.mode not in _CHANNELS:
        raise PictureError(f"pictures of mode {image.mode} cannot be coded; convert it to RGB first")
    if image.mode in _PREMULTIPLIED or rawmode.startswith(_PREMULTIPLIED):
        changes.append("colors divided by their alpha, which they were premultiplied with")
    mode = _CHANNELS[image.mode]
    if image.has_transparency_data:
        mode = _WITH_ALPHA.get(mode, mode)
    if rawmode.startswith("LA"):  # Pillow opens 16-bit gray with alpha as RGBA
        mode = "LA"
    return image.convert(mode), changes


def convert_array(array: NDArray[Any]) -> tuple[NDArray[np.uint8], list[str]]:
    """Returns an array of bool, uint8, uint16 or floats as uint8, and what was changed. Raises PictureError if it is another."""
    if array.dtype == np.uint8:
        return array, []
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255), []
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:  # in either byte order
        return _round(array, _MAX_16), [_say_rounded(16, array)]
    if array.dtype.kind == "f":
        rounded, change = _round_floats(array)
        return rounded, [change]
    raise PictureError(f"an array of {array.dtype} cannot be coded; uint8 (0..255), uint16 (0..65535) or bool can")


def _convert_integers(image: Image.Image, bits: int) -> tuple[Image.Image, list[str]]:
    samples = np.asarray(image)
    if samples.min() < 0 or samples.max() > _MAX_16:
        span = f"{samples.min()} to {samples.max()}"
        raise PictureError(f"samples of {span} need more than 16 bits; bring them to 0 to {_MAX_16} first")
    if image.mode == "I" and bits <= 8 and samples.max() <= 255:  # as Pillow's own convert("I") makes of 8 bits
        gray, change = Image.fromarray(samples.astype(np.uint8)), "mode I, of 0 to 255, taken as 8 bits"
    else:
        depth = bits if 8 < bits < 16 else 16
        full = (1 << depth) - 1 if image.format == "TIFF" else _MAX_16  # Pillow's other readers scale to 16 bits
        gray, change = Image.fromarray(_round(samples, full)), _say_rounded(depth, samples)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        gray.putalpha(Image.fromarray(np.where(samples == transparent, 0, 255).astype(np.uint8)))
    return gray, [change]


def _round_floats(samples: NDArray[Any]) -> tuple[NDArray[np.uint8], str]:
    """Returns floats as uint8, by the least usual range that holds them, and says so. Raises PictureError if none does."""
    if not np.isfinite(samples).all():
        raise PictureError("samples are floats, some of which are not finite; replace those first, as numpy.nan_to_num does")
    low, high = float(samples.min()), float(samples.max())
    full = next((full for full in _FULL if 0 <= low <= high <= full), None)
    if full is None:
        raise PictureError(f"samples are floats of {low:g} to {high:g}; bring them to 0 to 1 first: (x - low) / (high - low)")
    scaled = np.rint(samples.astype(np.float64) * (255 / full)).astype(np.uint8)
    return scaled, f"floats of {low:g} to {high:g} taken as those of 0 to {full}, rounded to 8 bits"


def _say_rounded(bits: int, samples: NDArray[Any]) -> str:
    dark = f" (none is above {samples.max()} of {(1 << bits) - 1}: are 8 bits meant?)" if samples.max() <= 255 else ""
    return f"{bits}-bit samples rounded to 8 bits{dark}"


def _round(samples: NDArray[Any], full: int) -> NDArray[np.uint8]:
    """Samples of 0 .. full to the nearest of 0 .. 255."""
    return ((samples.astype(np.uint32) * 255 + full // 2) // full).astype(np.uint8)


def _convert_cmyk(image: Image.Image, changes: list[str]) -> tuple[Image.Image, list[str]]:
    icc = image.info.get("icc_profile")
    if icc:
        try:
            srgb = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, io.BytesIO(icc), srgb, outputMode="RGB")
        except (ImageCms.PyCMSError, ImportError, ValueError):  # a bad profile, or Pillow built without LittleCMS
            converted = None
        if converted is not None:
            return converted, [*changes, "CMYK converted to RGB (sRGB, by its color profile)"]
    return image.convert("RGB"), [*changes, "CMYK converted to RGB"]
