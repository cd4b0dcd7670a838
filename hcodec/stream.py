"""StreamDecoder: decoding while the bytes arrive.

Room: codec (decode steps 2 to 9 with the state held open). Must not import models or entropy coding itself.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from PIL import Image

from hcodec.container import Header, Reader
from hcodec.errors import FormatError, HcodecWarning, ModelError, TruncatedError
from hcodec.pixels import picture
from hcodec.session import Decoder, picture_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class StreamDecoder:
    """Takes a file in pieces of any size; gives a better picture after each of its layers.

    device: "auto", "cpu" or "cuda".
    """

    def __init__(self, device: str = "cpu") -> None:
        self._device = device
        self._reader = Reader()
        self._decoder: Decoder | None = None
        self._fault = ""  # why decoding ended early

    @property
    def header(self) -> Header | None:
        """The file's header, or None until it has arrived."""
        return self._reader.header

    @property
    def levels_decoded(self) -> int:
        """How many whole levels the present state holds."""
        return self._decoder.num_levels if self._decoder else 0

    def feed(self, data: bytes) -> int:
        """Takes the next bytes and returns how many levels they completed.

        A damaged layer ends decoding with one HcodecWarning; the levels before it stay.
        Raises FormatError (not ours, newer, damaged header), ModelError, PictureError (not enough memory).
        """
        self._reader.feed(data)
        before = self.levels_decoded
        if not self._fault and self._reader.num_levels > before:
            self._push_all(self._open(), self._reader.pieces[0][before:])
        if not self._fault and any(self._reader.lossless) and self._decoder and self._decoder.exact is None:
            self._push_lossless(self._decoder)
        if self._reader.damaged:
            self._stop(self._reader.damage[0])
        return self.levels_decoded - before

    def image(self) -> Image.Image:
        """Returns the picture so far, the bytes of an unfinished layer included.

        Raises TruncatedError before the first level, FormatError if that level is damaged.
        """
        if self._decoder is None or not self._decoder.num_levels:
            raise FormatError(self._fault) if self._fault else TruncatedError("the first level has not arrived yet")
        return picture.to_image(picture_of(self._reader, self._pixels(self._decoder)))

    def close(self) -> None:
        """Says that no more bytes will come; TruncatedError if something that the file promises is missing."""
        self._reader.close()

    def _open(self) -> Decoder:
        if self._decoder is None:
            assert self._reader.header is not None  # noqa: S101 (for the type checker: layers come after the header)
            self._decoder = Decoder.open(self._reader.header, self._device)
        return self._decoder

    def _push_all(self, decoder: Decoder, layers: list[bytes]) -> None:
        try:
            for layer in layers:
                decoder.push(layer)
        except FormatError as error:
            self._stop(f"level {self.levels_decoded + 1} is malformed, it was ignored: {error}")

    def _push_lossless(self, decoder: Decoder) -> None:
        try:
            decoder.push_lossless(self._reader.lossless[0])
        except (FormatError, ModelError) as error:
            self._stop(f"{error}; it was ignored")

    def _pixels(self, decoder: Decoder) -> NDArray[np.uint8]:
        if not self._fault:
            try:
                return decoder.pixels(self._reader.partial(0))
            except FormatError as error:
                self._stop(f"level {self.levels_decoded + 1} is malformed, it was ignored: {error}")
        return decoder.pixels()

    def _stop(self, line: str) -> None:
        if not self._fault:
            warnings.warn(line, HcodecWarning, stacklevel=4)
            self._fault = line
