"""Chains of pictures as wholes: what an archive's segments of drawings and of 16-bit pictures hold.

Room: coders, above `whole`. No model takes part. FORMAT.md, "Segments".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hcodec.coders import whole as coder
from hcodec.container import whole
from hcodec.container.fields import MAX_LENGTH_BYTES, Cursor, Range, pack_varint
from hcodec.errors import ModelError
from hcodec.pixels.look import look

if TYPE_CHECKING:
    from hcodec.pixels.picture import Picture

_LENGTH = Range("length of a picture", 1, MAX_LENGTH_BYTES)  # format
_Pixels = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True)
class Chains:
    """The face of a coder of chains; `takes`: whether a picture is of its kind."""

    takes: Callable[[Picture], bool]

    def fits(self, pictures: Sequence[Picture]) -> str | None:
        """Returns the name of no model, with which all these pictures can be coded; None if they cannot, or there are none."""
        return whole.MODEL if pictures and all(map(self.takes, pictures)) else None

    def fingerprint(self, model: str) -> bytes:
        """Returns the fingerprint that stands for no model."""
        return whole.FINGERPRINT

    def find(self, fingerprint: bytes) -> str:
        """Returns the name of no model. Raises ModelError if the fingerprint is that of one."""
        if fingerprint != whole.FINGERPRINT:
            raise ModelError("pictures as wholes have no model")
        return whole.MODEL

    def encode_chain(self, pixels: Sequence[_Pixels], model: str) -> bytes:
        """Returns pictures, uint8 (H, W) or (H, W, 3), or uint16 (H, W, 1 to 4), one after the other."""
        return b"".join(pack_varint(len(data)) + data for data in map(_encode, pixels))

    def decode_chain(self, data: bytes, sizes: Sequence[tuple[int, int]], model: str) -> list[_Pixels]:
        """Returns the pictures of a chain, of the given heights and widths. Raises FormatError."""
        cursor = Cursor(data, "a chain")
        pictures = [cursor.take(cursor.varint(_LENGTH)) for _ in sizes]
        cursor.end()
        shown = [coder.decode(one, *size) for one, size in zip(pictures, sizes, strict=True)]
        return [one.samples if one.deep is None else one.deep for one in shown]


def _encode(pixels: _Pixels) -> bytes:
    if pixels.dtype == np.uint16:
        return coder.encode_deep(pixels.astype(np.uint16, copy=False))
    planes = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
    found = look(planes.astype(np.uint8, copy=False), whole.MAX_COLORS)
    return coder.encode(found.samples, found.palette)


def _is_drawn(picture: Picture) -> bool:
    found = look(picture.pixels, whole.MAX_COLORS)
    return picture.deep is None and found.is_drawn and found.palette is not None


DRAWN = Chains(_is_drawn)
DEEP = Chains(lambda picture: picture.deep is not None)
