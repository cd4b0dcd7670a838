"""The ways to code a chain of pictures, one object each: its number in an archive, its name and its coder.

Room: codec, for `packing` and for those who show what is in an archive. Knowing a kind loads nothing; a
coder's module, and with it numpy and networks, is imported when `coder` is asked for it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from hcodec.container.directory import DEEP, DRAWN, PHOTO, SMALL, STORED

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hcodec.pixels.picture import Picture


class Coder(Protocol):
    """The face of every coder of chains; a module can have it."""

    def fits(self, pictures: Sequence[Picture]) -> str | None:
        """Returns the name of the model that takes these pictures; None if there is none."""

    def fingerprint(self, model: str) -> bytes:
        """Returns the fingerprint of a model. Raises ModelError if there is none of that name."""

    def find(self, fingerprint: bytes) -> str:
        """Returns the name of the model with a fingerprint. Raises ModelError if there is none."""

    def encode_chain(self, pixels: Sequence[NDArray[Any]], model: str) -> bytes:
        """Returns the chain of pictures, uint8 (H, W) or (H, W, 3); or uint16 (H, W, 1 to 4), where it takes such."""

    def decode_chain(self, data: bytes, sizes: Sequence[tuple[int, int]], model: str) -> Sequence[NDArray[Any]]:
        """Returns the pictures of a chain, of these heights and widths. Raises FormatError, ModelError."""


class Kind(ABC):
    """A way to code a chain.

    `number`: in the file (format); `name`: for people; `bytes_per_pixel`: working memory of decoding one picture.
    """

    number: int
    name: str
    bytes_per_pixel: int

    @abstractmethod
    def coder(self) -> Coder:
        """Returns what codes chains of this kind; imports it the first time."""


class Small(Kind):
    """Small pictures, with bits back over all levels of a model of their own."""

    number, name = SMALL, "small"
    bytes_per_pixel = 0  # it takes no picture large enough to count

    def coder(self) -> Coder:
        """Returns the module of this kind."""
        from hcodec.coders import small_chain

        return small_chain


class Photo(Kind):
    """Pictures of any size, each a file of its own."""

    number, name, bytes_per_pixel = PHOTO, "photo", 260

    def coder(self) -> Coder:
        """Returns the module of this kind."""
        from hcodec import photo_chain

        return photo_chain


class Stored(Kind):
    """Ordinary lossless files, without a model."""

    number, name, bytes_per_pixel = STORED, "stored", 24

    def coder(self) -> Coder:
        """Returns the module of this kind."""
        from hcodec.coders import stored

        return stored


class Drawn(Kind):
    """Documents, screens and drawings of few colors, without a model."""

    number, name, bytes_per_pixel = DRAWN, "drawn", 24

    def coder(self) -> Coder:
        """Returns the coder of this kind."""
        from hcodec.coders import whole_chain

        return whole_chain.DRAWN


class Deep(Kind):
    """Pictures of 16 bits, without a model."""

    number, name, bytes_per_pixel = DEEP, "16-bit", 48

    def coder(self) -> Coder:
        """Returns the coder of this kind."""
        from hcodec.coders import whole_chain

        return whole_chain.DEEP


KINDS: tuple[Kind, ...] = (
    Deep(),
    Drawn(),
    Small(),
    Photo(),
    Stored(),
)  # in order of preference; the last one takes every picture
