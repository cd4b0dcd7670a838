"""Encoding and decoding of one picture: two mirrors of each other.

Room: codec (encode steps 3 to 10, decode steps 3 to 9). The coarse levels are of the whole picture, the fine ones of
its windows, each on its own. `Encoder` makes pieces of pixels; `Decoder` makes states of pieces, and pixels of states.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from hcodec import memory, models, needs
from hcodec.coders import levels
from hcodec.coders.levels import Level, Wanted
from hcodec.container import EVERYWHERE, Reader
from hcodec.container.window import Window, windows
from hcodec.errors import FormatError
from hcodec.models.descend import Answer
from hcodec.models.photo.config import FINEST, STRIDES
from hcodec.models.photo.prefix import Cells, Prefix, posterior, sampled, synthesize
from hcodec.models.photo.preview import Preview, state_of
from hcodec.models.photo.walk import Walk, analyze
from hcodec.models.runtime.steps import Array
from hcodec.models.runtime.threads import Show, between, each, ignore
from hcodec.mosaic import MARGIN, Mosaic, Rectangle, to_pixels

Pixels = NDArray[np.uint8]
Offsets = Sequence[Array]  # what to add to the posterior of each latent, (1, H_l, W_l, C_l), as `models.photo.search` finds it
_ANALYSIS = 0.4  # of the time of encoding, about
_KEPT = 64  # windows of which the features at the finest stride are kept; beyond, they take more memory than time
_FORESEEN = 4  # windows of which it is kept what is expected of the next level
_CONTEXT = 32  # format: pixels around a window that are predicted with it


def _prefix(coarse: Prefix, window: Window, height: int, width: int) -> Prefix:
    """Returns the prefix of a window, from that of the picture (height x width pixels) after the coarse levels."""
    outer = _outer(window, height, width)
    inside = Rectangle.of(window).within(outer).cells(FINEST)
    return coarse.windowed(outer.cells(2 * FINEST), inside, outer.bottom - outer.top, outer.right - outer.left)


def _painted(walk: Walk, preview: Preview | None, quick: bool, state: Array, levels: float, inside: Cells) -> Pixels:
    """Returns the pixels of cells in a finest state that holds so many levels."""
    level = preview.level(levels) if preview else None
    if preview and level:
        return preview.shown(level, state, inside)
    draft = preview.walk if preview and levels < walk.config.num_levels else walk
    return to_pixels(synthesize(draft, state, levels, quick, inside))


def _outer(window: Window, height: int, width: int) -> Rectangle:
    """Returns a window with what is predicted with it."""
    return Rectangle.of(window).grown(_CONTEXT, height, width)


class Encoder:
    """Encodes a picture, uint8 (H, W, 3)."""

    def __init__(self, model: models.Model, pixels: Pixels, offsets: Offsets | None = None) -> None:
        self.model, self.tables, self.pixels, self.offsets = model, levels.tables_of(model), pixels, offsets
        self.size = pixels.shape[0], pixels.shape[1]
        self.windows = windows(*self.size)
        self.with_offsets = levels.has_offsets(*self.size)
        self._fine: dict[Window, Array] = {}  # features at the finest stride, from the coarse levels until they are needed

    def layers(self, count: int, show: Show) -> list[list[bytes]]:
        """Returns the first `count` layers: the one piece of each coarse level, and of each other one those of all windows."""
        first, coarse = self.coarse_pieces(count, between(show, 0, _ANALYSIS))
        num_fine = count - len(first)

        def pieces(window: Window) -> list[bytes]:
            """Returns the pieces of a window."""
            return [self.pack(level) for level in islice(self.levels(coarse, window), num_fine)]

        fine = each(pieces, self.windows, between(show, _ANALYSIS, 1)) if num_fine else []
        return [[piece] for piece in first] + [list(layer) for layer in zip(*fine, strict=True)]

    def coarse_pieces(self, count: int, show: Show = ignore) -> tuple[list[bytes], Prefix]:
        """Returns the pieces of the coarse levels among the first `count`, and the prefix after them."""
        pieces = []
        prefix = Prefix.empty(self.model.walk, *self.size)
        for parts, prefix in islice(self.coarse_levels(show), count):
            pieces.append(self.pack((parts, prefix)))
            del parts  # of a large picture they take much memory, which the next level needs
            self._give_back()
        return pieces, prefix

    def coarse_levels(self, show: Show = ignore) -> Iterator[Level]:
        """Yields level after level of the whole picture, each when it is asked for."""
        prefix = Prefix.empty(self.model.walk, *self.size)
        features = self._coarse_features(show)
        wanted = self._wanted(features, Rectangle(0, 0, *self.size))
        for _ in range(self.model.config.num_coarse):
            begun = self.model.walk.latents[prefix.position.index].stride
            for stride in [stride for stride in features if stride > begun]:
                del features[stride]
            parts, prefix = levels.encoded(self.tables, prefix, wanted)
            yield parts, prefix
            del parts

    def levels(self, coarse: Prefix, window: Window) -> Iterator[Level]:
        """Yields level after level of a window, from the prefix after the coarse ones, each when it is asked for."""
        prefix, outer = self.prefix(coarse, window), _outer(window, *self.size)
        feature = self._fine.get(window)
        if feature is None:
            feature = self._cropped(window, self._analyzed(window, (FINEST,)))
        wanted = self._wanted({FINEST: feature}, outer)
        for _ in range(self.model.config.num_levels - self.model.config.num_coarse):
            level = levels.encoded(self.tables, prefix, wanted)
            yield level
            prefix = level[1]

    def prefix(self, coarse: Prefix, window: Window) -> Prefix:
        """Returns the prefix of a window before its own levels."""
        return _prefix(coarse, window, *self.size)

    def pack(self, level: Level) -> bytes:
        """Returns the piece of a level."""
        return levels.packed(self.tables, level[0], self.with_offsets)

    def _analyzed(self, window: Window, strides: Sequence[int]) -> dict[int, Array]:
        """Returns {stride: feature} of a window and the pixels around it that analysis sees."""
        outer = Rectangle.of(window).grown(MARGIN, *self.size)
        return analyze(self.model.config, self.model.walk.steps, self.pixels[outer.inside], strides)

    def _coarse_features(self, show: Show) -> dict[int, Array]:
        """Returns {stride: feature} of the whole picture, made window by window; keeps those of the finest stride."""
        keep, kind = len(self.windows) <= _KEPT, np.float32 if len(self.windows) == 1 else np.float16
        whole = {stride: self._room(stride, kind) for stride in STRIDES if stride > FINEST}

        def analyze_window(window: Window) -> None:
            """Puts the features of a window in their place."""
            place, found = Rectangle.of(window), self._analyzed(window, STRIDES)
            inner = place.within(place.grown(MARGIN, *self.size))
            for stride, feature in whole.items():
                feature[place.cells(stride)] = found[stride][inner.cells(stride)]
            if keep:
                self._fine[window] = self._cropped(window, found).astype(kind, copy=False)

        each(analyze_window, self.windows, show)
        self._give_back()
        return whole

    def _give_back(self) -> None:
        """Gives back the memory that windows took: until the coarse levels are done, maps of the whole picture take the most."""
        if len(self.windows) > 1:
            memory.give_back()

    def _room(self, stride: int, kind: type) -> Array:
        """Returns room for a map of the whole picture at a stride."""
        rows, columns = (-(-edge // stride) for edge in self.size)
        return np.empty((1, rows, columns, self.model.config.width[stride]), dtype=kind)

    def _cropped(self, window: Window, features: dict[int, Array]) -> Array:
        """Returns the finest feature of a window and what is predicted with it, of what `_analyzed` gives."""
        inner = _outer(window, *self.size).within(Rectangle.of(window).grown(MARGIN, *self.size))
        return np.ascontiguousarray(features[FINEST][inner.cells(FINEST)])

    def _wanted(self, features: dict[int, Array], place: Rectangle) -> Wanted:
        """Returns what the latents of a part of the picture are to be, from its features."""
        plain = posterior(self.model.walk.steps, features)
        if self.offsets is None:
            return plain
        offsets = self.offsets
        return lambda latent, state, prior: plain(latent, state, prior) + offsets[latent.index][place.cells(latent.stride)]


class Decoder:
    """Decodes the picture of a file.

    reader: holds the pieces that have arrived. limit: how many levels to use at most. hold: whether the states of windows are
    kept for the next time, as where more data is to come; else each is made again when it is asked for.
    """

    def __init__(self, model: models.Model, reader: Reader, limit: int | None = None, hold: bool = False) -> None:
        self.model, self.reader, self.header = model, reader, reader.known_header()
        self.tables = levels.tables_of(model)
        self.windows = windows(self.header.height, self.header.width)
        self.limit = self.header.num_levels if limit is None else limit
        self.faults: dict[int, str] = {}  # window, or EVERYWHERE -> why it ends early, found while decoding
        self._coarse = Prefix.empty(model.walk, self.header.height, self.header.width)
        self._held: list[Prefix | None] | None = [None] * len(self.windows) if hold else None

    @classmethod
    def open(cls, reader: Reader, device: str, backend: str | None, limit: int | None = None, hold: bool = False) -> Decoder:
        """Returns a decoder for what a reader has of a file. Raises ModelError, FormatError, PictureError (no memory for it)."""
        header = reader.known_header()
        needs.check(header.height, header.width)
        model = models.load(models.find(header.fingerprint), device, backend)
        if header.num_levels > model.config.num_levels or header.num_coarse != model.config.num_coarse:
            raise FormatError(f"the file has {header.num_levels} levels, {header.num_coarse} coarse; its model has others")
        return cls(model, reader, limit, hold)

    @property
    def num_levels(self) -> int:
        """How many whole levels are decoded everywhere."""
        return min(int(self.prefix(index).levels) for index in range(len(self.windows)))

    def coarse(self) -> Prefix:
        """Returns the coarse levels that have arrived."""
        prefix = self._coarse
        for piece in self.reader.coarse[int(prefix.levels) : self.limit]:
            prefix = self._pushed(EVERYWHERE, prefix, piece)
        self._coarse = prefix  # at once: several threads may ask
        return prefix

    def prefix(self, index: int) -> Prefix:
        """Returns the levels of a window that have arrived; the coarse ones where no other has."""
        coarse = self.coarse()
        if int(coarse.levels) < min(self.model.config.num_coarse, self.limit):
            return coarse
        window, held = self.windows[index], self._held and self._held[index]
        prefix = held or _prefix(coarse, window, self.header.height, self.header.width)
        for piece in self.reader.pieces[index][int(prefix.levels) - self.model.config.num_coarse :]:
            prefix = self._pushed(index, prefix, piece)
        if self._held:
            self._held[index] = prefix
        return prefix

    def _pushed(self, index: int, prefix: Prefix, piece: bytes) -> Prefix:
        """Returns the prefix with one level more, unless that is malformed or came after one that is, or is beyond the limit."""
        if index in self.faults or int(prefix.levels) >= self.limit:
            return prefix
        try:
            return levels.decoded(self.tables, prefix, piece, self.header.offsets)
        except FormatError as error:
            self.faults[index] = self._say_fault(index, prefix, error)
            return prefix

    def _with_part(self, index: int, prefix: Prefix) -> Prefix:
        """Returns the prefix with what has arrived of the next piece, if that may be used."""
        part = self.reader.partial(index) if int(prefix.levels) < self.limit and index not in self.faults else b""
        try:
            return levels.decoded_part(self.tables, prefix, part, self.header.offsets) if part else prefix
        except FormatError as error:
            self.faults[index] = self._say_fault(index, prefix, error)
            return prefix

    def _say_fault(self, index: int, prefix: Prefix, error: FormatError) -> str:
        """Returns a line on the level after those of a prefix, which is malformed; it names the window if there are several."""
        place = f" in {self.windows[index].place}" if index != EVERYWHERE and len(self.windows) > 1 else ""
        return f"level {int(prefix.levels) + 1} is malformed, it was ignored{place}: {error}"

    def pixels(
        self,
        region: Rectangle | None = None,
        temperature: float = 0.0,
        seed: int = 0,
        show: Show = ignore,
        quick: bool = False,
    ) -> Pixels:
        """Returns the picture so far, or a region of it, uint8 (H, W, 3); quick: about as good, for one that is soon replaced."""
        preview = self.model.preview if quick else None
        coarse = self.coarse()
        begun = int(coarse.levels) < self.model.config.num_coarse
        if begun:
            coarse = self._coarse = self._foreseeing(coarse)
            coarse = self._with_part(EVERYWHERE, coarse)
        filled = (preview.of(coarse) if preview else coarse).filled(sampled(temperature, seed))

        def state(index: int) -> tuple[Array, float]:
            """Returns the finest state of a window and how many levels it holds."""
            window = self.windows[index]
            if begun:
                prefix = _prefix(filled, window, self.header.height, self.header.width)
            else:
                prefix = self._foreseeing(self.prefix(index))
                if self._held:
                    self._held[index] = prefix
                prefix = self._with_part(index, prefix)
            prefix = preview.of(prefix) if preview else prefix
            answer: Answer = sampled(temperature, seed + index + 1)
            level = preview and preview.level(prefix.levels)
            return state_of(prefix, level, answer) if level else prefix.completed(answer, quick), prefix.levels

        paint = partial(_painted, self.model.walk, preview, quick)
        return Mosaic(self.windows, self.header.height, self.header.width).render(paint, state, region, show)

    def _foreseeing(self, prefix: Prefix) -> Prefix:
        """Returns a prefix that is held for the next time with what it says of the next level, if there is memory for that."""
        return prefix.foreseeing() if self._held and len(self.windows) <= _FORESEEN else prefix

    def finest(self, index: int, level: int) -> Array:
        """Returns the state of a window at the finest stride as level `level` left it, (1, h/8, w/8, width)."""
        limited = Decoder(self.model, self.reader, level)
        limited._coarse = self.coarse() if level >= self.model.config.num_coarse else limited._coarse
        prefix = limited.prefix(index)
        if int(prefix.levels) < level or level < self.model.config.num_coarse:
            raise FormatError(f"the lossless layer builds on level {level}, which is not there")
        return prefix.at_finest()
