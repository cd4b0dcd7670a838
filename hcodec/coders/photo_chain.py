"""Chains of pictures of any size, lossless, on one ANS stack: what an archive's segment of photographs holds.

Room: coders. For many pictures it is what `codec` is for one; it knows models and entropy coding, no files. Each
picture is its levels up to the one from which its pixels are coded, and then the pixels, with bits back where the
stack holds enough. Pictures are pushed last one first, hence popped in order. FORMAT.md, "Archives".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hcodec import models
from hcodec.coders import levels, lossless, tiles
from hcodec.coders.tiles import Pushed, Source
from hcodec.coding.stack import Part, Stack
from hcodec.container.fields import FINGERPRINT_BYTES, Cursor, pack_bits
from hcodec.container.lossless_layer import count_tiles
from hcodec.errors import FormatError, HcodecError
from hcodec.models import registry
from hcodec.pixels import picture

if TYPE_CHECKING:
    from hcodec.models.lossless.model import LosslessModel
    from hcodec.pixels.picture import Picture

Pixels = NDArray[np.uint8]


def fits(pictures: Sequence[Picture]) -> str | None:
    """Returns the name of a model that takes these pictures: "photo", if its lossless layer is installed, for all of them."""
    try:
        registry.load_lossless(bytes.fromhex(models.summary("photo").fingerprint))
    except HcodecError:
        return None
    return "photo" if pictures else None


def fingerprint(model: str) -> bytes:
    """Returns the fingerprint of an installed model; ModelError if there is none of that name."""
    return models.load(model).fingerprint


def find(fingerprint: bytes) -> str:
    """Returns the name of the installed model with this fingerprint; ModelError if there is none."""
    return models.find(fingerprint)


def encode_chain(pixels: Sequence[Pixels], model: str) -> bytes:
    """Returns the chain of pictures uint8 (H, W, 3) or (H, W)."""
    loaded = models.load(model)
    exact, stack = registry.load_lossless(loaded.fingerprint), Stack()
    heads = [_push(stack, loaded, exact, picture) for picture in reversed(pixels)]
    return b"".join((exact.fingerprint, *reversed(heads), stack.to_bytes()))


def decode_chain(data: bytes, sizes: Sequence[tuple[int, int]], model: str) -> list[Pixels]:
    """Returns the pictures of a chain, uint8 (H, W, 3), given their heights and widths.

    What was gray comes back as three equal planes. Raises FormatError if the bytes are anything else, ModelError.
    """
    loaded = models.load(model)
    cursor = Cursor(data, "a chain")
    exact = registry.load_lossless(loaded.fingerprint, cursor.take(FINGERPRINT_BYTES))
    heads = [_parse_head(cursor, count_tiles(*size)) for size in sizes]
    stack = Stack(cursor.rest())
    pictures = [_pop(stack, loaded, exact, size, head) for size, head in zip(sizes, heads, strict=True)]
    if not stack.is_empty:
        raise FormatError("a chain does not end where its pictures end")
    return pictures


def _push(stack: Stack, model: models.Model, exact: LosslessModel, pixels: Pixels) -> bytes:
    """Puts one picture on the stack and returns its head: from which level its pixels are coded, and how its tiles are."""
    gray = pixels.ndim == 2
    if gray:
        pixels = np.repeat(pixels[..., None], 3, 2)
    coded: list[list[Part]] = []
    source, with_latents, _ = lossless.choose(exact, pixels, gray, _candidates(model, pixels, coded, max(exact.starts)))
    pushed = tiles.push_picture(exact, stack, source, pixels, with_latents)
    for part in reversed([part for level in coded[: source.start] for part in level]):
        stack.push(levels.tables_of(model), *part)
    return bytes([source.start << 1 | gray]) + pack_bits(pushed.flags)


def _candidates(model: models.Model, pixels: Pixels, coded: list[list[Part]], count: int) -> Iterator[lossless.Candidate]:
    """Encodes level after level into `coded`, as long as more are asked for."""
    bits = 0.0
    for parts, prefix in islice(levels.each_level(model, picture.to_tensor(pixels).to(model.device)), count):
        coded.append(parts)
        bits += sum(levels.tables_of(model).estimate(*part) for part in parts)
        yield lossless.Candidate(len(coded), prefix, bits)


def _parse_head(cursor: Cursor, num_tiles: int) -> tuple[int, bool, list[bool]]:
    """Returns the level, whether the picture is gray, and the flags of its tiles."""
    head = cursor.byte()
    return head >> 1, bool(head & 1), cursor.bits(num_tiles)


def _pop(
    stack: Stack, model: models.Model, exact: LosslessModel, size: tuple[int, int], head: tuple[int, bool, list[bool]]
) -> Pixels:
    """Takes one picture off the stack, the mirror image of `_push`."""
    from hcodec.models.photo.prefix import Prefix

    start, gray, flags = head
    if start not in exact.starts:
        raise FormatError(f"a chain's picture builds on level {start}, which it cannot")
    prefix = Prefix.empty(model.network, model.agreed, *size)
    for _ in range(start):
        prefix = levels.popped(levels.tables_of(model), prefix, stack)
    return tiles.pop_picture(exact, stack, Source(prefix.at_finest(), start, gray), size, Pushed(flags, ()))
