"""Folders at any address that fsspec opens, of which all files are listed, read and written.

Room: corpus. Imports `stores`, `errors` and Python's own modules only.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from hcodec import stores

Warn = Callable[[str, str], None]  # is told of which file, and what
_STAMPS = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "created")  # what file systems tell of changes
_PART = re.compile(r"\.[0-9a-f]{16}\.part")  # names of files that are being written


def unheard(name: str, message: str) -> None:
    """Is told for nothing."""


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

    def files(self, endings: Collection[str], warn: Warn = unheard) -> dict[str, Found]:
        """Returns the files below the folder with one of these endings, by their path inside it, in order.

        Hidden ones stay out, and whatever a listing says to be in "..". Links, pipes and devices do, too, but of these `warn`
        is told. Raises OSError.
        """
        found: dict[str, Found] = {}
        for name, facts in self._listed():
            has_ending = PurePosixPath(name).suffix.lower() in endings
            if facts.get("type") == "other":
                if has_ending or self._is_folder(name):
                    warn(name, f"skipped: {self._why_not(name, facts)}")
            elif has_ending:
                found[name] = Found(facts.get("size"), str(next((facts[key] for key in _STAMPS if facts.get(key)), "")))
        return found

    def _listed(self) -> list[tuple[str, dict[str, Any]]]:
        """Returns the paths inside the folder of all that lies below it and is not hidden, and what is known of each."""
        system, root = self._place
        with stores.failing(self.address):
            system.invalidate_cache()
            listed = system.find(root, detail=True)
        names = {path.removeprefix(root).lstrip("/"): facts for path, facts in listed.items()}
        return sorted(one for one in names.items() if not any(part.startswith(".") for part in one[0].split("/")))

    def _is_folder(self, name: str) -> bool:
        system, root = self._place
        return bool(system.isdir(f"{root}/{name}"))

    def _why_not(self, name: str, facts: dict[str, Any]) -> str:
        """Why something that is neither a file nor a folder is left out: of a link, the file's time would not be known."""
        system, root = self._place
        if not facts.get("islink"):
            return "not a regular file"
        return "a symbolic link" if system.exists(f"{root}/{name}") else "a link that leads nowhere"

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
