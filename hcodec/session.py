"""Encoding and decoding of one picture, held open between layers: two mirrors of each other.

Room: codec (encode steps 3 to 10, decode steps 3 to 9). `Encoder` makes layer after layer of a picture, `Decoder` a
picture of layer after layer; between two layers both hold the same `Prefix`. torch comes in when a model is loaded,
not before.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from hcodec import memory, models
from hcodec.coders import levels, lossless
from hcodec.coding.stack import stacked
from hcodec.container import Header, Reader
from hcodec.errors import FormatError, HcodecWarning
from hcodec.pixels import picture
from hcodec.pixels.attachments import attach
from hcodec.pixels.picture import Picture

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from hcodec.models.photo.prefix import Prefix

_BYTES_PER_PIXEL = 330  # peak working memory of encoding, measured; decoding takes less


class Encoder:
    """Encodes a picture, uint8 (H, W, 3).

    offsets: what to add to the posterior of each latent, (1, H_l, W_l, C_l), as `models.photo.search` finds it.
    """

    def __init__(self, model: models.Model, pixels: NDArray[np.uint8], offsets: Sequence[Tensor] | None = None) -> None:
        self.model, self.tables, self.pixels = model, levels.tables_of(model), pixels
        self._x = picture.to_tensor(pixels).to(model.device)
        self._offsets = offsets

    def layers(self) -> Iterator[tuple[bytes, Prefix]]:
        """Yields the layer of each level and the prefix that a decoder then holds, each when it is asked for."""
        with_fit = levels.is_fitted(*self.pixels.shape[:2])
        for parts, prefix in levels.each_level(self.model, self._x, self._offsets):
            if with_fit:
                parts, prefix = levels.fitted(self.tables, parts, prefix, self._x, self._offsets is not None)
            yield stacked(self.tables, parts), prefix

    def lossless_layers(self, gray: bool, num_levels: int | None) -> tuple[list[bytes], lossless.LosslessCode]:
        """Returns the layers of levels, with nothing fitted, and the lossless layer that builds on them.

        num_levels: how many levels to keep; None keeps those that make the smallest file. HcodecError if too few are.
        """
        layers: list[bytes] = []
        candidates = self._candidates(layers, num_levels)

        def saved(start: int) -> int:
            """Bytes that a layer which needs no more than level 1 saves against one that builds on level `start`."""
            return 0 if num_levels else sum(map(len, layers[1:start]))

        code = lossless.encode(self.model.fingerprint, candidates, self.pixels, gray, saved)
        kept = code.start if num_levels is None else num_levels
        while len(layers) < kept:
            next(candidates)
        return layers[:kept], code

    def _candidates(self, layers: list[bytes], num_levels: int | None) -> Iterator[lossless.Candidate]:
        """Encodes level after level into `layers`, as long as more are asked for."""
        carried = num_levels is not None  # the file holds all of them anyway
        for parts, prefix in islice(levels.each_level(self.model, self._x), num_levels):
            layers.append(stacked(self.tables, parts))
            yield lossless.Candidate(len(layers), prefix, 0 if carried else 8 * sum(map(len, layers)))


class Decoder:
    """Decodes the picture of a file. `exact`: the picture itself, uint8 (H, W, 3), once the lossless layer is decoded."""

    def __init__(self, model: models.Model, header: Header) -> None:
        from hcodec.models.photo.prefix import Prefix

        self.model, self.header, self.tables = model, header, levels.tables_of(model)
        # after each level where the lossless layer may build on any of them, else only after the last one
        self._prefixes = [Prefix.empty(model.network, model.agreed, header.height, header.width)]
        self.exact: NDArray[np.uint8] | None = None

    @classmethod
    def open(cls, header: Header, device: str) -> Decoder:
        """Returns a decoder for a file. Raises ModelError, PictureError (not enough memory) or FormatError."""
        check_memory(header.height, header.width)
        model = models.load(models.find(header.fingerprint), device)
        if header.num_levels > model.agreed.config.num_levels:
            raise FormatError(f"the file has {header.num_levels} levels, more than its model")
        return cls(model, header)

    @property
    def num_levels(self) -> int:
        """How many whole levels are decoded."""
        return int(self._prefixes[-1].levels)

    def push(self, layer: bytes) -> None:
        """Decodes the next whole layer. Raises FormatError, leaving everything as it was, if it is not well-formed."""
        prefix = levels.decoded(self.tables, self._prefixes[-1], layer, self.header.fitted)
        self._prefixes = [*(self._prefixes if self.header.lossless else ()), prefix]

    def push_lossless(self, layer: bytes) -> None:
        """Decodes the lossless layer, after all levels. Raises FormatError, ModelError."""
        states = _States(self._prefixes)
        size = self.header.height, self.header.width
        self.exact = lossless.decode(self.model.fingerprint, layer, states, size, self.header.gray)

    def pixels(self, part: bytes = b"", temperature: float = 0.0, seed: int = 0) -> NDArray[np.uint8]:
        """Returns the picture so far, uint8 (H, W, 3). part: the beginning of the next layer; FormatError as from `push`."""
        if self.exact is not None:
            return self.exact
        prefix = self._prefixes[-1]
        if part:
            prefix = levels.decoded_part(self.tables, prefix, part, self.header.fitted)
        return picture.from_tensor(prefix.render(temperature, seed))


class _States(Mapping[int, "Tensor"]):
    """The states at stride 8 after each level, made when they are asked for: only one of them is."""

    def __init__(self, prefixes: Sequence[Prefix]) -> None:
        self.prefixes = prefixes

    def __getitem__(self, level: int) -> Tensor:
        return self.prefixes[level].at_finest().cpu()

    def __contains__(self, level: object) -> bool:
        return level in range(1, len(self.prefixes))

    def __iter__(self) -> Iterator[int]:
        return iter(range(1, len(self.prefixes)))

    def __len__(self) -> int:
        return len(self.prefixes) - 1


def picture_of(reader: Reader, pixels: NDArray[np.uint8], strict: bool = False) -> Picture:
    """Returns the Picture of decoded pixels with the alpha and metadata that the reader has so far.

    Alpha that cannot be decoded is left out with a warning; with strict, FormatError.
    """
    plain = Picture(pixels, gray=reader.known_header().gray)
    try:
        return attach(plain, reader.attachments)
    except FormatError as error:
        if strict:
            raise
        warnings.warn(str(error), HcodecWarning, stacklevel=3)
        return attach(plain, replace(reader.attachments, alpha=b""))


def check_memory(height: int, width: int) -> None:
    """Raises PictureError if the machine surely lacks the memory for a picture, before any of it is taken."""
    num_pixels = -(-height // 8) * -(-width // 8) * 64  # with the cells of the finest stride filled up
    memory.check(num_pixels, _BYTES_PER_PIXEL)
