"""Image files, Pillow images and arrays to `Picture` and back; pixels to tensors and back.

Room: pixels (encode steps 2 and 3, decode step 9). Nobody after it has to ask for color modes, orientation or bit
depths. Imports numpy, Pillow, `metadata`, `errors` and, for the largest size, `container.fields`; torch only inside the
two tensor functions, so that it is not loaded with the module. No network, no entropy coding.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from hcodec.container.fields import MAX_PIXELS, MAX_SIDE_PX
from hcodec.container.source import open_path, read_source
from hcodec.errors import HcodecError, HcodecWarning, PictureError
from hcodec.pixels import bilevel, deep, plugins, samples, writing
from hcodec.pixels import metadata as blobs
from hcodec.pixels.facts import Facts, facts_of
from hcodec.pixels.lenient import lenient
from hcodec.pixels.metadata import Metadata

__all__ = [
    "Metadata",
    "Picture",
    "psnr",
    "read",
    "save",
    "to_image",
]

_UPRIGHT = {  # EXIF orientation -> what turns the stored picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_HINT = "; hcodec encode --allow-truncated keeps what can be read"
_GIF_COLORS = 256
_MAX_NAMES = 12  # in the line that lists what was left out
_ANIMATIONS = ("AVIF", "GIF", "PNG", "WEBP")
_FORMATS_WITH_ALPHA = ("AVIF", "HEIF", "ICO", "JPEG2000", "JXL", "PNG", "TGA", "TIFF", "WEBP")
_MAX_SIDES_PX = {"AVIF": 32768, "ICO": 256}  # beyond, Pillow writes files that it cannot read, or a smaller picture
_ICNS_SIZE_PX = 1024, 1024  # Pillow writes any other picture enlarged to this
_JPEG_OPTIONS = {"quality": 95, "subsampling": "4:4:4"}
_SAVE_OPTIONS: dict[str, dict[str, Any]] = {  # a decoded picture has lost enough already
    "AVIF": {"quality": 95, "subsampling": "4:4:4"},
    "HEIF": {"quality": 95, "chroma": 444},
    "JPEG": _JPEG_OPTIONS,
    "JXL": {"lossless": True},
    "MPO": _JPEG_OPTIONS,
    "PDF": _JPEG_OPTIONS,
    "WEBP": {"lossless": True, "exact": True},
}


@dataclass(frozen=True, eq=False)  # == of arrays is no bool
class Picture:
    """An upright 8-bit picture.

    `pixels`: uint8 (H, W, 3), 0..255; `alpha`: uint8 (H, W), 0 transparent .. 255 opaque, or None; `gray`: one
    channel, then the three planes of `pixels` are equal; `changes`: how the samples differ from those of the source, which
    no file of ours can hold; `left_out`: what else of the source is not here, beside `metadata.other`; `exact`: of a decoded
    picture, whether `pixels` are the very ones that were encoded; `deep`: uint16 (H, W, 1 to 4), the samples where they have
    16 bits, alpha included; `rounding`: how `pixels` and `alpha` differ from those; `damage`: of the source,
    of which somebody asked for what could be read; `guessed`: the range of its samples, which are floats, was guessed.
    """

    pixels: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | None = None
    gray: bool = False
    metadata: Metadata = field(default_factory=Metadata)
    changes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    exact: bool = False
    deep: NDArray[np.uint16] | None = None
    rounding: tuple[str, ...] = ()
    damage: tuple[str, ...] = ()
    guessed: bool = False

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be warned of: a line for what was changed, and one for what was left out."""
        names = [*self.left_out, *self.metadata.other]
        more = len(names) - _MAX_NAMES
        left_out = ", ".join([*names[:_MAX_NAMES], *([f"{more} more"] if more > 0 else [])])
        changes = "; ".join((*self.damage, *self.changes, *self.rounding))
        return tuple(line for line in (changes, left_out and f"left out: {left_out}") if line)

    def without_notes(self) -> Picture:
        """Returns the same picture, of which there is nothing to be warned of any more."""
        return replace(self, changes=(), rounding=(), damage=(), left_out=(), metadata=replace(self.metadata, other=()))


def read(
    source: Image.Image | str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | NDArray[np.generic],
    *,
    allow_truncated: bool = False,
    given: Mapping[str, Any] | None = None,
) -> Picture:
    """The picture in a file (by path, as bytes, or open), in a Pillow image, or in an array.

    Arrays: bool, uint8 or uint16, (H, W) or (H, W, C), C being 1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha.
    `allow_truncated`: of a file that is damaged or ends early, take what can be read, and note it. `given`: metadata that takes
    the place of that of a Pillow image, under Pillow's keys.
    Raises PictureError if it is not an image, or its mode or size cannot be coded; HcodecError if what is open gives no bytes;
    OSError if the file cannot be read.
    """
    if isinstance(source, np.ndarray):
        return _from_array(np.asarray(source))  # a matrix is one that stays two-dimensional
    if isinstance(source, Image.Image):
        with _pillow_errors("the image cannot be read"):
            return _from_image(source, given)
    if isinstance(source, bytes | bytearray | memoryview):
        return _from_file(io.BytesIO(bytes(source)), allow_truncated)
    if isinstance(source, str | os.PathLike):
        with open_path(source) as file:
            return _from_file(file, allow_truncated)
    if not hasattr(source, "read"):
        wanted = "a path, bytes, a file open for bytes, a Pillow image or a numpy array"
        raise PictureError(f"a picture cannot be read from {type(source).__name__}; {wanted} is wanted")
    return _from_file(io.BytesIO(read_source(source)), allow_truncated)


@contextmanager
def _pillow_errors(message: str, hint: str = "") -> Iterator[None]:
    """Turns what Pillow raises into PictureError, but lets errors of the file system (with a number) pass."""
    try:
        yield
    except HcodecError:
        raise
    except Exception as error:  # Pillow's readers raise nearly everything on damaged files
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = "its format is unknown" if isinstance(error, UnidentifiedImageError) else error or type(error).__name__
        raise PictureError(f"{message}: {reason}{hint}") from error


def _from_file(file: BinaryIO, allow_truncated: bool) -> Picture:
    try:
        return _opened(file)
    except PictureError as error:
        if not allow_truncated:
            raise
        file.seek(0)
        with lenient():
            found = _opened(file)
        return replace(found, damage=(f"{str(error).removesuffix(_HINT)}; what could be read was kept",))


def _opened(file: BinaryIO) -> Picture:
    with warnings.catch_warnings(), _pillow_errors("not a readable image"):
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # Pillow's error at twice the size stays
        with plugins.opened(file) as image:
            return _from_image(image)


def _from_image(image: Image.Image, given: Mapping[str, Any] | None = None) -> Picture:
    _check_size(image.width, image.height)
    left_out, facts, rawmode = _say_frames(image), facts_of(image), samples.rawmode(image)
    with _pillow_errors("the image is damaged", _HINT):
        has_deep = facts.bits in (0, 16)  # samples of 10 or 12 bits would come back as very dark ones of 16
        halves = deep.halves(image, rawmode) if has_deep else None
        image.load()
    metadata, orientation = blobs.collect(image, facts, given)
    if image.mode == "CMYK":  # its profile tells of colors that are gone
        metadata = blobs.keep(metadata, strip=("icc", "color"))
    turn = _UPRIGHT.get(orientation)
    converted, changes = samples.convert(image, rawmode, facts.bits)
    upright = np.asarray(converted if turn is None else converted.transpose(turn))
    rounded = replace(_from_channels(upright, metadata, tuple(changes), left_out), guessed=image.mode == "F")
    found = deep.joined(image, halves, turn) if has_deep else None
    if found is not None and found.shape[2] % 2 == 0:  # Pillow compares a transparent color of 16 bits with samples of 8
        rounded = replace(rounded, alpha=(found[..., -1] >> 8).astype(np.uint8))
    return _rounded(rounded, found)


def _check_size(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise PictureError(f"a picture of {width}x{height} pixels is empty")
    if max(width, height) > MAX_SIDE_PX or width * height > MAX_PIXELS:
        raise PictureError(f"a picture of {width}x{height} pixels is too large")


def _say_frames(image: Image.Image) -> tuple[str, ...]:
    """The pictures after the first, in words; empty if there are none."""
    if not getattr(image, "is_animated", False):
        return ()
    count = getattr(image, "n_frames", 2) - 1
    word = "frame" if image.format in _ANIMATIONS else "picture"
    return (f"{count} more {word}{'s' if count > 1 else ''}",)


def _from_array(array: NDArray[np.generic]) -> Picture:
    channels = array[..., np.newaxis] if array.ndim == 2 else array
    if channels.ndim != 3 or channels.shape[2] not in (1, 2, 3, 4):
        raise PictureError(f"an array of shape {array.shape} is no picture; (H, W) or (H, W, 1 to 4) is")
    _check_size(channels.shape[1], channels.shape[0])
    eight_bits, changes = samples.convert_array(channels)
    rounded = replace(_from_channels(eight_bits, Metadata(), tuple(changes), ()), guessed=array.dtype.kind == "f")
    return _rounded(rounded, channels.astype(np.uint16) if array.dtype.kind == "u" and array.dtype.itemsize == 2 else None)


def _rounded(picture: Picture, samples: NDArray[np.uint16] | None) -> Picture:
    """Returns a picture with the samples of 16 bits of which it was rounded, if there are such."""
    return picture if samples is None else replace(picture, deep=samples, rounding=picture.changes, changes=())


def _from_channels(channels: NDArray[Any], metadata: Metadata, changes: tuple[str, ...], left_out: tuple[str, ...]) -> Picture:
    """`channels`: uint8 (H, W) or (H, W, 1 to 4)."""
    if channels.ndim == 2:
        channels = channels[..., np.newaxis]
    num_channels = channels.shape[2]
    gray, has_alpha = num_channels < 3, num_channels % 2 == 0
    pixels = np.repeat(channels[..., :1], 3, axis=2) if gray else np.array(channels[..., :3], order="C")
    alpha = np.array(channels[..., -1], order="C") if has_alpha else None
    return Picture(pixels, alpha, gray, metadata, changes, left_out)


def equal_planes(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns decoded pixels of a gray picture, (H, W, 3), with the mean of their planes in each: levels know of color alone."""
    gray = ((pixels.sum(axis=2, dtype=np.uint16) + 1) // 3).astype(np.uint8)
    return np.repeat(gray[..., np.newaxis], 3, axis=2)


def to_image(picture: Picture) -> Image.Image:
    """A Pillow image of mode L, LA, RGB, RGBA or I;16, with what comes along in its `info`.

    Under Pillow's keys: `icc_profile`, `exif`, `xmp`, `gamma`, `chromaticity`, `dpi` or `aspect`; and under those that it does
    not have: `cicp` (four numbers) and `text` (a dict). It has no mode for other samples of 16 bits than gray ones without
    alpha: such are rounded.
    """
    pixels: NDArray[Any] = picture.pixels[..., 0] if picture.gray else picture.pixels
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
    _refuse_changes(image, image_format)
    options, left_out = writing.options(blobs.collect(image, Facts())[0], image_format)
    if left_out:
        warnings.warn(f"left out ({image_format} has no place for it): {', '.join(left_out)}", HcodecWarning, stacklevel=2)
    if image_format == "GIF" and image.mode != "L" and image.getcolors(_GIF_COLORS) is None:
        warnings.warn(f"colors reduced to the {_GIF_COLORS} that GIF holds", HcodecWarning, stacklevel=2)
    tags = options.get("exif")
    fax = bilevel.options(image, image_format, tags if isinstance(tags, Image.Exif) else ())
    own, image.info = image.info, {}  # some of Pillow's writers look there for what they are not told
    try:
        with _pillow_errors(f"the picture cannot be written as {image_format}"):
            image.save(target, image_format, **_save_options(image, image_format), **fax, **options)
    finally:
        image.info = own


def _save_options(image: Image.Image, image_format: str) -> dict[str, Any]:
    return {"sizes": [image.size]} if image_format == "ICO" else _SAVE_OPTIONS.get(image_format, {})


def _refuse_changes(image: Image.Image, image_format: str) -> None:
    """Raises PictureError if a format cannot hold a picture as it is, and Pillow would write another in silence."""
    if image.mode in ("LA", "RGBA") and image_format not in _FORMATS_WITH_ALPHA:
        raise PictureError(f"{image_format} cannot hold the picture's alpha channel; PNG can, or hide it with --background COLOR")
    if max(image.size) > _MAX_SIDES_PX.get(image_format, MAX_SIDE_PX):
        limit, size = _MAX_SIDES_PX[image_format], f"{image.width}x{image.height}"
        raise PictureError(f"{image_format} holds at most {limit} pixels a side, the picture has {size}; PNG can hold it")
    if image_format == "ICNS" and image.size != _ICNS_SIZE_PX:
        raise PictureError("ICNS is written of pictures of 1024x1024 pixels only; PNG can hold this one")
    if image_format == "SPIDER" and image.mode != "L":
        raise PictureError("SPIDER cannot hold colors; PNG can")


def _choose_format(target: str | os.PathLike[str] | BinaryIO, image_format: str | None) -> str:
    if image_format is None:
        name = target if isinstance(target, str | os.PathLike) else getattr(target, "name", "")
        suffix = Path(name).suffix.lower() if isinstance(name, str | os.PathLike) else ""
        image_format = plugins.format_of(suffix)
        if image_format is None:
            raise PictureError(f"no image format has the suffix {suffix!r}; name the format")
    image_format = {"JPG": "JPEG", "JP2": "JPEG2000", "TIF": "TIFF"}.get(image_format.upper(), image_format.upper())
    if not plugins.can_write(image_format):
        raise PictureError(f"the format {image_format} cannot be written")
    return image_format


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio in dB of two uint8 arrays of one shape, over all samples; infinite when equal."""
    if a.shape != b.shape:
        raise PictureError(f"pictures of shapes {a.shape} and {b.shape} cannot be compared")
    difference = a.astype(np.int32) - b
    mse = float(np.mean(difference * difference))
    return float(10 * np.log10(255**2 / mse)) if mse else float("inf")
