"""The lossless layer of a whole picture: its windows' pieces, and exact pixels of them.

Room: codec, above `session`. All windows build on the same level, which is judged on a few of them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median_low

import numpy as np

from hcodec.coders import lossless
from hcodec.coders.lossless import Candidate, LosslessCode
from hcodec.container.window import Window
from hcodec.errors import FormatError, HcodecWarning, ModelError
from hcodec.models import registry
from hcodec.models.runtime.threads import Show, between, each, ignore
from hcodec.mosaic import Mosaic, Rectangle
from hcodec.session import Decoder, Encoder, Pixels

_PROBES = 3  # windows on which the level is judged


@dataclass(frozen=True)
class _Coded:
    """A window: the pieces of its levels, and its piece of the lossless layer."""

    pieces: list[bytes]
    code: LosslessCode


def exact_layers(
    encoder: Encoder, gray: bool, num_levels: int | None, show: Show
) -> tuple[list[list[bytes]], list[bytes], LosslessCode]:
    """Returns the layers of levels, the pieces of the lossless layer, and how that was coded.

    num_levels: how many levels to keep; None keeps those that make the smallest file. HcodecError if too few are.
    """
    picture = _Picture(encoder, gray, num_levels)
    coded = picture.windows(show)
    codes = [window.code for window in coded]
    stored = all(code.start == 1 for code in codes)
    kept = num_levels or (1 if stored else max(code.start for code in codes))
    layers = [[piece] for piece in picture.coarse_pieces[:kept]]
    num_fine = kept - len(layers)
    layers += [list(layer) for layer in zip(*(window.pieces[:num_fine] for window in coded), strict=True)]
    method = ", ".join(dict.fromkeys(code.method for code in codes))
    pieces = [code.data for code in codes]
    return layers, pieces, LosslessCode(b"".join(pieces), method, max(code.start for code in codes))


class _Picture:
    """What all windows of a picture share while it is encoded."""

    def __init__(self, encoder: Encoder, gray: bool, num_levels: int | None) -> None:
        self.encoder, self.gray, self.num_levels = encoder, gray, num_levels
        model = encoder.model
        self.starts: Sequence[int] = registry.load_lossless(model.fingerprint, backend=model.backend).starts
        self.coarse_pieces, self.coarse = encoder.coarse_pieces(num_levels or model.config.num_coarse)

    def windows(self, show: Show) -> list[_Coded]:
        """Returns all windows, coded."""
        every = self.encoder.windows
        if len(every) == 1:
            return [self.coded(every[0], show)]
        probes = list(dict.fromkeys(every[len(every) * i // _PROBES] for i in range(_PROBES)))
        done = len(probes) / (len(probes) + len(every))
        tried = dict(zip(probes, each(self.coded, probes, between(show, 0, done)), strict=True))
        start = median_low([one.code.start for one in tried.values() if one.code.start in self.starts] or self.starts)
        self.starts = [start]
        num_pieces = max((self.num_levels or start) - len(self.coarse_pieces), 0)
        known = {window: _Coded(one.pieces[:num_pieces], one.code) for window, one in tried.items() if one.code.start == start}
        return each(lambda window: known.get(window) or self.coded(window), every, between(show, done, 1))

    def coded(self, window: Window, show: Show = ignore) -> _Coded:
        """Returns a window, coded from the start level that suits it; shows the share of tiles that are done."""
        model, pixels = self.encoder.model, np.ascontiguousarray(self.encoder.pixels[window.inside])
        pieces: list[bytes] = []
        candidates = self._candidates(window, pieces)
        first = len(self.coarse_pieces) - 1

        def saved(start: int) -> int:
            """Bytes that a layer which needs no more than level 1 saves against one that builds on level `start`."""
            return 0 if self.num_levels else sum(map(len, pieces[: max(start - first - 1, 0)]))

        code = lossless.encode(model.fingerprint, candidates, pixels, self.gray, saved, model.backend, show)
        if self.num_levels is not None:
            for _ in candidates:  # levels that are kept although the layer does not build on them
                pass
        return _Coded(pieces, code)

    def _candidates(self, window: Window, pieces: list[bytes]) -> Iterator[Candidate]:
        """Encodes level after level of a window into `pieces`, and yields those that the layer may build on."""
        num_coarse, last = len(self.coarse_pieces), self.num_levels or max(self.starts)
        share = window.height * window.width / self.encoder.pixels[..., 0].size
        bits = 8 * share * sum(map(len, self.coarse_pieces))
        levels = self.encoder.levels(self.coarse, window)
        if num_coarse in self.starts:
            yield Candidate(num_coarse, self.encoder.prefix(self.coarse, window), 0 if self.num_levels else bits)
        for number, level in zip(range(num_coarse + 1, last + 1), levels, strict=False):
            pieces.append(self.encoder.pack(level))
            bits += 8 * len(pieces[-1])
            if number in self.starts:
                yield Candidate(number, level[1], 0 if self.num_levels else bits)


@dataclass(frozen=True)
class ExactPixels:
    """What is exact of a region: the part in each window, uint8, by its place in the region. is_all: whether that is all."""

    parts: dict[Rectangle, Pixels]
    is_all: bool

    def over(self, region: Rectangle, levels: Callable[[], Pixels]) -> Pixels:
        """Returns the pixels of the region, uint8 (H, W, 3), from the levels where they are not exact."""
        shape = region.bottom - region.top, region.right - region.left, 3
        pixels = np.empty(shape, dtype=np.uint8) if self.is_all else levels()
        for place, part in self.parts.items():
            pixels[place.inside] = part
        return pixels


NOTHING = ExactPixels({}, is_all=False)


def exact_pixels(decoder: Decoder, region: Rectangle, strict: bool, partly: bool, show: Show = ignore) -> ExactPixels:
    """Returns what the lossless layer says of a region. partly: although it has not arrived for all windows of it.

    A piece may be malformed in spite of its checksum, or the layer's weights missing: that is warned of, or raised with strict.
    """
    mosaic = Mosaic(decoder.windows, decoder.header.height, decoder.header.width)
    touched = mosaic.touched(region)
    there = [index for index in touched if decoder.reader.lossless[index]]
    if not there or (len(there) < len(touched) and not partly):
        return NOTHING

    def exact(index: int) -> Pixels | FormatError:
        """Returns the pixels of a window, or why its piece cannot be used."""
        try:
            return _exact(decoder, index, mosaic.places[index], region)
        except FormatError as error:
            if strict:
                raise
            return error

    try:
        decoder.coarse()  # once, for all windows
        found = dict(zip(there, each(exact, there, show), strict=True))
    except ModelError as error:
        if strict:
            raise
        warnings.warn(f"{error}; it was ignored", HcodecWarning, stacklevel=4)
        return NOTHING
    _report(decoder, {index: str(error) for index, error in found.items() if isinstance(error, FormatError)})
    usable = {index: pixels for index, pixels in found.items() if not isinstance(pixels, FormatError)}
    parts = {mosaic.places[index].shared(region).within(region): pixels for index, pixels in usable.items()}
    return ExactPixels(parts, len(parts) == len(touched))


def _report(decoder: Decoder, faults: Mapping[int, str]) -> None:
    """Warns of each fault once, with the windows that have it if others do not."""
    for fault in dict.fromkeys(faults.values()):
        places = [decoder.windows[index].place for index in faults if faults[index] == fault]
        where = f" in {places[0]}" if len(places) < len(decoder.windows) else ""
        others = f" and {len(places) - 1} more" if where and len(places) > 1 else ""
        warnings.warn(f"{fault}; it was ignored{where}{others}", HcodecWarning, stacklevel=5)


def _exact(decoder: Decoder, index: int, place: Rectangle, region: Rectangle) -> Pixels:
    """Returns the exact pixels of the part of a window that lies in a region."""
    size, part = (place.bottom - place.top, place.right - place.left), place.shared(region).within(place).inside
    header, model = decoder.header, decoder.model
    return lossless.decode(
        header.fingerprint,
        decoder.reader.lossless[index],
        lambda level: decoder.finest(index, level),
        size,
        header.gray,
        part,
        model.backend,
    )
