"""How much memory there is, asked before any of it is taken on a file's word; and giving it back.

Beside the data's path: whoever is about to make arrays of a promised size asks here. Imports `errors` and Python's
own modules only.
"""

from __future__ import annotations

import ctypes
import sys

from hcodec.errors import PictureError


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


def give_back() -> None:
    """Returns freed memory to the system; the C library of Linux keeps what lies between that in use."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def free_bytes() -> int | None:
    """The memory that can be taken without swapping, or None where the system does not tell."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            values = dict(line.split(":") for line in file)
        return int(values["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None
