"""What comes along with the pixels of a picture, as bytes: color profile, Exif, XMP and alpha.

Room: container. One record for files, archives and readers; `pixels.attachments` makes it from a picture and back. Imports
Python's own modules only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Sizes(NamedTuple):
    """How many bytes each of the attachments of a picture has, 0 when absent. The order is that of an archive (format)."""

    icc: int = 0
    exif: int = 0
    xmp: int = 0
    alpha: int = 0


@dataclass(frozen=True)
class Attachments:
    """What comes along with a picture, each empty when absent.

    `icc`: a color profile; `exif`: a TIFF structure; `xmp`: an XMP packet; `alpha`: an alpha channel as from
    `pixels.alpha.encode_alpha`.
    """

    icc: bytes = b""
    exif: bytes = b""
    xmp: bytes = b""
    alpha: bytes = b""

    @property
    def blobs(self) -> tuple[bytes, bytes, bytes, bytes]:
        """All of them, in the order of `Sizes`."""
        return self.icc, self.exif, self.xmp, self.alpha

    @property
    def sizes(self) -> Sizes:
        """How many bytes each of them has."""
        return Sizes(*map(len, self.blobs))


NOTHING = Attachments()
