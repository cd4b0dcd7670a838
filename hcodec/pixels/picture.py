"""Image files, Pillow images and arrays to `Picture` and back; pixels to tensors and back.

Room: pixels (encode steps 2 and 3, decode step 9). Nobody after it has to ask for color modes, orientation or bit
depths. Imports numpy, Pillow, `metadata`, `errors` and, for the largest size, `container.fields`; torch only inside the
two tensor functions, so that it is not loaded with the module. No network, no entropy coding.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, UnidentifiedImageError

from hcodec.container.fields import MAX_PIXELS, MAX_SIDE_PX
from hcodec.errors import HcodecError, PictureError
from hcodec.pixels import deep
from hcodec.pixels import metadata as blobs
from hcodec.pixels.metadata import Metadata

__all__ = [
    "Metadata",
    "Picture",
    "psnr",
    "read",
    "save",
    "to_image",
]

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
_UPRIGHT = {  # EXIF orientation -> what turns the stored picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ANIMATIONS = ("AVIF", "GIF", "PNG", "WEBP")
_FORMATS_WITH_ALPHA = ("AVIF", "JPEG2000", "PNG", "TGA", "TIFF", "WEBP")
_SAVE_OPTIONS: dict[str, dict[str, Any]] = {  # a decoded picture has lost enough already
    "AVIF": {"quality": 95, "subsampling": "4:4:4"},
    "JPEG": {"quality": 95, "subsampling": "4:4:4"},
    "WEBP": {"lossless": True, "exact": True},
}


@dataclass(frozen=True, eq=False)  # == of arrays is no bool
class Picture:
    """An upright 8-bit picture.

    `pixels`: uint8 (H, W, 3), 0..255; `alpha`: uint8 (H, W), 0 transparent .. 255 opaque, or None; `gray`: one
    channel, then the three planes of `pixels` are equal; `notes`: one line for each thing that could not be kept
    exactly; `exact`: of a decoded picture, whether a lossless layer gave the very pixels that were encoded; `deep`: uint16
    (H, W, 1 to 4), the samples where they have 16 bits, alpha included, of which `pixels` and `alpha` are rounded.
    """

    pixels: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | None = None
    gray: bool = False
    metadata: Metadata = field(default_factory=Metadata)
    notes: tuple[str, ...] = ()
    exact: bool = False
    deep: NDArray[np.uint16] | None = None


def read(
    source: Image.Image | str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | NDArray[np.generic],
) -> Picture:
    """The picture in a file (by path, as bytes, or open), in a Pillow image, or in an array.

    Arrays: uint8 or uint16, (H, W) or (H, W, C), C being 1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha.
    Raises PictureError if it is not an image, or its mode or size cannot be coded; OSError if the file cannot be read.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        with _pillow_errors("the image cannot be read"):
            return _from_image(source)
    if isinstance(source, bytes | bytearray | memoryview):
        return _from_file(io.BytesIO(source))
    if isinstance(source, str | os.PathLike):
        with open(source, "rb") as file:
            return _from_file(file)
    data = source.read() if hasattr(source, "read") else None
    if not isinstance(data, bytes):
        raise PictureError(f"a picture cannot be read from {type(source).__name__}")
    return _from_file(io.BytesIO(data))


@contextmanager
def _pillow_errors(message: str) -> Iterator[None]:
    """Turns what Pillow raises into PictureError, but lets errors of the file system (with a number) pass."""
    try:
        yield
    except HcodecError:
        raise
    except Exception as error:  # Pillow's readers raise nearly everything on damaged files
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = "its format is unknown" if isinstance(error, UnidentifiedImageError) else error or type(error).__name__
        raise PictureError(f"{message}: {reason}") from error


def _from_file(file: BinaryIO) -> Picture:
    with warnings.catch_warnings(), _pillow_errors("not a readable image"):
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # Pillow's error at twice the size stays
        with Image.open(file) as image:
            return _from_image(image)


def _from_image(image: Image.Image) -> Picture:
    _check_size(image.width, image.height)
    notes = _describe_losses(image)
    rawmode = _rawmode(image)
    halves = deep.halves(image, rawmode)
    image.load()
    metadata, orientation, metadata_notes = blobs.collect(image)
    notes += metadata_notes
    if image.mode not in _CHANNELS and not _has_16_bits(image):  # the profile tells of colors that are gone
        metadata = Metadata(exif=metadata.exif, xmp=metadata.xmp)
    upright = _convert(image, rawmode, notes)
    if orientation in _UPRIGHT:
        upright = upright.transpose(_UPRIGHT[orientation])
    samples = deep.joined(image, halves, _UPRIGHT.get(orientation))
    return replace(_from_channels(np.asarray(upright), metadata, notes), deep=samples)


def _check_size(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise PictureError(f"a picture of {width}x{height} pixels is empty")
    if max(width, height) > MAX_SIDE_PX or width * height > MAX_PIXELS:
        raise PictureError(f"a picture of {width}x{height} pixels is too large")


def _rawmode(image: Image.Image) -> str:
    """How the samples lie in the file, as far as Pillow tells before the image is loaded; else empty."""
    tiles = getattr(image, "tile", None)
    arguments = tiles[0][3] if tiles else ""
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def _describe_losses(image: Image.Image) -> list[str]:
    notes = []
    if getattr(image, "is_animated", False):
        several = "animation: first frame only" if image.format in _ANIMATIONS else "several pictures: first one only"
        notes.append(several)
    if ";16" in _rawmode(image) and not _has_16_bits(image):  # Pillow drops the low bytes of color samples
        notes.append("16-bit samples cut to 8 bits")
    return notes


def _has_16_bits(image: Image.Image) -> bool:
    return image.mode.startswith("I")


def _convert(image: Image.Image, rawmode: str, notes: list[str]) -> Image.Image:
    """The same picture in mode L, LA, RGB or RGBA; adds to `notes` what changes on the way."""
    if _has_16_bits(image):
        return _convert_16_bits(image, notes)
    if image.mode == "CMYK":
        return _convert_cmyk(image, notes)
    if image.mode not in _CHANNELS:
        if image.mode not in ("HSV", "YCbCr"):
            raise PictureError(f"pictures of mode {image.mode} cannot be coded; convert it to RGB first")
        notes.append(f"{image.mode} converted to RGB")
        return image.convert("RGB")
    mode = _CHANNELS[image.mode]
    if image.has_transparency_data:
        mode = _WITH_ALPHA.get(mode, mode)
    if rawmode.startswith("LA"):  # Pillow opens 16-bit gray with alpha as RGBA
        mode = "LA"
    return image.convert(mode)


def _convert_16_bits(image: Image.Image, notes: list[str]) -> Image.Image:
    samples = np.asarray(image)
    if samples.min() < 0 or samples.max() > 0xFFFF:
        raise PictureError("samples of more than 16 bits cannot be coded")
    notes.append("16-bit samples rounded to 8 bits")
    gray = Image.fromarray(_round_16_bits(samples))
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        gray.putalpha(Image.fromarray(np.where(samples == transparent, 0, 255).astype(np.uint8)))
    return gray


def _round_16_bits(samples: NDArray[Any]) -> NDArray[np.uint8]:
    return ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8)  # 65535 = 255 * 257


def _convert_cmyk(image: Image.Image, notes: list[str]) -> Image.Image:
    icc = image.info.get("icc_profile")
    if icc:
        try:
            srgb = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, io.BytesIO(icc), srgb, outputMode="RGB")
        except (ImageCms.PyCMSError, ImportError, ValueError):  # a bad profile, or Pillow built without LittleCMS
            converted = None
        if converted is not None:
            notes.append("CMYK converted to RGB (sRGB, by its color profile)")
            return converted
    notes.append("CMYK converted to RGB")
    return image.convert("RGB")


def _from_array(array: NDArray[np.generic]) -> Picture:
    channels = array[..., np.newaxis] if array.ndim == 2 else array
    if channels.ndim != 3 or channels.shape[2] not in (1, 2, 3, 4):
        raise PictureError(f"an array of shape {array.shape} is no picture; (H, W) or (H, W, 1 to 4) is")
    _check_size(channels.shape[1], channels.shape[0])
    if array.dtype == np.uint16:
        rounded = _from_channels(_round_16_bits(channels), Metadata(), ["16-bit samples rounded to 8 bits"])
        return replace(rounded, deep=np.array(channels, order="C"))
    if array.dtype != np.uint8:
        raise PictureError(f"an array of {array.dtype} cannot be coded; uint8 (0..255) or uint16 can")
    return _from_channels(channels, Metadata(), [])


def _from_channels(channels: NDArray[Any], metadata: Metadata, notes: list[str]) -> Picture:
    """`channels`: uint8 (H, W) or (H, W, 1 to 4)."""
    if channels.ndim == 2:
        channels = channels[..., np.newaxis]
    num_channels = channels.shape[2]
    gray, has_alpha = num_channels < 3, num_channels % 2 == 0
    pixels = np.repeat(channels[..., :1], 3, axis=2) if gray else np.array(channels[..., :3], order="C")
    alpha = np.array(channels[..., -1], order="C") if has_alpha else None
    return Picture(pixels, alpha, gray, metadata, tuple(notes))


def to_image(picture: Picture) -> Image.Image:
    """A Pillow image of mode L, LA, RGB, RGBA or I;16, with `icc_profile`, `exif` and `xmp` in its `info` where present.

    Pillow has no mode for other samples of 16 bits than gray ones without alpha: such are rounded.
    """
    pixels: NDArray[Any] = picture.pixels
    if picture.gray:
        pixels = ((pixels.sum(axis=2, dtype=np.uint16) + 1) // 3).astype(np.uint8)
    is_deep = picture.deep is not None and picture.deep.shape[2] == 1
    image = Image.fromarray(picture.deep[..., 0] if picture.deep is not None and is_deep else pixels)
    if picture.alpha is not None:
        image.putalpha(Image.fromarray(picture.alpha))
    blobs.attach(image, picture.metadata)
    return image


def save(image: Image.Image, target: str | os.PathLike[str] | BinaryIO, format: str | None = None) -> None:
    """Writes an image of `to_image` to a path or an open file, with the metadata that the format can hold.

    `format`: one of Pillow's names, by default that of the path's suffix. JPEG and AVIF are written at quality 95,
    WebP lossless. Raises PictureError if the format is unknown or cannot hold the picture; OSError if the file cannot
    be written.
    """
    image_format = _choose_format(target, format)
    if image.mode in ("LA", "RGBA") and image_format not in _FORMATS_WITH_ALPHA:
        raise PictureError(f"{image_format} cannot hold the picture's alpha channel; PNG can")
    with _pillow_errors(f"the picture cannot be written as {image_format}"):
        options = _SAVE_OPTIONS.get(image_format, {}) | blobs.save_options(image, image_format)
        image.save(target, image_format, **options)


def _choose_format(target: str | os.PathLike[str] | BinaryIO, image_format: str | None) -> str:
    if image_format is None:
        name = target if isinstance(target, str | os.PathLike) else getattr(target, "name", "")
        suffix = Path(name).suffix.lower() if isinstance(name, str | os.PathLike) else ""
        image_format = Image.registered_extensions().get(suffix)
        if image_format is None:
            raise PictureError(f"no image format has the suffix {suffix!r}; name the format")
    Image.init()
    image_format = {"JPG": "JPEG", "JP2": "JPEG2000", "TIF": "TIFF"}.get(image_format.upper(), image_format.upper())
    if image_format not in Image.SAVE:
        raise PictureError(f"the format {image_format} cannot be written")
    return image_format


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio in dB of two uint8 arrays of one shape, over all samples; infinite when equal."""
    if a.shape != b.shape:
        raise PictureError(f"pictures of shapes {a.shape} and {b.shape} cannot be compared")
    difference = a.astype(np.int32) - b
    mse = float(np.mean(difference * difference))
    return float(10 * np.log10(255**2 / mse)) if mse else float("inf")
