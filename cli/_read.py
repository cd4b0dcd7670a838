"""Inputs of which a command reads what it wants, where they lie at an address, or else all. Imports no numpy for itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from hcodec.cli._files import read_bytes
from hcodec.stores import is_address

if TYPE_CHECKING:
    from hcodec.container import Header, Reader
    from hcodec.container.reader import Wants


Parts: TypeAlias = "tuple[Reader, dict[str, int]]"


def read_parts(source: str, wants: Callable[[Header], Wants]) -> Parts:
    """A reader of a file, and for a report, if it lies at an address, how many bytes of it were read.

    wants: from a header, which pieces to read there.
    """
    from hcodec import container, stores
    from hcodec.parts import PartialFile

    if is_address(source):
        with PartialFile(stores.opened(source)) as file:
            return file.reader(wants(file.header)), {"read_bytes": file.num_bytes_read}
    data = read_bytes(source)
    return container.read_all(data)[0], {}


def say_read(read: dict[str, int]) -> str:
    """How many bytes were read, as an addition to a report; empty if it was all of the file."""
    return f"  {read['read_bytes']:,} bytes read" if read else ""
