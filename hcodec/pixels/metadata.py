"""ICC profile, EXIF and XMP of a Pillow image: taken out when it is read, handed on when it is written.

Room: pixels, below `picture` (encode step 2, decode step 9). Blobs are kept byte for byte,
except for the orientation: it is applied to the pixels, so what is kept must say "upright". Imports Pillow and
`errors` only.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from hcodec.errors import HcodecError, HcodecWarning

KINDS = ("icc", "exif", "xmp")
_EXIF_PREFIX = b"Exif\0\0"  # JPEG's marker in front of the TIFF structure that all formats share
_ORIENTATION = 0x0112
_INTEGER_BYTES = {1: 1, 3: 2, 4: 4}  # EXIF types BYTE, SHORT, LONG
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:=[\"']|>))([1-8])(?=[\"'<])")
_TIFF_XMP_TAG = 700
_JPEG_SEGMENT_BYTES = 65533
_JPEG_XMP_BYTES = _JPEG_SEGMENT_BYTES - len(b"http://ns.adobe.com/xap/1.0/\0")
# Of a TIFF file's own tags, those that tell of the picture and not of the file: description, make, model, resolution
# and its unit, software, date, artist, copyright.
_DESCRIPTIVE_TAGS = (0x010E, 0x010F, 0x0110, 0x011A, 0x011B, 0x0128, 0x0131, 0x0132, 0x013B, 0x8298)
_SUB_DIRECTORIES = (0x8769, 0x8825)  # the Exif and the GPS directory


@dataclass(frozen=True)
class Metadata:
    """The blobs that travel with the pixels, empty when absent.

    `icc`: a color profile; `exif`: a TIFF structure (from "II" or "MM" on, without JPEG's "Exif" prefix) that says
    upright; `xmp`: an XMP packet.
    """

    icc: bytes = b""
    exif: bytes = b""
    xmp: bytes = b""


def keep(metadata: Metadata, kinds: Collection[str]) -> Metadata:
    """Returns the blobs of some of the `KINDS`. Raises HcodecError if one is no kind."""
    if unknown := set(kinds) - set(KINDS):
        raise HcodecError(f"unknown metadata {', '.join(sorted(unknown))}; choose from {', '.join(KINDS)}")
    return Metadata(**{kind: getattr(metadata, kind) for kind in kinds})


def collect(image: Image.Image) -> tuple[Metadata, int, list[str]]:
    """Returns the metadata of a loaded image, its orientation (1 .. 8, as EXIF counts), and notes on what could not be kept.

    Like Pillow, takes the orientation from EXIF, or from XMP where EXIF has none; neither blob asks for it again.
    """
    notes = []
    exif = _exif(image).removeprefix(_EXIF_PREFIX)
    xmp = _as_bytes(image.info.get("xmp") or image.info.get("XML:com.adobe.xmp"))
    if exif and exif[:4] not in (b"II*\0", b"MM\0*"):
        notes.append("EXIF dropped: it is damaged")
        exif = b""
    orientation, exif = _take_exif_orientation(exif)
    in_xmp = _XMP_ORIENTATION.search(xmp)
    if orientation is None:
        orientation = int(in_xmp[2]) if in_xmp else 1
    xmp = _XMP_ORIENTATION.sub(rb"\g<1>1", xmp)
    return Metadata(_as_bytes(image.info.get("icc_profile")), exif, xmp), orientation, notes


def _as_bytes(blob: object) -> bytes:
    if isinstance(blob, str):
        return blob.encode()
    return blob if isinstance(blob, bytes) else b""


def _exif(image: Image.Image) -> bytes:
    kept = _as_bytes(image.info.get("exif"))
    if kept or not (image.format == "TIFF" or "Raw profile type exif" in image.info):
        return kept
    source = image.getexif()
    exif = Image.Exif()
    for tag in _DESCRIPTIVE_TAGS:
        if tag in source:
            exif[tag] = source[tag]
    for tag in _SUB_DIRECTORIES:
        if entries := source.get_ifd(tag):
            exif.get_ifd(tag).update(entries)
            exif[tag] = dict(entries)
    if image.format != "TIFF" and _ORIENTATION in source:  # Pillow has turned a TIFF image already
        exif[_ORIENTATION] = source[_ORIENTATION]
    return exif.tobytes() if len(exif) else b""


def _take_exif_orientation(exif: bytes) -> tuple[int | None, bytes]:
    """Returns the orientation in a TIFF structure (None if it has none), and the structure with 1 in its place."""
    byte_order: Literal["little", "big"] = "little" if exif[:1] == b"I" else "big"

    def integer(position: int, size: int) -> int:
        """Returns the unsigned integer at a position."""
        return int.from_bytes(exif[position : position + size], byte_order)

    directory = integer(4, 4)
    for index in range(integer(directory, 2)):
        entry = directory + 2 + 12 * index
        if entry + 12 > len(exif):
            break
        size = _INTEGER_BYTES.get(integer(entry + 2, 2))
        if integer(entry, 2) == _ORIENTATION and size:
            orientation = integer(entry + 8, size)
            upright = exif[: entry + 8] + (1).to_bytes(size, byte_order) + exif[entry + 8 + size :]
            return (orientation, upright) if 1 <= orientation <= 8 else (1, upright)
    return None, exif


def attach(image: Image.Image, metadata: Metadata) -> None:
    """Puts the blobs into `image.info`, where Pillow looks for them."""
    exif = _EXIF_PREFIX + metadata.exif if metadata.exif else b""
    blobs = {"icc_profile": metadata.icc, "exif": exif, "xmp": metadata.xmp}
    image.info.update({key: blob for key, blob in blobs.items() if blob})


def save_options(image: Image.Image, image_format: str) -> dict[str, Any]:
    """Returns the arguments that make Pillow write the blobs in `image.info` into a file, as far as the format holds them.

    Warns (HcodecWarning) of a blob that is too long for JPEG.
    """
    options = {key: image.info[key] for key in ("icc_profile", "exif", "xmp") if image.info.get(key)}
    if image_format == "JPEG":
        _drop_too_long(options, "exif", _JPEG_SEGMENT_BYTES)
        _drop_too_long(options, "xmp", _JPEG_XMP_BYTES)
    elif image_format == "PNG" and "xmp" in options:
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", options.pop("xmp").decode("utf-8", "replace"))
    elif image_format == "TIFF":
        options["exif"] = _tiff_tags(options.pop("exif", b""), options.pop("xmp", b""))
    return options


def _drop_too_long(options: dict[str, Any], key: str, limit_bytes: int) -> None:
    if len(options.get(key, b"")) > limit_bytes:
        message = f"{key.upper()} dropped: a JPEG file holds {limit_bytes} bytes of it"
        warnings.warn(message, HcodecWarning, stacklevel=4)
        del options[key]


def _tiff_tags(exif: bytes, xmp: bytes) -> Image.Exif:
    tags = Image.Exif()
    if exif:
        tags.load(exif)
    if xmp:
        tags[_TIFF_XMP_TAG] = xmp
    return tags
