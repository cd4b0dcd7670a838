"""Where bytes come from that are to be read as a file: bytes, a path or an open file.

Room: container, below everything that reads (decode step 1). Imports `errors` and Python's own modules only.
"""

from __future__ import annotations

import os
from typing import BinaryIO

from hcodec.errors import HcodecError

Source = bytes | bytearray | memoryview | str | os.PathLike[str] | BinaryIO


def read_source(source: Source) -> bytes:
    """Returns all bytes of a source, be it bytes, a path or a file open for reading them.

    Raises HcodecError if it is none of these, OSError if it cannot be read.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    if isinstance(source, str | os.PathLike):
        with open_path(source) as file:
            return file.read()
    read = getattr(source, "read", None)
    if not callable(read):
        raise HcodecError(f"the source is of type {type(source).__name__}; it must be bytes, a path or an open file")
    try:
        data = read()
    except ValueError as error:  # it is closed, or open for writing only
        raise HcodecError(f"the source cannot be read: {error}") from None
    if not isinstance(data, bytes | bytearray | memoryview):
        raise HcodecError(f'the source gives {type(data).__name__} and not bytes; a file must be opened with "rb"')
    return bytes(data)


def open_path(path: str | os.PathLike[str]) -> BinaryIO:
    """Opens a file to read its bytes. Raises HcodecError if that is no path, OSError if it cannot be read."""
    try:
        return open(path, "rb")
    except FileNotFoundError:
        if "://" in str(path):
            raise HcodecError("the source is an address; `hcodec info`, `hcodec decode` and hcodec.open() read those") from None
        raise
    except ValueError as error:  # a null byte in it
        raise HcodecError(f"the source {os.fspath(path)!r} is no path: {error}") from None
