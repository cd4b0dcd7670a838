"""Folders at any address that fsspec opens, of which all files are listed, read and written.

Room: corpus. Imports `stores`, `errors` and Python's own modules only.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from hcodec import stores

_STAMPS = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "created")  # what file systems tell of changes
_PART = re.compile(r"\.[0-9a-f]{16}\.part")  # names of files that are being written


@dataclass(frozen=True)
class Found:
    """A file in a listing: its size, None where that is not known, and a text that changes when the file does."""

    num_bytes: int | None
    stamp: str


@dataclass(frozen=True)
class Folder:
    """A folder by its address. It can be sent to other processes."""

    address: str

    @classmethod
    def at(cls, address: str) -> Folder:
        """Returns the folder at an address or a path; a path is made a full one, which means the same to other processes."""
        if stores.is_address(address):
            return cls(address.rstrip("/"))
        system, path = stores.file_system(address)
        return cls(str(system.unstrip_protocol(path)))

    @cached_property
    def _place(self) -> tuple[Any, str]:
        system, path = stores.file_system(self.address)
        return system, path.rstrip("/")

    def check(self) -> None:
        """Raises OSError if it is not there, or is no folder."""
        system, root = self._place
        with stores.failing(self.address):
            if not system.isdir(root):
                number = errno.ENOTDIR if system.exists(root) else errno.ENOENT
                raise OSError(number, os.strerror(number))

    def files(self, endings: Collection[str]) -> dict[str, Found]:
        """Returns the files below the folder with one of these endings, by their path inside it, in order.

        Hidden ones stay out, pipes and devices, and whatever a listing says to be in "..". Raises OSError.
        """
        system, root = self._place
        with stores.failing(self.address):
            system.invalidate_cache()
            listed = system.find(root, detail=True)
        names = {path.removeprefix(root).lstrip("/"): facts for path, facts in listed.items() if facts.get("type") != "other"}
        return {
            name: Found(facts.get("size"), str(next((facts[key] for key in _STAMPS if facts.get(key)), "")))
            for name, facts in sorted(names.items())
            if PurePosixPath(name).suffix.lower() in endings and not any(part.startswith(".") for part in name.split("/"))
        }

    def sweep(self) -> None:
        """Removes what processes that were killed have left of files that they wrote. Nobody else may be writing."""
        system, root = self._place
        if _is_local(system):
            for path in Path(root).rglob(".*.part"):
                if _PART.fullmatch(path.name):
                    path.unlink(missing_ok=True)

    def read(self, name: str) -> bytes:
        """Returns the bytes of a file. Raises OSError."""
        system, root = self._place
        with stores.failing(name):
            return bytes(system.cat_file(f"{root}/{name}"))

    def write(self, name: str, data: bytes) -> None:
        """Writes a file; on disk wholly or not at all, elsewhere as the file system does. Raises OSError."""
        system, root = self._place
        with stores.failing(name):
            if _is_local(system):
                _replace(Path(root, name), data)
            else:
                system.pipe_file(f"{root}/{name}", data)


def _is_local(system: Any) -> bool:
    """Whether a file system of fsspec is that of this machine."""
    return bool(getattr(system, "local_file", False))


def _replace(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        part.write_bytes(data)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
