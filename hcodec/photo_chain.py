"""Chains of pictures of any size, lossless: what an archive's segment of photographs holds.

Room: codec, above `codec`. Each picture is an hcodec file of its own, without metadata. FORMAT.md, "Archives".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hcodec import codec, container, models
from hcodec.container.fields import MAX_LENGTH_BYTES, Cursor, Range, pack_varint
from hcodec.errors import FormatError, HcodecError
from hcodec.models import registry
from hcodec.pixels import picture

if TYPE_CHECKING:
    from hcodec.pixels.picture import Picture

_LENGTH = Range("length of a picture", 1, MAX_LENGTH_BYTES)  # format
Pixels = NDArray[np.uint8]


def fits(pictures: Sequence[Picture]) -> str | None:
    """Returns the name of the model that takes these pictures, if its lossless layer is installed."""
    try:
        registry.load_lossless(bytes.fromhex(models.summary(codec.DEFAULT_MODEL).fingerprint))
    except HcodecError:
        return None
    return codec.DEFAULT_MODEL if pictures else None


def fingerprint(model: str) -> bytes:
    """Returns the fingerprint of an installed model; ModelError if there is none of that name."""
    return models.load(model).fingerprint


def find(fingerprint: bytes) -> str:
    """Returns the name of the installed model with this fingerprint; ModelError if there is none."""
    return models.find(fingerprint)


def encode_chain(pixels: Sequence[Pixels], model: str) -> bytes:
    """Returns the chain of pictures uint8 (H, W, 3) or (H, W)."""
    files = [codec.encode_exact_layers(picture.read(one), None, model)[0] for one in pixels]
    return b"".join(pack_varint(len(file)) + file for file in files)


def decode_chain(data: bytes, sizes: Sequence[tuple[int, int]], model: str = "") -> list[Pixels]:
    """Returns the pictures of a chain, uint8 (H, W, 3), given their heights and widths; each file names its model.

    What was gray comes back as three equal planes. Raises FormatError if the bytes are anything else, ModelError.
    """
    cursor = Cursor(data, "a chain")
    files = [cursor.take(cursor.varint(_LENGTH)) for _ in sizes]
    cursor.end()
    return [_decoded(file, size) for file, size in zip(files, sizes, strict=True)]


def _decoded(file: bytes, size: tuple[int, int]) -> Pixels:
    """Returns the exact picture of a file. FormatError if it is none, or not of that size."""
    reader = container.Reader()
    reader.feed(file)
    header = reader.known_header()
    if (header.height, header.width) != size:
        raise FormatError(f"a chain's picture has {header.width}x{header.height} pixels, not {size[1]}x{size[0]}")
    decoded = codec.decode_picture(file, strict=True)
    if not decoded.exact:
        raise FormatError("a chain's picture is not exact")
    return decoded.pixels
