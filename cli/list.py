"""`hcodec list`: what archives hold, without decoding it. Needs no torch, no numpy, no Pillow."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING

import click

from hcodec.cli._batch import Console, run
from hcodec.cli._files import STDIO, read_bytes
from hcodec.cli._options import INPUTS, JSON
from hcodec.cli._report import Report, count, shown
from hcodec.errors import HcodecWarning

if TYPE_CHECKING:
    from hcodec.container.archive import Entry, Listing


@click.command("list")
@INPUTS
@click.option("--check", is_flag=True, help="Read the whole archive and compare its checksums, too.")
@JSON
def command(sources: tuple[str, ...], check: bool, as_json: bool) -> None:
    """List the pictures in archives.

    The number of a segment, from 0, is its place among those that --json describes.

    \b
      hcodec list a.hcodec
      hcodec list a.hcodec --json
      hcodec list a.hcodec --check
    """
    console, faulty = Console(as_json=as_json, text_on_stderr=False), list[str]()
    run(sources, partial(_describe, check, faulty), console)
    if faulty:
        click.get_current_context().exit(1)


def _describe(check: bool, faulty: list[str], source: str) -> Report:
    from hcodec.container import archive

    listing = archive.listing(BytesIO(read_bytes(source)) if source == STDIO else source, check=check)
    for warning in listing.warnings:
        warnings.warn(warning, HcodecWarning, stacklevel=1)
        faulty.append(warning)
    names = [_coded_as(segment.kind) for segment in listing.segments]
    text = "\n".join([shown(source), *_archive_lines(listing), *_picture_lines(listing, names)])
    fields = listing.as_dict()
    segments = [{**segment, "coded_as": name} for segment, name in zip(fields["segments"], names, strict=True)]
    return Report(text, {"input": source, **fields, "segments": segments})


def _coded_as(number: int) -> str:
    from hcodec.kinds import KINDS

    return next((kind.name for kind in KINDS if kind.number == number), f"kind {number}")


def _archive_lines(listing: Listing) -> Iterator[str]:
    num_pixels = sum(one.width * one.height for one in listing.pictures)
    complete = listing.file_bytes >= listing.total_bytes
    state = "complete" if complete else f"the first of {listing.total_bytes:,}"
    pictures, segments = count(len(listing.pictures), "picture"), count(len(listing.segments), "segment")
    yield f"  archive    {pictures} in {segments}, archive format {listing.version}"
    yield f"  file       {listing.file_bytes:,} bytes, {8 * listing.total_bytes / num_pixels:.3f} bpp, {state}"
    yield f"  directory  {listing.directory_bytes:,} bytes"


def _picture_lines(listing: Listing, names: Sequence[str]) -> Iterator[str]:
    yield "  segment  coded as    pixels"
    for one in listing.pictures:
        pixels = _pixels(one, one.name in listing.with_alpha)
        yield f"  {one.segment:>7}  {names[one.segment]:<10}  {pixels:<26}  {one.name}"


def _pixels(one: Entry, with_alpha: bool) -> str:
    return f"{one.width}x{one.height} {'gray' if one.gray else 'RGB'}{' with alpha' if with_alpha else ''}"
