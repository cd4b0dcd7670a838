"""How long a file is to be: as many levels, a quality, bytes, or as many as a PSNR needs.

Room: codec (after encode step 11): a file is encoded once, then cut. Quality is a place on the way from the first level
to the last: 0 is the first level alone, 100 all of them, and what lies between goes by equal steps. With seven levels 50
is four of them, and 58 half of the fifth's bytes more; of a picture of several windows, those are of the first ones. A longer
prefix is never a worse picture but for chance, so that size and picture grow with the number.
"""

from __future__ import annotations

import warnings
from bisect import bisect_left
from dataclasses import dataclass

from hcodec import arguments, container, models
from hcodec.errors import HcodecError, HcodecWarning, TruncatedError
from hcodec.pixels import picture
from hcodec.session import Decoder, Pixels

BEST = 100  # of qualities, which begin at 0


@dataclass(frozen=True)
class Targets:
    """What a file must keep to, each None where it need not.

    levels: how many at most; quality: 0 .. 100; bpp: bits per pixel at most; size: bytes at most; psnr: dB at least.
    """

    levels: int | None = None
    quality: float | None = None
    bpp: float | None = None
    size: int | None = None
    psnr: float | None = None

    @classmethod
    def checked(
        cls, levels: object, quality: object, target_bpp: object, target_size: object, target_psnr: object, lossless: object
    ) -> Targets:
        """Returns them, as they come from a caller. Raises HcodecError if one is wrong, or if two exclude each other."""
        given = cls(
            levels=None if levels is None else arguments.whole("levels", levels, 1),
            quality=None if quality is None else arguments.number("quality", quality, 0, BEST),
            bpp=None if target_bpp is None else arguments.target("target_bpp", target_bpp),
            size=None if target_size is None else arguments.size("target_size", target_size),
            psnr=None if target_psnr is None else arguments.target("target_psnr", target_psnr),
        )
        if lossless is not None and arguments.flag("lossless", lossless) and given != cls(levels=given.levels):
            raise HcodecError("a quality or target and lossless exclude each other")
        if given.quality is not None and given != cls(quality=given.quality):
            raise HcodecError("quality excludes levels and targets")
        return given

    def count(self, model: models.Model) -> int:
        """Returns how many levels of a model must be encoded. Raises TruncatedError if it has too few."""
        present = model.config.num_levels
        if self.quality is not None:
            whole, begun = _place(self.quality, present)
            return whole + bool(begun)
        return at_most(self.levels, present)

    def cut(self, data: bytes, pixels: Pixels, model: models.Model) -> bytes:
        """Returns a file of so many levels, cut. Raises TruncatedError if less than the first level would be left."""
        if self.quality is not None:
            return _cut_to_quality(data, *_place(self.quality, model.config.num_levels))
        if self.psnr is not None:
            data = _cut_to_psnr(data, pixels, model, self.psnr)
        limit = self._limit(pixels)
        return data if limit is None or len(data) <= limit else container.truncate(data, num_bytes=limit)

    def _limit(self, pixels: Pixels) -> int | None:
        """Returns the smaller of both limits in bytes, or None."""
        by_bpp = None if self.bpp is None else arguments.num_bytes(self.bpp, pixels[..., 0].size)
        return min((limit for limit in (self.size, by_bpp) if limit is not None), default=None)


def at_most(levels: int | None, present: int) -> int:
    """Returns how many levels to use of those present, None being all. Raises TruncatedError if there are not so many."""
    if levels is not None and levels > present:
        raise TruncatedError(f"{levels} levels were asked for, there are {present}")
    return present if levels is None else levels


def _place(quality: float, num_levels: int) -> tuple[int, float]:
    """Returns how many whole levels a quality takes, and which share of the bytes of the next."""
    place = 1 + quality / BEST * (num_levels - 1)
    return int(place), place - int(place)


def _cut_to_quality(data: bytes, whole: int, begun: float) -> bytes:
    """Returns a file of one level more than `whole`, or as many, with that share of the last one's bytes."""
    if not begun:
        return data
    least = len(container.truncate(data, levels=whole))
    return container.truncate(data, num_bytes=least + int(begun * (len(data) - least)))


def _cut_to_psnr(data: bytes, pixels: Pixels, model: models.Model, target: float) -> bytes:
    """Returns the shortest prefix of the file that reaches the target (to 1 % of its last layer), or else all of it."""

    def reached(prefix: bytes) -> float:
        """The PSNR of a file."""
        return picture.psnr(Decoder(model, container.read_all(prefix)[0]).pixels(), pixels)

    num_levels = container.read_all(data)[1].num_levels
    wholes = [container.truncate(data, levels=level) for level in range(1, num_levels + 1)]
    enough = bisect_left(wholes, target, key=reached)
    if enough == num_levels:
        warnings.warn(f"the PSNR stays below {target:g} dB with all levels", HcodecWarning, stacklevel=4)
        return data
    low, high = len(wholes[max(enough - 1, 0)]), len(wholes[enough])
    sizes = range(low, high, max(4, (high - low) // 100))
    place = bisect_left(sizes, target, key=lambda num_bytes: reached(container.truncate(data, num_bytes=num_bytes)))
    return wholes[enough] if place == len(sizes) else container.truncate(data, num_bytes=sizes[place])
