"""Encoding and decoding of one picture, window by window: two mirrors of each other.

Room: codec (encode steps 3 to 10, decode steps 3 to 9). `Encoder` makes the pieces of every window, level by level;
`Decoder` makes states of the pieces of a file, and pixels of states. A window is predicted and coded without its
neighbors; analysis and synthesis see a margin of them, so that no seams show. Memory is bounded by windows.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hcodec import memory, models
from hcodec.coders import levels
from hcodec.coders.levels import Wanted
from hcodec.container import Header, Reader
from hcodec.container.window import Window, windows
from hcodec.errors import FormatError, HcodecWarning
from hcodec.models.photo.prefix import Prefix, posterior
from hcodec.models.photo.walk import analyze
from hcodec.models.runtime.steps import Array
from hcodec.models.runtime.threads import each
from hcodec.mosaic import MARGIN, Mosaic, Rectangle
from hcodec.pixels.attachments import attach
from hcodec.pixels.picture import Picture

_BYTES_PER_PIXEL = 24  # of a large picture: peak working memory beside that of the windows in work, measured
Pixels = NDArray[np.uint8]
Offsets = Sequence[Array]  # what to add to the posterior of each latent, (1, H_l, W_l, C_l), as `models.photo.search` finds it


class Encoder:
    """Encodes a picture, uint8 (H, W, 3)."""

    def __init__(self, model: models.Model, pixels: Pixels) -> None:
        self.model, self.tables, self.pixels = model, levels.tables_of(model), pixels
        self.windows = windows(*pixels.shape[:2])
        self.with_offsets = levels.has_offsets(*pixels.shape[:2])

    def each_level(self, window: Window, offsets: Offsets | None = None) -> Iterator[levels.Level]:
        """Yields level after level of a window, each computed when it is asked for."""
        wanted = posterior(self.model.walk.steps, self._features(window))
        if offsets is not None:
            wanted = _moved(wanted, offsets)
        prefix = Prefix.empty(self.model.walk, window.height, window.width)
        for _ in range(self.model.config.num_levels):
            level = levels.encoded(self.tables, prefix, wanted)
            yield level
            prefix = level[1]

    def pack(self, level: levels.Level) -> bytes:
        """Returns the piece of a level."""
        return levels.packed(self.tables, level[0], self.with_offsets)

    def layers(self, count: int, show: Callable[[float], None] = lambda share: None) -> list[list[bytes]]:
        """Returns the first `count` layers, each as the pieces of all windows. show: gets the share of the windows that is done."""
        done: list[Window] = []

        def pieces(window: Window) -> list[bytes]:
            """Returns the pieces of a window."""
            found = [self.pack(level) for _, level in zip(range(count), self.each_level(window), strict=False)]
            done.append(window)
            show(len(done) / len(self.windows))
            return found

        return [list(layer) for layer in zip(*each(pieces, self.windows), strict=True)]

    def _features(self, window: Window) -> dict[int, Array]:
        """Returns {stride: feature} of a window, from its pixels and a margin of the pixels around it."""
        outer = Rectangle.of(window).grown(MARGIN, *self.pixels.shape[:2])
        features = analyze(self.model.config, self.model.walk.steps, self.pixels[outer.inside])
        return {stride: np.ascontiguousarray(x[outer.part(window, stride)]) for stride, x in features.items()}


def _moved(wanted: Wanted, offsets: Offsets) -> Wanted:
    """Returns what is wanted, with the offset of each latent added."""
    return lambda latent, state, prior: wanted(latent, state, prior) + offsets[latent.index]


class Decoder:
    """Decodes the picture of a file.

    reader: holds the pieces that have arrived. limit: how many levels to use at most. hold: whether states are kept for the
    next time, as where more data is to come; else each is made again when it is asked for.
    """

    def __init__(self, model: models.Model, reader: Reader, limit: int | None = None, hold: bool = False) -> None:
        self.model, self.reader, self.header = model, reader, reader.known_header()
        self.tables = levels.tables_of(model)
        self.windows = windows(self.header.height, self.header.width)
        self.limit = self.header.num_levels if limit is None else limit
        self._held: list[Prefix | None] = [None] * len(self.windows) if hold else []
        self.faults: dict[int, str] = {}  # window -> why it ends early, found while decoding

    @classmethod
    def open(cls, reader: Reader, device: str, backend: str | None, limit: int | None = None, hold: bool = False) -> Decoder:
        """Returns a decoder for what a reader has of a file. Raises ModelError or FormatError."""
        header: Header = reader.known_header()
        model = models.load(models.find(header.fingerprint), device, backend)
        if header.num_levels > model.config.num_levels:
            raise FormatError(f"the file has {header.num_levels} levels, more than its model")
        return cls(model, reader, limit, hold)

    def advance(self) -> None:
        """Decodes all pieces that have arrived, if states are held."""
        if self._held:
            each(self.prefix, range(len(self.windows)))

    @property
    def num_levels(self) -> int:
        """How many whole levels are decoded in every window."""
        return min(self.levels_of(index) for index in range(len(self.windows)))

    def levels_of(self, index: int) -> int:
        """Returns how many whole levels of a window have arrived and are well-formed."""
        return int(self.prefix(index).levels)

    def prefix(self, index: int) -> Prefix:
        """Returns the whole levels of a window."""
        window, held = self.windows[index], self._held[index] if self._held else None
        prefix = held or Prefix.empty(self.model.walk, window.height, window.width)
        try:
            for piece in self.reader.pieces[index][int(prefix.levels) : self.limit]:
                if index in self.faults:
                    break
                prefix = levels.decoded(self.tables, prefix, piece, self.header.offsets)
        except FormatError as error:
            self.faults[index] = f"level {int(prefix.levels) + 1} is malformed, it was ignored: {error}"
        if self._held:
            self._held[index] = prefix
        return prefix

    def shown(self, index: int) -> Prefix:
        """Returns the levels of a window with the beginning of the next one, if there is one that may be used."""
        prefix = self.prefix(index)
        part = self.reader.partial(index) if int(prefix.levels) < self.limit and index not in self.faults else b""
        if not part or int(prefix.levels) < len(self.reader.pieces[index]):
            return prefix
        try:
            return levels.decoded_part(self.tables, prefix, part, self.header.offsets)
        except FormatError as error:
            self.faults[index] = f"level {int(prefix.levels) + 1} is malformed, it was ignored: {error}"
            return prefix

    def pixels(self, region: Rectangle | None = None, temperature: float = 0.0, seed: int = 0) -> Pixels:
        """Returns the picture so far, or a region of it, uint8 (H, W, 3)."""
        mosaic = Mosaic(self.windows, self.header.height, self.header.width)

        def state(index: int) -> tuple[Array, float]:
            """Returns the finest state of a window and how many levels it holds."""
            prefix = self.shown(index)
            return prefix.completed(temperature, seed + index), prefix.levels

        return mosaic.render(self.model.walk, state, region)


def picture_of(reader: Reader, pixels: Pixels, strict: bool = False, region: Rectangle | None = None) -> Picture:
    """Returns the Picture of decoded pixels, of the whole or of a region, with the alpha and metadata that the reader has so far.

    Alpha that cannot be decoded is left out with a warning; with strict, FormatError.
    """
    header = reader.known_header()
    size = header.height, header.width
    plain, inside = Picture(pixels, gray=header.gray), (region or Rectangle(0, 0, *size)).inside
    try:
        return attach(plain, reader.attachments, size, inside)
    except FormatError as error:
        if strict:
            raise
        warnings.warn(str(error), HcodecWarning, stacklevel=3)
        return attach(plain, replace(reader.attachments, alpha=b""), size, inside)


def check_memory(height: int, width: int) -> None:
    """Raises PictureError if the machine surely lacks the memory for a picture, before any of it is taken."""
    memory.check(height * width, _BYTES_PER_PIXEL)
