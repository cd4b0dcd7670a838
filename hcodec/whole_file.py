"""Files that hold a picture as a whole and exactly, in place of levels: documents, screens, drawings.

Room: codec, beside `session`: no model is loaded. FORMAT.md, "Whole pictures".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hcodec import memory
from hcodec.coders import whole as coder
from hcodec.container import Frame, Header, Reader, read_all, whole, write
from hcodec.errors import FormatError, HcodecError, TruncatedError
from hcodec.mosaic import Rectangle
from hcodec.pixels import attachments
from hcodec.pixels.look import look
from hcodec.pixels.picture import Picture
from hcodec.presented import picture_of

_BYTES_PER_PIXEL = 24  # peak working memory of decoding, measured
_SURELY = 0.25  # bits a pixel, below which no file with all levels is
_WORTH = 1.1  # by how much an exact file may be longer than one with a loss


def is_whole(reader: Reader) -> bool:
    """Whether a file holds its picture as a whole."""
    return reader.header is not None and reader.header.model == whole.MODEL


def is_drawn(source: Picture) -> bool:
    """Whether a picture looks like a document, a screen or a drawing."""
    return look(source.pixels, whole.MAX_COLORS).is_drawn


def encode_drawn(source: Picture) -> bytes | None:
    """Returns the file of a picture that looks like a document, a screen or a drawing; None if it does not."""
    found = look(source.pixels, whole.MAX_COLORS)
    return _write(source, coder.encode(found.samples, found.palette)) if found.is_drawn else None


def is_hardly_beaten(data: bytes) -> bool:
    """Whether a file of `encode_drawn` is one of few colors or of few bits, of which nothing else makes a shorter one."""
    reader, header = read_all(data)
    return whole.parse(reader.whole).form == whole.COLORS or _is_short(data, header.width * header.height)


def _is_short(data: bytes, num_pixels: int) -> bool:
    return 8 * len(data) <= _SURELY * num_pixels


def better(source: Picture, other: Callable[[], bytes]) -> bytes:
    """Returns the better one of two files: that of `encode_drawn`, if it is not much longer, or what `other` makes."""
    drawn = encode_drawn(source)
    if drawn is None:
        return other()
    if _is_short(drawn, source.pixels[..., 0].size):
        return drawn
    levels = other()
    return drawn if len(drawn) <= _WORTH * len(levels) else levels


def encode_deep(source: Picture) -> bytes:
    """Returns the file of a picture of 16 bits, exactly."""
    if source.deep is None:
        raise HcodecError("the picture has no samples of 16 bits")
    return _write(replace(source, alpha=None), coder.encode_deep(source.deep), 16)


def _write(source: Picture, picture: bytes, depth: int = 8) -> bytes:
    height, width = source.pixels.shape[:2]
    frame = Frame(
        width=width, height=height, model=whole.MODEL, fingerprint=whole.FINGERPRINT, num_coarse=1, gray=source.gray, depth=depth
    )  # fmt: skip
    return write(frame, [[b""]], replace(attachments.detach(source), whole=picture))


def check(reader: Reader) -> None:
    """Raises FormatError if the picture of a file is damaged, TruncatedError if it has not begun."""
    if not reader.attachments.whole and (reader.num_levels or not reader.whole_bytes):
        raise FormatError("the picture is damaged") if reader.num_levels else TruncatedError("the file ends before its picture")


def decode(reader: Reader, region: Rectangle, strict: bool) -> Picture:
    """Returns the picture of a file, or a region of it, or what its beginning shows.

    Raises FormatError if it is damaged, TruncatedError if nothing of it can be shown yet, PictureError (no memory for it).
    """
    header = reader.known_header()
    memory.check(header.height * header.width, _BYTES_PER_PIXEL)
    check(reader)
    complete = reader.attachments.whole
    shown = coder.decode(complete or reader.whole, header.height, header.width, cut=not complete)
    if complete:
        _check(header, shown)
    samples = shown.samples.reshape(header.height, header.width, -1)[region.inside]
    pixels = samples if samples.shape[2] == 3 else np.repeat(samples, 3, axis=2)
    picture = replace(picture_of(reader, pixels, strict, region), exact=bool(shown.exact[region.inside].all()))
    return picture if shown.deep is None else _with_deep(picture, shown.deep[region.inside])


def _check(header: Header, shown: coder.Shown) -> None:
    """Raises FormatError if a picture is not what the header says of it."""
    is_other_color = header.gray and shown.samples.ndim == 3 and bool(np.ptp(shown.samples, axis=2).any())  # WebP has no gray
    if (header.depth == 16) != (shown.deep is not None) or is_other_color:
        raise FormatError("the picture is damaged: it is not of the form that the header says")


def _with_deep(picture: Picture, samples: NDArray[np.uint16]) -> Picture:
    """Returns a picture with its samples of 16 bits, and the alpha channel that is among them."""
    alpha = coder.rounded(samples[..., -1]) if samples.shape[2] % 2 == 0 else None
    return replace(picture, deep=samples, alpha=alpha)
