"""How much memory there is, asked before any of it is taken on a file's word.

Beside the data's path: whoever is about to make arrays of a promised size asks here. Imports `errors` and Python's
own modules only.
"""

from __future__ import annotations

import contextlib
import ctypes
from functools import cache

from hcodec.errors import PictureError

_M_MMAP_THRESHOLD = -3  # of glibc's mallopt
_LARGE = 1 << 20  # bytes of an array, from which it goes back to the system when it is freed


def check(num_pixels: int, bytes_per_pixel: int) -> None:
    """Raises PictureError if the machine surely lacks `bytes_per_pixel` of memory for each of `num_pixels` pixels."""
    needed, free = num_pixels * bytes_per_pixel, free_bytes()
    if free is not None and needed > free:
        raise PictureError(f"{num_pixels / 1e6:.0f} megapixels need {needed / 1e9:.1f} GB of memory, {free / 1e9:.1f} are free")


def note(num_pixels: int, needed: int) -> str | None:
    """Returns a line that says how much memory so many pixels will need, where that is more than half of what is free."""
    free = free_bytes()
    if free is None or 2 * needed <= free:
        return None
    return f"{num_pixels / 1e6:.1f} megapixels need about {needed / 1e9:.1f} GB of memory, {free / 1e9:.1f} are free"


def free_bytes() -> int | None:
    """The memory that can be taken without swapping, or None where the system does not tell."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            values = dict(line.split(":") for line in file)
        return int(values["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


@cache
def return_large() -> None:
    """Has large arrays go back to the system as soon as they are freed, where the C library can be told so.

    glibc otherwise learns to keep blocks of up to 32 MB for later, in one heap for each thread: with maps of many sizes that is
    hundreds of megabytes that nobody uses. It costs a few percent of time, so it is for large pictures only.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE)
