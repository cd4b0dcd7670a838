"""What callers give: a value of the wrong type or range is refused by its name, before anything is computed with it.

Beside the data's path: whoever is called from outside asks here. Imports `errors` and Python's own modules only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from math import inf, nan
from numbers import Integral, Real

from hcodec.errors import HcodecError

_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "ki": 1024, "mi": 1024**2, "gi": 1024**3}
_MOST_BYTES = 2**62  # more than any file has
_FLAGS = ("bool", "bool_")  # Python's type and those of numpy, which need not be imported for it


def is_whole(value: object) -> bool:
    """Whether a value is a whole number; True and False are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def whole(name: str, value: object, low: int | None = None) -> int:
    """Returns a whole number, at least `low`."""
    if not isinstance(value, Integral) or not is_whole(value):
        raise HcodecError(f"{name} is {_say(value)}; it must be a whole number")
    if low is not None and value < low:
        raise HcodecError(f"{name} is {value}; it must be at least {low}")
    return int(value)


def number(name: str, value: object, low: float, high: float) -> float:
    """Returns a number from `low` to `high`."""
    found = _real(value)
    if not low <= found <= high:
        raise HcodecError(f"{name} is {_say(value)}; it must be a number from {low:g} to {high:g}")
    return found


def target(name: str, value: object) -> float:
    """Returns a number above 0, which may be infinite."""
    found = _real(value)
    if not found > 0:
        raise HcodecError(f"{name} is {_say(value)}; it must be a number above 0")
    return found


def num_bytes(bpp: float, num_pixels: int) -> int:
    """Returns how many bytes a target of bits per pixel, which may be infinite, leaves a picture."""
    return int(min(bpp * num_pixels / 8, _MOST_BYTES))


def size(name: str, value: object, low: int = 1) -> int:
    """Returns a number of bytes, at least `low`, given as such or as text: 40000, "40kB" (thousands) or "40KiB" (1024s)."""
    found = _parsed(value) if isinstance(value, str) else _real(value)
    if not low <= found < inf:
        raise HcodecError(f'{name} is {_say(value)}; it must be a number of bytes above {low - 1}, such as 40000 or "40kB"')
    return int(found)


def _real(value: object) -> float:
    """Returns a number as such, infinite where it is too large, and NaN for all that is none."""
    if not isinstance(value, Real) or value is True or value is False:
        return nan
    try:
        return float(value)
    except OverflowError:
        return inf


def _parsed(text: str) -> float:
    match = re.fullmatch(r"([0-9]+|[0-9]*\.[0-9]+)\s*([kmg]i?)?b?", text.strip().lower())
    return float(match[1]) * _UNITS[match[2] or ""] if match else nan


def flag(name: str, value: object) -> bool:
    """Returns True or False, given as such: "no" is true to Python, and a mistake."""
    if type(value).__name__ not in _FLAGS:
        raise HcodecError(f"{name} is {_say(value)}; it must be True or False")
    return bool(value)


def text(name: str, value: object) -> str:
    """Returns text."""
    if not isinstance(value, str):
        raise HcodecError(f"{name} is {_say(value)}; it must be text")
    return value


def data(name: str, value: object) -> bytes | bytearray:
    """Returns bytes as they are; of a view, which may be one of other items or leave some out, those that it shows."""
    if not isinstance(value, bytes | bytearray | memoryview):
        raise HcodecError(f"{name} is {_say(value)}; it must be bytes")
    return bytes(value) if isinstance(value, memoryview) else value


def calls(name: str, value: object) -> None:
    """Refuses what is neither None nor can be called."""
    if value is not None and not callable(value):
        raise HcodecError(f"{name} is {_say(value)}; it must be a function that takes a number from 0 to 1")


def names(name: str, value: object) -> set[str]:
    """Returns the names that were given, one alone or several."""
    given = [value] if isinstance(value, str) else list(value) if isinstance(value, Iterable) else [None]
    if not all(isinstance(one, str) for one in given):
        raise HcodecError(f"{name} is {_say(value)}; it must be a name or several")
    return set(given)


def _say(value: object) -> str:
    """A value in a message, in one line that is not too long."""
    shown = repr(value) if isinstance(value, str | bool | None) else str(value) if isinstance(value, Real) else ""
    return shown if 0 < len(shown) <= 60 else f"of type {type(value).__name__}"
