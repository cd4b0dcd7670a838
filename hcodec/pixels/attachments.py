"""What comes along with the pixels of a picture, to bytes and back: the one place that knows both forms.

Room: pixels (encode step 11, decode step 9), between `picture` and the bytes of files and archives. Imports `alpha`,
`metadata`, `picture` and `container.attachments` only.
"""

from __future__ import annotations

from dataclasses import replace

from hcodec.container.attachments import Attachments
from hcodec.pixels.alpha import decode_alpha, encode_alpha
from hcodec.pixels.metadata import Metadata
from hcodec.pixels.picture import Picture

_SHARED = ("icc", "exif", "xmp", "cicp", "chromaticities", "gamma", "density", "text")  # attributes that both have


def detach(picture: Picture) -> Attachments:
    """Returns what comes along with a picture, as bytes."""
    alpha = b"" if picture.alpha is None else encode_alpha(picture.alpha)
    return Attachments(alpha=alpha, **{name: getattr(picture.metadata, name) for name in _SHARED})


def attach(picture: Picture, attachments: Attachments, size: tuple[int, int], inside: tuple[slice, slice]) -> Picture:
    """Returns a picture, or what lies `inside` a picture of a size (height, width), with what comes along.

    Raises FormatError if the alpha channel is damaged or of another size.
    """
    alpha = decode_alpha(attachments.alpha, *size)[inside] if attachments.alpha else None
    metadata = Metadata(**{name: getattr(attachments, name) for name in _SHARED})
    return replace(picture, alpha=alpha, metadata=metadata)
