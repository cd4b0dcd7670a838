"""A decoded picture with what came along with it.

Room: codec (decode step 9).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

from hcodec import memory
from hcodec.container import Reader, count_windows
from hcodec.errors import FormatError, HcodecWarning
from hcodec.models.runtime import threads
from hcodec.mosaic import Rectangle
from hcodec.pixels.attachments import attach
from hcodec.pixels.picture import Picture
from hcodec.session import Pixels


@dataclass(frozen=True)
class _Need:
    """Peak memory of a job, measured: of the program and a window for each thread, and for each pixel of the picture."""

    program: int
    window: int
    pixel: int

    def bytes(self, height: int, width: int) -> int:
        """Returns what a picture needs."""
        return self.program + self.window * min(threads.count(), count_windows(height, width)) + self.pixel * height * width


_NEEDS = {
    "encode": _Need(250 << 20, 250 << 20, 24),
    "decode": _Need(200 << 20, 150 << 20, 12),
    "encode_lossless": _Need(250 << 20, 400 << 20, 24),
    "decode_lossless": _Need(250 << 20, 250 << 20, 12),
}
_BYTES_PER_PIXEL = 24  # of a large picture: peak working memory beside that of the windows in work, measured


def picture_of(reader: Reader, pixels: Pixels, strict: bool = False, region: Rectangle | None = None) -> Picture:
    """Returns the Picture of decoded pixels, of the whole or of a region, with the alpha and metadata that the reader has so far.

    Alpha that cannot be decoded is left out with a warning; with strict, FormatError.
    """
    header = reader.known_header()
    size = header.height, header.width
    plain, inside = Picture(pixels, gray=header.gray), (region or Rectangle(0, 0, *size)).inside
    try:
        return attach(plain, reader.attachments, size, inside)
    except FormatError as error:
        if strict:
            raise
        warnings.warn(str(error), HcodecWarning, stacklevel=3)
        return attach(plain, replace(reader.attachments, alpha=b""), size, inside)


def check_memory(height: int, width: int) -> None:
    """Raises PictureError if the machine surely lacks the memory for a picture, before any of it is taken."""
    memory.check(height * width, _BYTES_PER_PIXEL)


def memory_note(height: int, width: int, job: str) -> str | None:
    """Returns a line about the memory that a job needs, where that is more than half of what is free. job: of `_NEEDS`."""
    return memory.note(height * width, _NEEDS[job].bytes(height, width))
