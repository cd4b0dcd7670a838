"""`hcodec pack`: many pictures to one archive, without loss."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import click

from hcodec.cli._aside import aside
from hcodec.cli._batch import Console, refuse_missing, run, write_job
from hcodec.cli._files import ENDING, STDIO, Job, has_suffix, read_bytes, refuse
from hcodec.cli._options import FILE, FORCE, INPUTS_OUTPUT, JSON, KEEPING, QUIET, set_threads
from hcodec.cli._report import Report, count, describe, plain
from hcodec.cli.encode import PICTURES
from hcodec.errors import FormatError, HcodecError, PictureError

if TYPE_CHECKING:
    from hcodec.container.archive import Listing
    from hcodec.pixels.picture import Picture


@dataclass
class _Packing:
    """One archive in the making: what goes in, where messages go, and which inputs failed."""

    sources: Sequence[str]
    settings: dict[str, Any]  # of `packing.pack`
    keep_going: bool  # without the pictures that cannot be packed
    console: Console
    failed: list[str] = field(default_factory=list)


@click.command()
@INPUTS_OUTPUT
@click.option("-o", "--output", metavar="OUT", type=FILE, help="The archive, or - for stdout.  [default: DIR.hcodec]")
@FORCE
@QUIET
@JSON
@click.option("--restart", type=click.IntRange(min=1), default=64, show_default=True, metavar="N",
              help="Pictures between restart points at most: fewer give faster access, more a smaller file.")  # fmt: skip
@click.option("--keep-going", is_flag=True, help="Leave out pictures that cannot be packed; else nothing is written then.")
@KEEPING
@click.option("-j", "--threads", type=click.IntRange(min=1), metavar="N", help="Threads to compute with.")
def command(
    sources: tuple[str, ...], output: str | None, force: bool, quiet: bool, as_json: bool,
    keep_going: bool, threads: int | None, **settings: Any,
) -> None:  # fmt: skip
    """Pack folders and pictures into one archive, without loss.

    Pictures keep their names; those in folders keep their path inside the folder. Hidden files, symbolic links and
    files that are no pictures stay out. All pictures are read before any is packed: if some cannot be, because they are
    damaged, or because gray or RGB cannot hold them (CMYK, unless --convert is given), they are listed and nothing is written.
    Without -o, the last of several names is the archive if it ends in .hcodec.

    \b
      hcodec pack holiday                    # holiday.hcodec
      hcodec pack holiday -o a.hcodec
      hcodec pack *.png icons.hcodec
      hcodec list a.hcodec
      hcodec unpack a.hcodec -o holiday/
    """
    if output is None and len(sources) > 1 and has_suffix(sources[-1], (ENDING,)):
        sources, output = sources[:-1], sources[-1]
    if STDIO in sources:
        raise click.UsageError("Pictures are packed under their names, so standard input cannot be; name files or folders.")
    console = Console(quiet, as_json, json_on_stderr=output == STDIO)
    refuse_missing(sources, console)
    job = Job(sources[0] if len(sources) == 1 else f"{len(sources)} inputs", output or _default_output(sources))
    if job.target == STDIO and sys.stdout.isatty():
        raise click.UsageError("Standard output is a terminal; name a file with -o.")
    set_threads(threads)
    packing = _Packing(sources, settings, keep_going, console)

    def action(_source: str) -> Report:
        """Makes the archive."""
        files = list(_find(packing))
        refuse(job.target, [*sources, *(path for path, _ in files)], force=force)
        return write_job(job, *aside(_pack, packing, files), force=force)

    run([job.source], action, console)
    if packing.failed:
        click.get_current_context().exit(1)


def _default_output(sources: Sequence[str]) -> str:
    folder = os.path.normpath(sources[0])
    if len(sources) > 1 or not os.path.isdir(folder) or folder.strip("./") == "":
        raise click.UsageError("Name the archive: -o OUT.")
    return folder + ENDING


def _pack(wanted: _Packing, files: Sequence[tuple[str, str]]) -> tuple[bytes, Report]:
    from hcodec import packing
    from hcodec.container import archive

    start, console = perf_counter(), wanted.console
    if not wanted.keep_going:
        _refuse_faulty(files, wanted)
    with console.progress(len(files)):
        data = packing.pack(_read(files, wanted), **wanted.settings)
    console.bar = None
    input_bytes = sum(os.path.getsize(path) for path, _ in files if path not in wanted.failed)
    return data, _report(input_bytes, archive.listing(data), wanted.failed, perf_counter() - start)


def _refuse_faulty(files: Sequence[tuple[str, str]], wanted: _Packing) -> None:
    """Raises click.ClickException if some pictures cannot be packed, before any is coded; names them all."""
    faults = [(path, name, why) for path, name, why in _looked_at(files, wanted, twice=True) if isinstance(why, str)]
    if len(faults) == 1:
        name, why = faults[0][1:]
        raise click.ClickException(
            why if _is_alone(files, wanted) else f"{plain(name)}: {why}; nothing was written (see --keep-going)"
        )
    for path, _, why in faults:
        wanted.console.fail(path, why)
    if faults:
        these = f"{len(faults)} of {len(files)} pictures"
        raise click.ClickException(f"{these} cannot be packed; nothing was written (see --keep-going)")


def _is_alone(files: Sequence[tuple[str, str]], wanted: _Packing) -> bool:
    """Whether one picture is packed, and was named itself."""
    return len(files) == 1 and files[0][0] in wanted.sources


def _find(wanted: _Packing) -> Iterator[tuple[str, str]]:
    """The path of every picture and its name in the archive; says what is left out."""
    for source in wanted.sources:
        if not os.path.isdir(source):
            yield source, os.path.basename(source)
            continue
        for path in _walk(source, wanted.console):
            yield str(path), path.relative_to(source).as_posix()


def _walk(folder: str, console: Console) -> Iterator[Path]:
    def unreadable(error: OSError) -> None:
        """Warns of a folder that cannot be read."""
        console.warn(str(error.filename), f"skipped: {error.strerror}")

    for parent, folders, names in os.walk(folder, onerror=unreadable):
        folders.sort()
        here = [Path(parent, name) for name in (*sorted(names), *folders) if not name.startswith(".")]
        reasons = {path: _why_not(path) for path in here}
        for path, reason in reasons.items():
            if reason:
                console.warn(str(path), f"skipped: {reason}")
        folders[:] = [path.name for path in here if path.name in folders and not reasons[path]]
        yield from (path for path in here if path.name not in folders and not reasons[path])


def _why_not(path: Path) -> str:
    """Why a file or folder stays out of the archive; empty if it does not."""
    if path.is_symlink():
        return "a symbolic link"
    if path.is_dir():
        return ""
    if path.suffix.lower() not in PICTURES:
        return "not a picture"
    return "" if path.is_file() else "not a regular file"


def _read(files: Sequence[tuple[str, str]], wanted: _Packing) -> Iterator[tuple[str, Picture]]:
    """The pictures with their names, without those that cannot be packed, if that is wanted."""
    for path, name, outcome in _looked_at(files, wanted):
        if not isinstance(outcome, str):
            yield name, outcome
        elif wanted.keep_going and not _is_alone(files, wanted):
            wanted.console.fail(path, outcome)
            wanted.failed.append(path)
        else:  # it can be read only once, or has just become so
            raise click.ClickException(outcome if _is_alone(files, wanted) else f"{plain(path)}: {outcome}")
        wanted.console.advance()


def _looked_at(
    files: Sequence[tuple[str, str]], wanted: _Packing, twice: bool = False
) -> Iterator[tuple[str, str, Picture | str]]:  # fmt: skip
    """The path of every file, its name, and its picture, or why it cannot be packed.

    twice: they are read once more later; of a pipe, which can only be read once, only the name is looked at.
    """
    taken: dict[str, str] = {}
    for path, name in files:
        try:
            _check_name(name, taken)
            found = None if twice and os.path.exists(path) and not os.path.isfile(path) else _read_one(path, wanted)
        except (HcodecError, click.ClickException, OSError, MemoryError) as error:
            yield path, name, describe(error, path)
        else:
            taken[name] = path
            if found is not None:
                yield path, name, found


def _check_name(name: str, taken: Mapping[str, str]) -> None:
    from hcodec.container import archive

    if name in taken:
        raise FormatError(f"its name {name!r} is taken by {taken[name]}")
    archive.check_name(name)


def _read_one(path: str, wanted: _Packing) -> Picture:
    """Returns a picture. Raises PictureError if it cannot be coded without loss, and that is not wanted."""
    from hcodec.pixels import faithful, picture

    found = picture.read(read_bytes(path))
    if not wanted.settings["convert"] and (why := faithful.refusal(found)):
        raise PictureError(why)
    return found


def _report(input_bytes: int, listing: Listing, failed: Sequence[str], seconds: float) -> Report:
    num_samples = sum(one.width * one.height * (1 if one.gray else 3) for one in listing.pictures)
    bpsp = 8 * listing.file_bytes / num_samples
    num_pictures, num_segments = len(listing.pictures), len(listing.segments)
    text = (
        f"{count(num_pictures, 'picture')} in {count(num_segments, 'segment')}  {input_bytes:,} -> {listing.file_bytes:,} bytes  "
        f"{bpsp:.3f} bits a sub-pixel  {seconds:.2f} s"
    )
    fields = {"pictures": num_pictures, "segments": num_segments, "input_bytes": input_bytes, "failed": list(failed)}
    return Report(text, {**fields, "file_bytes": listing.file_bytes, "bpsp": bpsp, "seconds": seconds})
