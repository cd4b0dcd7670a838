"""Where the bytes of a file come from when only some are read: a file on disk, an open one, or an address.

Room: parts, beside the data's path. An address is whatever fsspec opens ("https://...", "s3://..."); fsspec comes with
the extra "remote" and is imported when an address is opened, not before. Imports `errors` and Python's own modules
beside it.
"""

from __future__ import annotations

import errno
import io
import os
import re
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import IO, Any, Protocol

from hcodec.errors import HcodecError, HcodecWarning

Span = tuple[int, int]  # start and end of bytes in a file, the end excluded
_PAUSES_S = (0.0, 0.5, 2.0)  # before each try at reading from an address
TIMEOUT_S = 30.0  # of an HTTP server's silence, unless said otherwise
_AT_ONCE = 8  # spans that are asked for at a time
_MOST_BYTES = 1 << 29  # of a file that a server gives out as a whole only
_PARTIAL = 206  # HTTP's answer that has a range of bytes
_RANGE = re.compile(r"bytes=(\d+)-(\d+)")
_ERRNO = {401: errno.EACCES, 403: errno.EACCES, 404: errno.ENOENT, 410: errno.ENOENT}  # of HTTP's answers


class Store(Protocol):
    """Bytes that can be read in spans; `size` of all of them, `num_bytes_read` so far."""

    size: int
    num_bytes_read: int

    def read(self, spans: Sequence[Span]) -> list[bytes]:
        """Returns the bytes of each span, all of which lie within the size. Raises OSError."""

    def close(self) -> None:
        """Gives back what the store holds."""


def is_address(source: object) -> bool:
    """Whether something names a file for fsspec, and not one on disk."""
    return isinstance(source, str) and "://" in source


def opened(
    source: bytes | str | os.PathLike[str] | IO[bytes], options: dict[str, Any] | None = None, timeout_s: float = TIMEOUT_S
) -> Store:
    """Returns the store of bytes, a path, an address or an open file that can seek.

    options: for the file system of an address; timeout_s: how long an HTTP server may be silent. Raises OSError, HcodecError
    (fsspec or what it needs for this address is not installed, options for something else).
    """
    if isinstance(source, str) and is_address(source):
        return _Address(source, options or {}, timeout_s)
    if options:
        raise HcodecError(f"{min(options)} is an option of addresses such as https://..., not of files")
    if isinstance(source, str | os.PathLike):
        return _File(open(source, "rb"), own=True)
    if isinstance(source, bytes | bytearray | memoryview):
        return _File(io.BytesIO(bytes(source)), own=True)
    if not hasattr(source, "seek"):
        raise HcodecError(f"the source is of type {type(source).__name__}; it must be bytes, a path, an address or an open file")
    return _File(source, own=False)


class _File:
    """An open file; closed with the store only if it is its own."""

    def __init__(self, file: IO[bytes], own: bool) -> None:
        self._file, self._own = file, own
        self.num_bytes_read = 0
        self._check_open()
        file.seek(0, os.SEEK_END)
        self.size = file.tell()

    def read(self, spans: Sequence[Span]) -> list[bytes]:
        """As in `Store`."""
        self._check_open()
        return [self._read(start, end) for start, end in spans]

    def _check_open(self) -> None:
        if getattr(self._file, "closed", False):
            raise HcodecError("the source cannot be read: it is closed")

    def _read(self, start: int, end: int) -> bytes:
        self._file.seek(start)
        found = b""
        while len(found) < end - start:  # files without a buffer may give fewer bytes than they have
            data = self._file.read(end - start - len(found))
            if not isinstance(data, bytes):
                raise HcodecError(f'the source gives {type(data).__name__} and not bytes; a file must be opened with "rb"')
            if not data:
                break
            found += data
        self.num_bytes_read += len(found)
        return found

    def close(self) -> None:
        """As in `Store`."""
        if self._own:
            self._file.close()


class _Address:
    """A file that fsspec reads. A server that sends all of it where a part was asked for is borne with, and warned of."""

    def __init__(self, address: str, options: dict[str, Any], timeout_s: float) -> None:
        self.address = address
        self.num_bytes_read = 0
        self._whole: bytes | None = None
        self._system, self._path = file_system(address, options, timeout_s)
        with failing(address):
            size = self._system.info(self._path)["size"]
            if size is None:
                self._keep_whole(self._system.cat_file(self._path))
        self.size = int(size) if self._whole is None else len(self._whole)

    def read(self, spans: Sequence[Span]) -> list[bytes]:
        """As in `Store`; several spans at a time."""
        found: dict[Span, bytes] = {}
        for first in range(0, len(spans), _AT_ONCE):
            if self._whole is None:
                self._read_together(spans[first : first + _AT_ONCE], found)
        return [found[span] if self._whole is None else self._whole[slice(*span)] for span in spans]

    def _read_together(self, spans: Sequence[Span], found: dict[Span, bytes]) -> None:
        """Puts the bytes of spans into `found`, after some tries, unless all of the file comes at once."""
        for tries, pause_s in enumerate(_PAUSES_S, start=1):
            time.sleep(pause_s)
            fault = self._try(spans, found)
            if fault is None:
                return
            if _is_final(fault) or tries == len(_PAUSES_S):
                raise _failure(fault, self.address) from fault

    def _try(self, spans: Sequence[Span], found: dict[Span, bytes]) -> Exception | None:
        """Asks for the spans that are missing. Returns why one is still missing."""
        missing = [span for span in spans if span not in found]
        answers = self._system.cat_ranges([self._path] * len(missing), *map(list, zip(*missing, strict=True)))
        fault = None
        for (start, end), answer in zip(missing, answers, strict=True):
            if isinstance(answer, Exception):
                fault = answer
                continue
            if len(answer) == self.size > end - start:
                self._keep_whole(answer)
                return None
            self.num_bytes_read += len(answer)
            if len(answer) == end - start:
                found[start, end] = answer
            else:
                fault = OSError(f"{len(answer):,} bytes came where {end - start:,} were asked for")
        return fault

    def _keep_whole(self, data: bytes) -> None:
        self._whole = data
        self.num_bytes_read += len(data)
        warnings.warn(f"the server sends no parts of files: all {len(data):,} bytes were read", HcodecWarning, stacklevel=2)

    def close(self) -> None:
        """As in `Store`. fsspec holds connections for the next file of the same server."""
        self._whole = None


def file_system(address: str, options: dict[str, Any] | None = None, timeout_s: float = TIMEOUT_S) -> tuple[Any, str]:
    """Returns fsspec's file system of an address or a path, and the path in it.

    options, timeout_s: as in `opened`. Raises HcodecError as it does.
    """
    options = options or {}
    try:
        import fsspec

        if address.startswith(("http://", "https://")):
            options = _http_options(timeout_s) | options
        system, path = fsspec.url_to_fs(address, **options)
    except ModuleNotFoundError as error:
        raise HcodecError('addresses need the extra "remote": pip install "hcodec[remote]"') from error
    except (ImportError, ValueError, TypeError) as error:  # a kind that needs more, or is unknown; a malformed one; bad options
        raise HcodecError(f"this address cannot be opened: {error}") from error
    return system, path


def _http_options(timeout_s: float) -> dict[str, Any]:
    """Returns what makes HTTP fit: a limit to silence, not to slowness, and the file's own bytes, for offsets are theirs."""
    from aiohttp import ClientTimeout

    timeout = ClientTimeout(total=None, sock_connect=timeout_s, sock_read=timeout_s)
    client = {"timeout": timeout, "response_class": _bounded_answer()}
    return {"client_kwargs": client, "headers": {"Accept-Encoding": "identity"}}


@cache
def _bounded_answer() -> Any:
    """Returns a class of HTTP answers that are not read on and on where a server sends more than was asked for."""
    from aiohttp import ClientResponse

    class Bounded(ClientResponse):
        """An answer of at most as many bytes as its request has in its range."""

        async def read(self) -> bytes:
            """Returns the bytes. Raises OSError if there are more."""
            wanted = _RANGE.fullmatch(self.request_info.headers.get("Range", "")) if self.status == _PARTIAL else None
            most = int(wanted[2]) - int(wanted[1]) + 1 if wanted else _MOST_BYTES
            found = bytearray()
            while part := await self.content.readany():
                found += part
                if len(found) > most:
                    self.close()
                    raise OSError("the server sends more than was asked for")
            self._body = bytes(found)  # where the answer's own methods, of its text say, look for it
            return self._body

    return Bounded


@contextmanager
def failing(address: str) -> Iterator[None]:
    """Turns whatever fsspec's file systems raise into an OSError of the address."""
    try:
        yield
    except Exception as error:
        raise _failure(error, address) from error


def _cause(error: Exception) -> BaseException:
    """Returns what went wrong: fsspec says of everything that happens to HTTP at first that the file was not found."""
    return error.__cause__ or error


def _is_final(error: Exception) -> bool:
    """Whether another try is of no use."""
    cause = _cause(error)
    return 400 <= getattr(cause, "status", 0) < 500 or isinstance(cause, TimeoutError | FileNotFoundError)


def _failure(error: Exception, address: str) -> OSError:
    """Returns what to raise: the error of the file system that comes nearest, in a line that names no library."""
    cause = _cause(error)
    status = getattr(cause, "status", None)
    if status in _ERRNO:
        return OSError(_ERRNO[status], os.strerror(_ERRNO[status]), address)
    if status is not None:
        return OSError(errno.EIO, f"the server answered with status {status}", address)
    if isinstance(cause, TimeoutError):
        return OSError(errno.ETIMEDOUT, "the server is silent", address)
    number: int = errno.ENOENT if isinstance(cause, FileNotFoundError) else getattr(cause, "errno", None) or 0
    if number in errno.errorcode:
        return OSError(number, os.strerror(number), address)
    reason = str(cause).partition("\n")[0] or type(cause).__name__
    return OSError(errno.EIO, f"cannot be read: {reason}", address)
