"""Paths of the command line: which input goes to which output, and how bytes are read and written.

Both ends of the data's path. Writing is atomic: bytes go to a temporary file beside the target, which is renamed when
it is whole, so that neither an error nor Ctrl-C leaves half a file. An input may be an address ("https://..."), where a
command reads those. Stdlib, click and `stores` only.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

import click

from hcodec.container.source import read_source
from hcodec.stores import is_address

Warn = Callable[[str, str], None]  # is told of what, and what

STDIO = "-"
ENDING = ".hcodec"
_LOCAL = "file://"  # begins addresses of files on this machine


@dataclass(frozen=True)
class Format:
    """What is written: its name for people, and the suffixes that it has, in lower case."""

    name: str
    suffixes: tuple[str, ...]


OURS = Format("hcodec", (ENDING,))


@dataclass(frozen=True)
class Job:
    """One input and the output it becomes: paths, or "-" for standard input and output."""

    source: str
    target: str


def named(sources: Sequence[str], output: str | None, is_output: Callable[[str], bool]) -> tuple[Sequence[str], str | None]:
    """The inputs and the output: that of -o, or of two names the second where it is none to read.

    That is so of "-", of a folder (DIR/) that is not there yet, and where `is_output` says so.
    """
    if output is not None or len(sources) != 2:
        return sources, output
    first, last = sources
    new_folder = last.endswith(("/", os.sep)) and not os.path.exists(last)
    return ([first], last) if last == STDIO or new_folder or is_output(last) else (sources, None)


def has_suffix(path: str, suffixes: Collection[str]) -> bool:
    """Whether a path has one of the suffixes, given in lower case."""
    return Path(path).suffix.lower() in suffixes


def plan(
    sources: Sequence[str], output: str | None, warn: Warn, *, ending: str, recursive: bool, accepts: frozenset[str]
) -> list[Job]:  # fmt: skip
    """Every input with its output, in order.

    Outputs are named after the input, its suffix replaced by `ending`, and lie beside it or in the folder `output`.
    With `recursive`, folders stand for the files below them whose suffix is in `accepts`; the tree below each is kept,
    and `warn` is told what of it is left out: what cannot be read, and what is no file, such as a pipe.
    Raises click.UsageError where the outputs are not all different.
    """
    walked = recursive and any(os.path.isdir(source) for source in sources)
    into_folder = output is not None and output != STDIO and (walked or _means_folder(output))
    if (len(sources) > 1 or walked) and output is not None and not into_folder:
        raise click.UsageError("Several inputs need a folder as output: -o DIR/")
    if list(sources).count(STDIO) > 1:
        raise click.UsageError("Standard input can be read only once.")
    jobs = [
        Job(source, _target(source, inside, output, ending, into_folder))
        for source, inside in _expand(sources, warn if recursive else None, accepts)
    ]
    if not jobs:
        raise click.ClickException(f"nothing to read in {', '.join(sources)}")
    if any(job.target == STDIO for job in jobs) and sys.stdout.isatty():
        raise click.UsageError("Standard output is a terminal; name a file with -o.")
    return jobs


def _means_folder(path: str) -> bool:
    return path.endswith(("/", os.sep)) or os.path.isdir(path)


def _expand(sources: Sequence[str], warn: Warn | None, accepts: frozenset[str]) -> Iterator[tuple[str, Path]]:
    """Pairs of a file's path and its path inside the given folder (only its name if it was given itself).

    warn: who is told what is left out of folders; without it, they are taken for files.
    """
    for source in sources:
        if warn and os.path.isdir(source):
            yield from ((str(path), path.relative_to(source)) for path in _walk(source, warn, accepts))
        else:
            yield source, Path("stdin" if source == STDIO else _name(source))


def _name(source: str) -> str:
    """The name of the file that a path or an address leads to."""
    if not is_address(source):
        return os.path.basename(source)
    name = ""
    with suppress(ValueError):  # of a malformed address: reading it will say so
        name = os.path.basename(unquote(urlsplit(source).path))
    return name if name and "\0" not in name else "remote"  # no name on disk holds a NUL


def _walk(folder: str, warn: Warn, accepts: frozenset[str]) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder, onerror=partial(_warn_of_folder, warn)):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        wanted = [Path(parent, name) for name in sorted(names) if not name.startswith(".") and has_suffix(name, accepts)]
        for path in (*wanted, *(Path(parent, name) for name in folders)):
            if reason := _why_not(path):
                warn(str(path), f"skipped: {reason}")
            elif path.name not in folders:
                yield path


def _warn_of_folder(warn: Warn, error: OSError) -> None:
    warn(str(error.filename), f"skipped: {error.strerror}")


def _why_not(path: Path) -> str:
    """Why something in a folder is left out; empty if it is not."""
    if path.is_dir():
        return "a link to a folder" if path.is_symlink() else ""
    if path.is_file():
        return ""
    return "not a regular file" if path.exists() else "a link that leads nowhere"


def _target(source: str, inside: Path, output: str | None, ending: str, into_folder: bool) -> str:
    if output is None and source == STDIO:
        return STDIO
    if output is not None and not into_folder:
        return output
    beside = Path() if is_address(source) else Path(source).parent
    folder = beside if output is None else output / inside.parent
    return str(folder / f"{inside.stem}{ending}")


def read_bytes(source: str) -> bytes:
    """The whole of a file, or of standard input for "-". Raises click.ClickException if there is nothing in it."""
    data = sys.stdin.buffer.read() if source == STDIO else read_source(source)
    if not data:
        raise click.ClickException("is empty")
    return data


def real(path: str) -> str:
    """Returns the path of a file that is the same whatever path, link or address of this machine leads to it."""
    return os.path.realpath(path.removeprefix(_LOCAL))


def is_missing(source: str) -> bool:
    """Whether an input is a path at which there is nothing."""
    return source != STDIO and not is_address(source) and not os.path.exists(source)


def refuse_input(target: str, sources: Sequence[str]) -> None:
    """Raises click.ClickException if a file that is to be written is one of those that are read, --force or not."""
    if target != STDIO and real(target) in (real(source) for source in sources if source != STDIO):
        raise click.ClickException(f"{target} is an input itself; name another output")


def refuse(target: str, sources: Sequence[str], format: Format = OURS, *, force: bool) -> None:
    """Raises click.ClickException if writing a file would destroy an input, or something else and that is not wanted."""
    refuse_input(target, sources)
    refuse_foreign(target, format, force=force)
    refuse_existing(target, force=force)


def refuse_foreign(target: str, format: Format, *, force: bool) -> None:
    """Raises click.ClickException if data would get a name of another format, and that is not wanted.

    A name without a suffix, a device or a pipe will do.
    """
    if force or target == STDIO or has_suffix(target, ("", *format.suffixes)):
        return
    if os.path.isfile(target) or not os.path.exists(target):
        raise click.ClickException(f"{target} is no name for {format.name} data (--force writes it all the same)")


def refuse_existing(target: str, *, force: bool) -> None:
    """Raises click.ClickException if writing `target` would destroy a file and that is not wanted."""
    if not force and target != STDIO and os.path.isfile(target):
        raise click.ClickException(f"{target} exists already (--force overwrites it)")


def write_bytes(target: str, data: bytes, *, force: bool) -> None:
    """Writes `data` to a file, wholly or not at all, or to standard output for "-".

    Missing folders on the way are made. Raises click.ClickException if the file exists and `force` is not given, or if
    it cannot be written.
    """
    if target == STDIO:
        _write_stdout(data)
        return
    refuse_existing(target, force=force)
    try:
        _replace(Path(os.path.realpath(target)), data)
    except OSError as error:
        raise click.ClickException(f"cannot write {target}: {error.strerror}") from error


def _write_stdout(data: bytes) -> None:
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise click.ClickException(f"cannot write stdout: {error.strerror}") from error


def _replace(path: Path, data: bytes) -> None:
    if path.exists() and not path.is_file():
        path.write_bytes(data)  # a device or named pipe must be written to, not replaced; a folder raises OSError
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        temporary.write_bytes(data)
        if path.exists():
            shutil.copymode(path, temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
