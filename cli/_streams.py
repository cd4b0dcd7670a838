"""Standard input, output and error as a program may find them: closed, full, or read by nobody any more.

The frame around every command. What cannot be read or written costs one line on stderr and the exit code 1, and never a
traceback; nothing is said when the reader of a pipe has left, as is the custom. Stdlib and click only.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import click

_CLOSED = (  # name, mode, and how the null device is opened so that using it fails as it does with what is closed
    ("stdin", "r", os.O_WRONLY),
    ("stdout", "w", os.O_RDONLY),
    ("stderr", "w", os.O_WRONLY),  # but this one is written to for nothing: there is nobody to tell
)


@contextmanager
def guarded() -> Iterator[None]:
    """What the whole program runs within."""
    _open_closed()
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        _end(error)
    except SystemExit as end:
        try:
            sys.stdout.flush()
        except OSError as error:
            _end(None if end.code else error)
        raise


def _open_closed() -> None:
    """Opens what is closed of the three, so that none of our files gets its number and libraries' messages."""
    for name, mode, way in _CLOSED:
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, way), mode, encoding="utf-8"))


def _end(error: OSError | None) -> None:
    """Ends the program with 1 and a line on what went wrong, with stdout if the error names no file; None: that was said."""
    if error is not None and error.errno != errno.EPIPE:
        with suppress(OSError):  # stderr is full, too
            click.echo(f"Error: {error.filename or 'stdout'}: {error.strerror or error}", err=True)
    for stream in (sys.stdout, sys.stderr):  # Python flushes them once more at its end, and would complain
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(1)
