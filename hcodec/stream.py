"""StreamDecoder: decoding while the bytes arrive.

Room: codec (decode steps 2 to 9 with the state held open). Must not import models or entropy coding itself.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from types import TracebackType

from PIL import Image

from hcodec import arguments, whole_file
from hcodec.container import Header, Reader
from hcodec.errors import FormatError, HcodecWarning, TruncatedError
from hcodec.exact import exact_pixels
from hcodec.mosaic import Rectangle
from hcodec.presented import image_of, picture_of
from hcodec.session import Decoder

_SLOW = 1 << 16  # pixels that take time to show


class StreamDecoder:
    """Takes a file in pieces of any size; gives a better picture after each of its layers.

    device: "auto", "cpu" or "cuda"; backend: "onnx", "torch" or None for what suits the device. In a `with` statement it is
    closed at the end; what is missing of the file then is warned of as HcodecWarning, as `decode` does.

        with hcodec.StreamDecoder() as decoder:
            for chunk in chunks:
                if decoder.feed(chunk):
                    show(decoder.image())
    """

    def __init__(self, device: str = "cpu", backend: str | None = None) -> None:
        self._device, self._backend = device, backend
        self._reader = Reader()
        self._decoder: Decoder | None = None
        self._closed = False
        self._told: set[str] = set()  # warnings that were given

    def __enter__(self) -> StreamDecoder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            try:
                self.close()
            except TruncatedError as missing:
                self._warn([str(missing)])
        self._decoder = None  # and the states that it holds

    @property
    def header(self) -> Header | None:
        """The file's header, or None until it has arrived."""
        return self._reader.header

    @property
    def levels_decoded(self) -> int:
        """How many whole levels the present state holds, everywhere in the picture."""
        if whole_file.is_whole(self._reader):
            return self._reader.num_levels
        return self._decoder.num_levels if self._decoder else 0

    def feed(self, data: bytes) -> int:
        """Takes the next bytes and returns how many levels they completed.

        Damage ends decoding there with one HcodecWarning; the levels before it stay.
        Raises FormatError (not ours, newer, damaged header), ModelError, PictureError (no memory for it), HcodecError (no bytes).
        """
        before = self.levels_decoded
        self._reader.feed(arguments.data("data", data))
        if (self._reader.coarse or any(self._reader.pieces)) and not whole_file.is_whole(self._reader):
            self._open()
        after = self.levels_decoded
        self._warn(self._reader.damage)
        self._warn(self._decoder.faults.values() if self._decoder else ())
        return after - before

    def image(self, region: tuple[int, int, int, int] | None = None) -> Image.Image:
        """Returns the picture so far, or its region (x, y, width, height), as a Pillow image, an unfinished layer included.

        Until `close`, while levels are still to come, a large one is made in a quicker way, which shows photographs within
        about 0.2 dB of what `decode` does on average, 0.8 dB at worst, and flat drawings within 2 dB; a region of it
        may differ by a gray level or two from that part of the whole.
        Raises TruncatedError before the first level, FormatError if that level is damaged, HcodecError (a region beyond it).
        """
        if whole_file.is_whole(self._reader):
            return image_of(whole_file.decode(self._reader, self._rectangle(region), strict=False))
        decoder = self._decoder
        if decoder is None or not any(decoder.prefix(index).levels for index in range(len(decoder.windows))):
            faults = [*self._reader.damage, *(decoder.faults.values() if decoder else ())]
            raise FormatError(faults[0]) if faults else TruncatedError("the first level has not arrived yet")
        rectangle = self._rectangle(region)
        exact = exact_pixels(decoder, rectangle, strict=False, partly=self._closed or self._reader.complete)
        pixels = exact.over(rectangle, lambda: decoder.pixels(rectangle, quick=self._goes_on))
        self._warn(decoder.faults.values())
        return image_of(picture_of(self._reader, pixels, region=rectangle))

    def _rectangle(self, region: tuple[int, int, int, int] | None) -> Rectangle:
        header = self._reader.known_header()
        return Rectangle.chosen(region, header.height, header.width)

    @property
    def _goes_on(self) -> bool:
        """Whether more levels can be expected, of a picture that takes time to show."""
        header = self._reader.known_header()
        is_slow = header.height * header.width >= _SLOW
        return is_slow and not (self._closed or header.cut or self._reader.damage) and self.levels_decoded < header.num_levels

    def close(self) -> None:
        """Says that no more bytes will come; TruncatedError if something that the file promises is missing."""
        self._closed = True
        self._reader.close()

    def _open(self) -> Decoder:
        if self._decoder is None:
            self._decoder = Decoder.open(self._reader, self._device, self._backend, hold=True)
        return self._decoder

    def _warn(self, lines: Iterable[str]) -> None:
        for line in lines:
            if line not in self._told:
                warnings.warn(line, HcodecWarning, stacklevel=3)
                self._told.add(line)
