"""The state of decoding, held open between layers.

Room: codec's own, shared with `stream`; decode steps 4 to 9. torch comes in when a model is loaded, not before.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from hcodec import memory, models
from hcodec.coders import lossless, scale_offsets
from hcodec.coding.stack import EntropyModel, LayerDecoder
from hcodec.container import Header, Reader
from hcodec.errors import FormatError, HcodecWarning
from hcodec.pixels import picture
from hcodec.pixels.attachments import attach
from hcodec.pixels.picture import Picture

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from hcodec.models.photo.walk import Walk

_BYTES_PER_PIXEL = 330  # peak working memory of encoding, measured; decoding takes less


class LevelDecoder:
    """The state of decoding, held open between layers: each new layer costs one step."""

    def __init__(self, model: models.Model, height: int, width: int, fitted: bool = False) -> None:
        from hcodec.models.photo.walk import Walk

        self.model, self.tables = model, EntropyModel(model.tables)
        self.walk = Walk(model.network, model.agreed, height, width)
        self.levels = 0.0  # whole levels decoded, plus the share of a partial one
        self.fitted = fitted  # whether layers bring post_filter and offsets
        self.gray = False
        self.keep = False  # whether the walks after each level are kept, for the lossless layer
        self.kept: dict[int, Walk] = {}
        self.exact: NDArray[np.uint8] | None = None  # the picture itself, once the lossless layer is decoded

    @classmethod
    def open(cls, header: Header, device: str) -> LevelDecoder:
        """Returns a decoder for a file. Raises ModelError, PictureError (not enough memory) or FormatError."""
        check_memory(header.height, header.width)
        model = models.load(models.find(header.fingerprint), device)
        if header.num_levels > model.agreed.config.num_levels:
            raise FormatError(f"the file has {header.num_levels} levels, more than its model")
        decoder = cls(model, header.height, header.width, header.fitted)
        decoder.keep, decoder.gray = header.lossless, header.gray
        return decoder

    def push(self, layer: bytes) -> None:
        """Decodes the next whole layer. Raises FormatError, leaving the state as it was, if it is not well-formed."""
        walk = self.walk.copy()
        decoder = LayerDecoder(self.tables, layer, whole=True)
        self._advance(walk, decoder)
        decoder.close()
        self.walk, self.levels = walk, self.levels + 1
        if self.keep:
            self.kept[int(self.levels)] = walk.copy()

    def push_partial(self, data: bytes) -> None:
        """Decodes what there is of the next layer; nothing can follow it. FormatError as from `push`."""
        from hcodec.models.photo import post_filter

        walk = self.walk.copy()
        decoder = LayerDecoder(self.tables, data, whole=False)
        self._advance(walk, decoder)
        walk.post_filter = post_filter.mixed(self.walk.post_filter, walk.post_filter, decoder.share)
        self.walk, self.levels = walk, self.levels + decoder.share

    def push_lossless(self, data: bytes) -> None:
        """Decodes the lossless layer, after all levels. Raises FormatError, ModelError."""
        states = States(self.kept)
        size = self.walk.height, self.walk.width
        self.exact = lossless.decode(self.model.fingerprint, data, states, size, self.gray)

    def pixels(self, temperature: float = 0.0, seed: int = 0) -> NDArray[np.uint8]:
        """Returns the picture that the state holds, uint8 (H, W, 3)."""
        if self.exact is not None:
            return self.exact
        return picture.from_tensor(self.walk.render(self.levels, temperature, seed))

    def pixels_with(self, partial: bytes) -> NDArray[np.uint8]:
        """Returns the picture that the state and the beginning of the next layer hold; the state stays as it is."""
        before = self.walk.copy(), self.levels
        if partial:
            self.push_partial(partial)
        try:
            return self.pixels()
        finally:
            self.walk, self.levels = before

    def _advance(self, walk: Walk, decoder: LayerDecoder) -> None:
        import torch

        level = walk.latent.level
        if self.fitted:
            walk.post_filter = scale_offsets.read_post_filter(decoder)
        while not walk.done and walk.latent.level == level:
            index = walk.predict()[1].cpu().numpy()
            if self.fitted:
                index = scale_offsets.read_offsets(decoder, index)
            walk.advance(torch.from_numpy(decoder.decode(index)).to(self.model.device))


class States(Mapping[int, "Tensor"]):
    """The states at stride 8 of walks by level, made when they are asked for: only one of them is."""

    def __init__(self, walks: Mapping[int, Walk]) -> None:
        self.walks = walks

    def __getitem__(self, level: int) -> Tensor:
        return self.walks[level].at_finest().cpu()

    def __iter__(self) -> Iterator[int]:
        return iter(self.walks)

    def __len__(self) -> int:
        return len(self.walks)


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
