"""`hcodec unpack`: the pictures of an archive, all or some."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from time import perf_counter
from typing import TYPE_CHECKING, BinaryIO

import click

from hcodec.cli._aside import aside
from hcodec.cli._batch import Console, run
from hcodec.cli._files import STDIO, read_bytes, real, refuse_existing, refuse_input, write_bytes
from hcodec.cli._image_files import file_of
from hcodec.cli._options import FILE, FORCE, JSON, QUIET, set_threads
from hcodec.cli._report import Report, shown
from hcodec.container.source import open_path

if TYPE_CHECKING:
    from hcodec.container.archive import Entry
    from hcodec.pixels.picture import Picture

_ALPHA, _GRAY, _BLOBS, _RESOLUTION, _DEEP = "alpha", "gray", "metadata", "resolution", "16 bits"
_HOLDS = {  # suffixes of formats without loss, and what they hold beside RGB; all else comes out as PNG
    ".bmp": {_GRAY, _RESOLUTION},
    ".dib": {_GRAY, _RESOLUTION},
    ".pgm": {_GRAY},
    ".png": {_ALPHA, _GRAY, _BLOBS, _RESOLUTION, _DEEP},
    ".pnm": {_GRAY},
    ".ppm": {_GRAY},
    ".tga": {_ALPHA, _GRAY},
    ".tif": {_ALPHA, _GRAY, _BLOBS, _RESOLUTION, _DEEP},
    ".tiff": {_ALPHA, _GRAY, _BLOBS, _RESOLUTION, _DEEP},
    ".webp": {_ALPHA, _BLOBS, _RESOLUTION},
}
_BESIDE = ".png"


@click.command()
@click.argument("archive", metavar="IN", type=FILE)
@click.argument("folder", metavar="[DIR]", required=False, type=FILE)
@click.option(
    "-o", "--output", metavar="DIR", type=FILE, help="The folder for the pictures.  [default: that of the archive's name]"
)
@click.option("--only", multiple=True, metavar="NAME", help="Take out this picture, and decode no more than needed.")
@FORCE
@QUIET
@JSON
@click.option("--strict", is_flag=True, help="Fail at the first damage instead of taking out what is good.")
@click.option("-j", "--threads", type=click.IntRange(min=1), metavar="N", help="Threads to compute with.")
def command(
    archive: str, folder: str | None, output: str | None, only: tuple[str, ...], force: bool, quiet: bool, as_json: bool,
    strict: bool, threads: int | None,
) -> None:  # fmt: skip
    """Unpack the pictures of an archive, all or some.

    a.hcodec is unpacked into the folder a beside it, or into the one that is named. A picture gets its own name if that
    of a format without loss, else .png is added: photo.jpg comes out as photo.jpg.png. Pictures in damaged segments
    are left out, with a warning and the exit code 1.

    \b
      hcodec unpack a.hcodec holiday/
      hcodec unpack a.hcodec --only day1/boat.png
    """
    if folder is not None and output is not None:
        raise click.UsageError("Two folders are named.")
    into = folder or output or _default_output(archive)
    set_threads(threads)
    console, faulty = Console(quiet, as_json), set[str]()

    def action(source: str) -> Report:
        """Unpacks one archive."""
        start = perf_counter()
        with _open(source) as file:
            targets = _targets(file, into, only)
            _refuse(targets.values(), into, source, force)
            done = _write_all(file, targets, console, force=force, strict=strict, some=bool(only))
        faulty.update(name for name in targets if done.get(name) != ())
        lost = [name for name in targets if name not in done]
        return _report(source, into, targets, lost, perf_counter() - start)

    run([archive], action, console)
    if faulty:
        click.get_current_context().exit(1)


def _default_output(archive: str) -> str:
    folder, suffix = os.path.splitext(archive)
    if archive == STDIO or not suffix:
        raise click.UsageError("Name the folder for the pictures: -o DIR.")
    return folder


@contextmanager
def _open(source: str) -> Iterator[BinaryIO]:
    if source == STDIO:
        yield BytesIO(read_bytes(source))
    else:
        with open_path(source) as file:
            yield file


def _targets(file: BinaryIO, folder: str, only: Sequence[str]) -> dict[str, str]:
    """Where each picture goes, by name."""
    from hcodec.container import archive, directory

    targets: dict[str, str] = {}
    found = archive.listing(file)
    for entry in found.pictures:
        if not only or entry.name in only:
            is_deep = found.segments[entry.segment].kind == directory.DEEP
            targets[entry.name] = os.path.join(folder, _file_name(entry, is_deep))
    if missing := [name for name in only if name not in targets]:
        raise click.ClickException(f"there is no picture {missing[0]!r} in the archive")
    return targets


def _refuse(targets: Collection[str], folder: str, source: str, force: bool) -> None:
    """Raises click.ClickException, before anything is written, if that would destroy something or lie elsewhere."""
    if len({real(target) for target in targets}) < len(targets):
        raise click.ClickException("two of its pictures would come out under one name; take them out one by one with --only")
    root = real(folder)
    for target in targets:
        if os.path.commonpath((root, real(target))) != root:
            raise click.ClickException(f"{target} leads out of {folder} through a symbolic link")
        refuse_input(target, [source])
        refuse_existing(target, force=force)


def _file_name(entry: Entry, is_deep: bool) -> str:
    """The name of a picture, with .png added where its own format would lose something."""
    from hcodec.pixels.exif import RESOLUTION_BYTES

    icc, exif, xmp, alpha = entry.attached_bytes
    is_resolution = exif == RESOLUTION_BYTES
    found = {
        _ALPHA: alpha, _GRAY: entry.gray, _BLOBS: icc or xmp or (exif and not is_resolution), _RESOLUTION: is_resolution,
        _DEEP: is_deep,
    }  # fmt: skip
    needed = {kind for kind, there in found.items() if there}
    held = _HOLDS.get(os.path.splitext(entry.name)[1].lower())
    return entry.name if held is not None and needed <= held else entry.name + _BESIDE


def _write_all(
    file: BinaryIO, targets: Mapping[str, str], console: Console, *, force: bool, strict: bool, some: bool
) -> dict[str, tuple[str, ...]]:
    """Writes what is good; the names of the pictures that came out, with notes on what is missing of them."""
    from hcodec import packing

    done = {}
    with console.progress(len(targets)):
        found = packing.unpack(file, only=targets if some else None, strict=strict)
        while one := aside(next, found, None):
            name, image = one
            write_bytes(targets[name], aside(_packed, image, targets[name]), force=force)
            done[name] = image.notes
            console.advance()
    console.bar = None
    return done


def _packed(image: Picture, target: str) -> bytes:
    from PIL import Image

    return file_of(image, Image.registered_extensions()[os.path.splitext(target)[1].lower()])


def _report(source: str, folder: str, targets: Mapping[str, str], lost: Sequence[str], seconds: float) -> Report:
    count = f"{len(targets) - len(lost)} of {len(targets)}" if lost else f"{len(targets)}"
    text = f"{shown(source)} -> {folder}  {count} picture{'' if count == '1' else 's'}  {seconds:.2f} s"
    outputs = [{"name": name, "output": target} for name, target in targets.items() if name not in lost]
    fields = {"input": source, "output": folder, "pictures": outputs, "lost": list(lost), "seconds": seconds}
    return Report(text, fields)
