"""Metadata into files of other formats: what each can say, as Pillow writes it, and what it cannot.

Room: pixels (after decode step 9), below `picture`. Imports Pillow, `metadata`, `exif` and `container.attachments` only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from hcodec.container.attachments import METADATA_KINDS, Density
from hcodec.pixels import exif as tiff
from hcodec.pixels.metadata import COMMENT, DESCRIPTIVE_TAGS, INCH_M, SRGB, UNITS, X_RESOLUTION, Metadata

_EXIF_PREFIX = b"Exif\0\0"
_TIFF_FIRST_FREE = 0x8298  # of the tags that say nothing of samples, but for those that describe a picture
_TIFF_XMP, _TIFF_WHITE_POINT, _TIFF_PRIMARIES = 700, 318, 319
_JPEG_SEGMENT_BYTES = 65533
_JPEG_XMP_BYTES = _JPEG_SEGMENT_BYTES - len(b"http://ns.adobe.com/xap/1.0/\0")
_PNG_KEY_CHARACTERS = 79
_YUV_MATRIX = 6  # of BT.601, in which HEIC is coded
_HEIF_PRIMARIES = frozenset((1, 2, *range(4, 13)))  # those that libheif reads again; with others it refuses the whole file
_HEIF_TRANSFERS = frozenset((1, 2, *range(4, 19)))

Options = dict[str, Any]
Writer = Callable[[Metadata], tuple[Options, Metadata]]  # what Pillow is to be told, and what is not said by it


def options(metadata: Metadata, image_format: str) -> tuple[Options, list[str]]:
    """Returns the arguments that make Pillow write metadata, and what a format cannot say, each in a few words.

    That a picture is sRGB need not be said: it is what everybody takes for granted.
    """
    given, rest = _WRITERS.get(image_format, _say_nothing)(metadata)
    if metadata.goes_without_color(not rest.icc):
        rest = replace(rest, cicp=None, gamma=None, chromaticities=None)
    if not rest.exif and tiff.holds(metadata.exif, X_RESOLUTION):
        rest = replace(rest, density=None)
    return {name: value for name, value in given.items() if value}, rest.names(METADATA_KINDS[:-1])


def _say_nothing(metadata: Metadata) -> tuple[Options, Metadata]:
    return {}, metadata


def _blobs(metadata: Metadata) -> tuple[Options, Metadata]:
    """WebP and AVIF: ICC profile, Exif and XMP, of any length."""
    exif = _EXIF_PREFIX + metadata.exif if metadata.exif else b""
    given = {"icc_profile": metadata.icc, "exif": exif, "xmp": metadata.xmp}
    return given, replace(metadata, icc=b"", exif=b"", xmp=b"")


def _parsed(exif: bytes) -> Image.Exif | None:
    """Returns Exif as Pillow understands it, to write it anew; None if it is too damaged for that."""
    tags = Image.Exif()
    try:
        if exif:
            tags.load(exif)
            tags.tobytes()
    except Exception:  # Pillow's readers raise nearly everything on damaged Exif
        return None
    return tags


def _good_exif(metadata: Metadata) -> tuple[Options, Metadata]:
    """AVIF: as `_blobs`, but only Exif that Pillow understands."""
    if _parsed(metadata.exif) is not None:
        return _blobs(metadata)
    given, rest = _blobs(replace(metadata, exif=b""))
    return given, replace(rest, exif=metadata.exif)


def _jxl(metadata: Metadata) -> tuple[Options, Metadata]:
    given, rest = _good_exif(metadata)
    return {"exif": given["exif"], "xmp": given["xmp"]}, replace(rest, icc=metadata.icc)


def _heif(metadata: Metadata) -> tuple[Options, Metadata]:
    given, rest = _blobs(metadata)
    cicp = metadata.cicp
    if not cicp or cicp.primaries not in _HEIF_PRIMARIES or cicp.transfer not in _HEIF_TRANSFERS:
        return given, rest
    given |= {"color_primaries": cicp.primaries, "transfer_characteristics": cicp.transfer}
    given |= {"matrix_coefficients": _YUV_MATRIX, "full_range_flag": 1}
    return given, replace(rest, cicp=None)


def _png(metadata: Metadata) -> tuple[Options, Metadata]:
    given, rest = _blobs(metadata)
    given["dpi"], rest = _dpi(rest)
    info = given["pnginfo"] = PngInfo()
    if metadata.xmp:
        info.add_itxt("XML:com.adobe.xmp", given.pop("xmp").decode("utf-8", "replace"))
    _add_png_color(info, metadata)
    texts = tuple(pair for pair in metadata.text if not _add_png_text(info, *pair))
    return given, replace(rest, cicp=None, gamma=None, chromaticities=None, text=texts)


def _add_png_color(info: PngInfo, metadata: Metadata) -> None:
    if metadata.cicp and metadata.cicp[:2] == SRGB[:2] and not metadata.icc:
        info.add(b"sRGB", b"\0")
    elif metadata.cicp:  # the samples are RGB of the full range, whatever those of the source were
        info.add(b"cICP", bytes((metadata.cicp.primaries, metadata.cicp.transfer, 0, 1)))
    if metadata.gamma:
        info.add(b"gAMA", metadata.gamma.to_bytes(4, "big"))
    if metadata.chromaticities:
        info.add(b"cHRM", b"".join(value.to_bytes(4, "big") for value in metadata.chromaticities))


def _add_png_text(info: PngInfo, key: str, value: str) -> bool:
    """Adds a text, if its key is one that PNG allows."""
    good = key.strip() == key and key.isprintable() and len(key) <= _PNG_KEY_CHARACTERS and _is_latin(key)
    if good and _is_latin(value) and "\0" not in value:
        info.add_text(key, value)
    elif good:
        info.add_itxt(key, value)
    return good


def _is_latin(text: str) -> bool:
    return all(ord(character) < 256 for character in text)


def _jpeg(metadata: Metadata) -> tuple[Options, Metadata]:
    given, rest = _blobs(metadata)
    given["dpi"], rest = _dpi(rest)
    given["comment"], rest = _comment(rest, _JPEG_SEGMENT_BYTES)
    if len(given["exif"]) > _JPEG_SEGMENT_BYTES:
        given["exif"], rest = b"", replace(rest, exif=metadata.exif)
    if len(given["xmp"]) > _JPEG_XMP_BYTES:
        given["xmp"], rest = b"", replace(rest, xmp=metadata.xmp)
    return given, rest


def _tiff(metadata: Metadata) -> tuple[Options, Metadata]:
    parsed = _parsed(metadata.exif)
    tags = Image.Exif() if parsed is None else parsed
    for tag in [tag for tag in tags if tag < _TIFF_FIRST_FREE and tag not in DESCRIPTIVE_TAGS]:
        del tags[tag]  # how samples are laid out in the file that the Exif is from; here it would be taken for true
    if metadata.xmp:
        tags[_TIFF_XMP] = metadata.xmp
    if metadata.chromaticities:
        values = [value / UNITS for value in metadata.chromaticities]
        tags[_TIFF_WHITE_POINT], tags[_TIFF_PRIMARIES] = tuple(values[:2]), tuple(values[2:])
    dpi, rest = _dpi(metadata)
    given = {"icc_profile": metadata.icc, "exif": tags, "dpi": dpi}
    exif = metadata.exif if parsed is None else b""
    return given, replace(rest, icc=b"", exif=exif, xmp=b"", chromaticities=None)


def _bmp(metadata: Metadata) -> tuple[Options, Metadata]:
    dpi, rest = _dpi(metadata)
    return {"dpi": dpi or (0, 0)}, rest  # 0: nothing is said; Pillow would say 96


def _only_comment(metadata: Metadata) -> tuple[Options, Metadata]:
    comment, rest = _comment(metadata, _JPEG_SEGMENT_BYTES)
    return {"comment": comment}, rest


def _dpi(metadata: Metadata) -> tuple[tuple[float, float] | None, Metadata]:
    """Pixels per inch, and what is left; Pillow writes no mere ratio."""
    if not metadata.density or not metadata.density.unit:
        return None, metadata
    return _per_inch(metadata.density), replace(metadata, density=None)


def _per_inch(density: Density) -> tuple[float, float]:
    return density.x * INCH_M, density.y * INCH_M


def _comment(metadata: Metadata, limit_bytes: int) -> tuple[bytes, Metadata]:
    """The text that has the key for it, and what is left."""
    comment = dict(metadata.text).get(COMMENT, "").encode()
    if not comment or len(comment) > limit_bytes:
        return b"", metadata
    return comment, replace(metadata, text=tuple(pair for pair in metadata.text if pair[0] != COMMENT))


_WRITERS: dict[str, Writer] = {
    "AVIF": _good_exif,
    "BMP": _bmp,
    "DIB": _bmp,
    "GIF": _only_comment,
    "HEIF": _heif,
    "JPEG": _jpeg,
    "JPEG2000": _only_comment,
    "JXL": _jxl,
    "MPO": _jpeg,
    "PNG": _png,
    "TIFF": _tiff,
    "WEBP": _blobs,
}
