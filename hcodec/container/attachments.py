"""What comes along with the pixels of a picture: color, density, texts, Exif, XMP and alpha.

Room: container. One record for files, archives and readers; `pixels.attachments` makes it from a picture and back. Imports
Python's own modules only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

# How callers name what comes along: what to keep, and what to strip. `color`: cicp, chromaticities and gamma; `resolution`:
# the density; `other`: what has no place in a file and is only warned of; `gps`: the place in Exif, XMP and texts.
METADATA_KINDS = ("icc", "color", "exif", "xmp", "text", "resolution", "other")
STRIP_KINDS = ("gps", *METADATA_KINDS)
ARCHIVE_KINDS = ("icc", "exif", "xmp")  # those that have a place in an archive (format)


class Sizes(NamedTuple):
    """How many bytes each of the blobs of a picture has, 0 when absent. The order is that of an archive (format)."""

    icc: int = 0
    exif: int = 0
    xmp: int = 0
    alpha: int = 0


class Cicp(NamedTuple):
    """Color by the code points of ITU-T H.273, each 0 .. 255; `full_range`: 0 or 1."""

    primaries: int
    transfer: int
    matrix: int
    full_range: int


class Chromaticities(NamedTuple):
    """White point and primaries in the CIE 1931 diagram, in units of 1/100000, each 0 .. 2^31 - 1."""

    white_x: int
    white_y: int
    red_x: int
    red_y: int
    green_x: int
    green_y: int
    blue_x: int
    blue_y: int


class Density(NamedTuple):
    """Pixels per unit, 1 .. 2^31 - 1; `unit`: 1 meter, 0 unknown, so that only their ratio says something."""

    x: int
    y: int
    unit: int


@dataclass(frozen=True)
class Attachments:
    """What comes along with a picture, each empty or None when absent.

    `icc`: a color profile; `exif`: a TIFF structure; `xmp`: an XMP packet; `alpha`: an alpha channel as from
    `pixels.alpha.encode_alpha`; `gamma`: of the file, in units of 1/100000; `orientation`: 1 .. 8 as in Exif, how the
    source was stored (the pixels here are upright); `text`: keys, each different, and values; `whole`: the picture itself,
    in files that have it in place of levels.
    """

    icc: bytes = b""
    exif: bytes = b""
    xmp: bytes = b""
    alpha: bytes = b""
    cicp: Cicp | None = None
    chromaticities: Chromaticities | None = None
    gamma: int | None = None
    density: Density | None = None
    orientation: int | None = None
    text: tuple[tuple[str, str], ...] = ()
    whole: bytes = b""

    @property
    def blobs(self) -> tuple[bytes, bytes, bytes, bytes]:
        """Those that are bytes, in the order of `Sizes`."""
        return self.icc, self.exif, self.xmp, self.alpha

    @property
    def sizes(self) -> Sizes:
        """How many bytes each of the blobs has."""
        return Sizes(*map(len, self.blobs))


NOTHING = Attachments()
