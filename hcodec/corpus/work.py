"""What a worker does with one picture.

Room: corpus. Runs in other processes and on other machines; whatever goes wrong there comes back as a record.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from time import perf_counter
from typing import Any

from hcodec import __version__, codec, container
from hcodec.corpus.folder import Folder
from hcodec.corpus.manifest import Record
from hcodec.errors import HcodecError, HcodecWarning
from hcodec.models.runtime import threads
from hcodec.pixels import picture


def encode(record: Record, source: str, dest: str, settings: Mapping[str, Any], num_threads: int, version: str) -> Record:
    """Encodes a picture, writes its file, and returns what came of it.

    source, dest: the addresses of the folders; version: that of the hcodec that asks.
    """
    try:
        if version != __version__:
            raise HcodecError(f"the worker has hcodec {__version__}, and {version} is wanted")
        _limit(num_threads)
        return _encoded(record, Folder(source), Folder(dest), settings)
    except Exception as error:  # of a picture; the others go on
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
        return record.failed(reason.strip().partition("\n")[0])


@cache
def _limit(num_threads: int) -> None:
    """Limits the threads of this process, once."""
    threads.set_threads(num_threads)


def _encoded(record: Record, source: Folder, dest: Folder, settings: Mapping[str, Any]) -> Record:
    begin = perf_counter()
    data = source.read(record.name)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", HcodecWarning)
        one = picture.read(data)
        encoded = codec.encode(one, **settings)
    info = container.info(encoded)
    dest.write(record.target, encoded)
    lost = [str(entry.message) for entry in caught if issubclass(entry.category, HcodecWarning)] or one.notes
    return replace(
        record,
        done=True,
        error="",
        width=info.width,
        height=info.height,
        source_bytes=len(data),
        source_digest=hashlib.sha256(data).hexdigest(),
        file_bytes=len(encoded),
        file_digest=hashlib.sha256(encoded).hexdigest(),
        seconds=perf_counter() - begin,
        warnings=tuple(dict.fromkeys(lost)),
    )
