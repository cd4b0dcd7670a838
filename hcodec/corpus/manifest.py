"""What has become of each picture of a corpus: a file of lines beside the pictures, from which a run goes on.

Room: corpus. The first line says how pictures are encoded, each other one what is known of a picture, all as JSON. It is
written wholly or not at all. Imports `folder`, `errors` and Python's own modules only.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from hcodec.corpus.folder import Folder, Found
from hcodec.errors import FormatError

NAME = "corpus.jsonl"
_VERSION = 1
_SHARE = 0.05  # of the time, at most, is for writing the manifest
_LEAST_S = 2.0  # between two times


@dataclass(frozen=True)
class Record:
    """What is known of a picture.

    name: its path in the source; target: that of its hcodec file; stamp: what the source said of its file when it was read;
    error: why it failed, empty if it did not; done: whether its file is there. The digests are SHA-256, in hexadecimal.
    """

    name: str
    target: str
    stamp: str = ""
    done: bool = False
    error: str = ""
    width: int = 0
    height: int = 0
    source_bytes: int = 0
    source_digest: str = ""
    file_bytes: int = 0
    file_digest: str = ""
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()

    def failed(self, error: str) -> Record:
        """Returns the same picture, with why it failed."""
        return replace(self, done=False, error=error)

    def holds(self, source: Found, output: Found | None) -> bool:
        """Whether it says the truth of files as they are listed now: the picture is done and neither has changed since."""
        return self.done and self.stamp == source.stamp and output is not None and output.num_bytes in (None, self.file_bytes)


def _record(fields: Any) -> Record:
    """Returns a record of a line. Raises ValueError, KeyError or TypeError if it is none."""
    record = Record(**fields | {"warnings": tuple(fields["warnings"])})
    kinds = {name: (int, float) if name == "seconds" else type(value) for name, value in asdict(Record("", "")).items()}
    if not all(isinstance(getattr(record, name), kind) for name, kind in kinds.items()):
        raise ValueError("a field of a record is of another type")
    return record


def _settings(head: Any) -> dict[str, Any]:
    """Returns the settings of the first line. Raises KeyError, TypeError or ValueError if it is none, FormatError (newer)."""
    if head["version"] != _VERSION:
        raise FormatError(f"{NAME} is of version {head['version']}; this hcodec knows version {_VERSION}")
    if not isinstance(head["settings"], dict):
        raise ValueError("the settings are none")
    return dict(head["settings"])


@dataclass
class Manifest:
    """All records of a corpus, by name; settings: how its pictures are encoded, as JSON has it."""

    settings: Mapping[str, Any]
    records: dict[str, Record] = field(default_factory=dict)
    _next_s: float = 0.0  # when it may be written again

    @classmethod
    def read(cls, folder: Folder) -> Self | None:
        """Returns the manifest in a folder, None if there is none. Raises FormatError if it is damaged, OSError."""
        try:
            head, *rest = map(json.loads, folder.read(NAME).decode().splitlines())
            return cls(_settings(head), {record.name: record for record in map(_record, rest)})
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, RecursionError, IsADirectoryError) as error:
            raise FormatError(f"{NAME} is damaged, or of something else; without it, --force encodes all again") from error

    def write(self, folder: Folder) -> None:
        """Writes it into a folder. Raises OSError."""
        begin = time.monotonic()
        head = {"version": _VERSION, "settings": self.settings}
        lines = [json.dumps(one, ensure_ascii=False) for one in (head, *map(asdict, self.records.values()))]
        text = "".join(f"{line}\n" for line in lines)
        folder.write(NAME, text.encode(errors="backslashreplace"))  # so JSON writes what is no text in names, too
        end = time.monotonic()
        self._next_s = end + max(_LEAST_S, (end - begin) / _SHARE)

    def write_at_times(self, folder: Folder) -> None:
        """Writes it unless that was done not long ago."""
        if time.monotonic() >= self._next_s:
            self.write(folder)
