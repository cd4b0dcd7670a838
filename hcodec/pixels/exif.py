"""EXIF and XMP as bytes: the orientation read and set upright, the place taken out; all else stays where it is.

Room: pixels, below `metadata`. EXIF is a TIFF structure whose parts point to each other by offsets from its start, maker
notes among them, so it is changed in place and never written anew. Imports Python's own modules only.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import Literal

STARTS = (b"II*\0", b"MM\0*")
_ORIENTATION, _EXIF, _GPS = 0x0112, 0x8769, 0x8825
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 0x011A, 0x011B, 0x0128
RESOLUTION_BYTES = 66  # of what says a resolution and nothing else
_MAX_PER_M = (1 << 31) - 1
_PER_M = {2: 1 / 0.0254, 3: 100}  # inches and centimeters, as the unit says them
_HEAD_BYTES, _ENTRY_BYTES = 8, 12
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_INTEGER_TYPES = (1, 3, 4)  # BYTE, SHORT, LONG
_MAX_DIRECTORIES = 16  # in a row; two are usual: that of the picture and that of its thumbnail
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:=[\"']|>))([1-8])(?=[\"'<])")
_XMP_GPS = re.compile(  # an attribute, or an element
    rb"\s[\w.-]+:GPS[\w-]*\s*=\s*(?:\"[^\"]*\"|'[^']*')|<([\w.-]+:GPS[\w-]*)[^<>]*(?:/>|>[^<]*</\1\s*>)", re.IGNORECASE
)
_XMP_NAMES_GPS = re.compile(rb":\0?G\0?P\0?S", re.IGNORECASE)  # in whatever encoding


class _Tiff:
    """A TIFF structure that is read, and changed in place. What lies beyond its end reads as 0 and is not written."""

    def __init__(self, data: bytes) -> None:
        self.data = bytearray(data)
        self._order: Literal["little", "big"] = "little" if data[:1] == b"I" else "big"

    def integer(self, position: int, size: int) -> int:
        """Returns the unsigned integer at a position."""
        return int.from_bytes(self.data[position : position + size], self._order)

    def write(self, position: int, size: int, value: int) -> None:
        """Puts an unsigned integer at a position."""
        self.data[position : position + size] = value.to_bytes(size, self._order)

    def blank(self, position: int, size: int) -> None:
        """Puts zeros where there was something, but not into the first bytes: they say what all else is."""
        start, end = max(position, _HEAD_BYTES), min(position + size, len(self.data))
        self.data[start:end] = bytes(max(end - start, 0))

    def directories(self) -> Iterator[int]:
        """Yields where the directories of the main row begin."""
        seen: set[int] = set()
        position = self.integer(4, 4)
        while 0 < position < len(self.data) and position not in seen and len(seen) < _MAX_DIRECTORIES:
            seen.add(position)
            yield position
            position = self.integer(position + 2 + _ENTRY_BYTES * self.integer(position, 2), 4)

    def entries(self, directory: int) -> Iterator[int]:
        """Yields where the entries of a directory begin, as far as they are there."""
        first = directory + 2
        room = max(len(self.data) - first, 0) // _ENTRY_BYTES
        return iter(range(first, first + _ENTRY_BYTES * min(self.integer(directory, 2), room), _ENTRY_BYTES))


def holds(exif: bytes, tag: int) -> bool:
    """Whether the first directory of a TIFF structure has an entry with a tag."""
    tiff = _Tiff(exif)
    return any(tiff.integer(entry, 2) == tag for entry in tiff.entries(tiff.integer(4, 4)))


def of_resolution(x: int, y: int) -> bytes:
    """Returns a TIFF structure that says how many pixels there are to a meter, and nothing else."""
    sides = (_X_RESOLUTION, 5, 1, 50), (_Y_RESOLUTION, 5, 1, 58)  # rationals, behind the directory
    entries = b"".join(struct.pack("<HHII", *side) for side in sides) + struct.pack("<HHII", _RESOLUTION_UNIT, 3, 1, 3)
    return struct.pack("<4sIH", STARTS[0], _HEAD_BYTES, 3) + entries + struct.pack("<5I", 0, x, 100, y, 100)


def resolution(exif: bytes) -> tuple[int, int] | None:
    """Returns how many pixels there are to a meter, in whole numbers, as a TIFF structure says; None if it does not."""
    tiff = _Tiff(exif)
    values = {tiff.integer(entry, 2): entry + 8 for entry in tiff.entries(tiff.integer(4, 4))}
    unit = tiff.integer(values.get(_RESOLUTION_UNIT, len(exif)), 2)
    if unit not in _PER_M or not {_X_RESOLUTION, _Y_RESOLUTION} <= values.keys():
        return None
    places = [tiff.integer(values[tag], 4) for tag in (_X_RESOLUTION, _Y_RESOLUTION)]
    (x, x_divisor), (y, y_divisor) = ((tiff.integer(place, 4), tiff.integer(place + 4, 4)) for place in places)
    if not (x_divisor and y_divisor):
        return None
    found_x, found_y = round(x / x_divisor * _PER_M[unit]), round(y / y_divisor * _PER_M[unit])
    return (found_x, found_y) if min(found_x, found_y) > 0 and max(found_x, found_y) <= _MAX_PER_M else None


def set_upright(exif: bytes) -> tuple[int | None, bytes]:
    """Returns the orientation in a TIFF structure (None if it has none), and the structure with 1 in its place."""
    tiff = _Tiff(exif)
    for entry in tiff.entries(tiff.integer(4, 4)):
        kind = tiff.integer(entry + 2, 2)
        if tiff.integer(entry, 2) == _ORIENTATION and kind in _INTEGER_TYPES:
            size = _TYPE_BYTES[kind]
            orientation = tiff.integer(entry + 8, size)
            tiff.write(entry + 8, size, 1)
            return orientation if 1 <= orientation <= 8 else 1, bytes(tiff.data)
    return None, exif


def without_gps(exif: bytes) -> bytes:
    """Returns a TIFF structure without its GPS directory: the entry is gone, what it led to is zeros, all else is as it was."""
    tiff = _Tiff(exif)
    directories = [*tiff.directories(), *_exif_directories(tiff)]  # some writers put the place into that of Exif
    for directory in directories:
        for entry in reversed(list(tiff.entries(directory))):
            if tiff.integer(entry, 2) == _GPS:
                led_to = tiff.integer(entry + 8, 4)
                if led_to not in (0, *directories):  # what a damaged one leads to is of the picture
                    _blank_directory(tiff, led_to)
                _remove(tiff, directory, entry)
    return bytes(tiff.data)


def _exif_directories(tiff: _Tiff) -> list[int]:
    main = list(tiff.directories())
    found = [tiff.integer(entry + 8, 4) for one in main for entry in tiff.entries(one) if tiff.integer(entry, 2) == _EXIF]
    return [place for place in dict.fromkeys(found) if place >= _HEAD_BYTES and place not in main][:_MAX_DIRECTORIES]


def _blank_directory(tiff: _Tiff, directory: int) -> None:
    for entry in tiff.entries(directory):
        num_bytes = _TYPE_BYTES.get(tiff.integer(entry + 2, 2), 1) * tiff.integer(entry + 4, 4)
        if num_bytes > 4:  # they lie elsewhere
            tiff.blank(tiff.integer(entry + 8, 4), num_bytes)
    tiff.blank(directory, 2 + _ENTRY_BYTES * tiff.integer(directory, 2) + 4)


def _remove(tiff: _Tiff, directory: int, entry: int) -> None:
    """Moves what follows an entry in its directory, which ends with where the next one is, to the entry's place."""
    count = tiff.integer(directory, 2)
    end = min(directory + 2 + _ENTRY_BYTES * count + 4, len(tiff.data))
    tiff.data[entry : end - _ENTRY_BYTES] = tiff.data[entry + _ENTRY_BYTES : end]
    tiff.blank(end - _ENTRY_BYTES, _ENTRY_BYTES)
    tiff.write(directory, 2, max(count - 1, 0))


def set_xmp_upright(xmp: bytes) -> tuple[int | None, bytes]:
    """Returns the orientation in an XMP packet (None if it has none), and the packet with 1 in its place."""
    found = _XMP_ORIENTATION.search(xmp)
    return int(found[2]) if found else None, _XMP_ORIENTATION.sub(rb"\g<1>1", xmp)


def xmp_without_gps(xmp: bytes) -> bytes:
    """Returns an XMP packet without names that begin with GPS; nothing at all if it has some that cannot be taken out."""
    rest = _XMP_GPS.sub(b"", xmp)
    return b"" if _XMP_NAMES_GPS.search(rest) else rest
