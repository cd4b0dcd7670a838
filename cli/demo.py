"""`hcodec demo`: one picture through the codec, a table of its levels, and all of them side by side in a PNG."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from io import BytesIO
from time import perf_counter
from typing import TYPE_CHECKING, Any

import click

from hcodec.cli._files import read_bytes, refuse_existing, refuse_input, write_bytes
from hcodec.cli._options import COMPUTE, FILE, FORCE, JSON, MODEL, set_threads
from hcodec.cli._report import describe, shown
from hcodec.errors import HcodecError

if TYPE_CHECKING:
    from hcodec.cli._strip import Pixels
    from hcodec.pixels.picture import Picture

Compute = Mapping[str, Any]  # what `COMPUTE` gives beside threads
_OUTPUT = "hcodec-demo.png"


@dataclass(frozen=True)
class _Level:
    level: int
    file_bytes: int
    bpp: float
    psnr_db: float
    decode_s: float


@click.command()
@click.argument("image", required=False, type=FILE)
@click.option("-o", "--output", metavar="OUT", type=FILE, help=f"Where the strip goes.  [default: {_OUTPUT}, overwritten]")
@FORCE
@MODEL
@COMPUTE
@JSON
def command(
    image: str | None, output: str | None, force: bool, model: str, threads: int | None, as_json: bool, **compute: Any
) -> None:
    """Show all levels of one picture.

    Encodes it, prints what each level costs and gives, and writes all of them side by side as a PNG. Without IMAGE,
    the demo draws a picture itself.

    \b
      hcodec demo
      hcodec demo img.png -o levels.png
    """
    target = output or _OUTPUT
    force = force or output is None  # the default name is the demo's own
    set_threads(threads)
    picture = _read(image)
    refuse_input(target, [image] if image else [])
    refuse_existing(target, force=force)
    try:
        levels, strip = _run(picture, image or "drawn by hcodec itself", model, compute, as_json)
    except (HcodecError, MemoryError, RuntimeError) as error:
        raise click.ClickException(describe(error, "")) from error
    write_bytes(target, strip, force=force)
    if as_json:
        click.echo(json.dumps({"output": target, "levels": [asdict(level) for level in levels]}))
    else:
        click.echo(f"Wrote {target}: all levels side by side, the original last.")


def _run(picture: Picture, origin: str, model: str, compute: Compute, quiet: bool) -> tuple[list[_Level], bytes]:
    from hcodec import codec
    from hcodec.cli._strip import compose

    for note in picture.notes:
        click.echo(f"Warning: {shown(origin)}: {note}", err=True)
    picture = picture.without_notes()
    height, width = picture.pixels.shape[:2]
    codec.encode(picture, model=model, **compute, levels=1)  # loads the model, so that the clock sees coding only
    start = perf_counter()
    data = codec.encode(picture, model=model, **compute, lossless=False)
    if not quiet:
        click.echo(f"A picture of {width}x{height} pixels, {origin}, encoded in {perf_counter() - start:.2f} s")
        click.echo(f"with model {model} to one file of {len(data):,} bytes. Each level is a prefix of it:\n")
        click.echo(" level       bytes      bpp   PSNR dB   decode s")
    levels, tiles = [], []
    for level, pixels in _decode_levels(picture, data, compute):
        levels.append(level)
        tiles.append((f"level {level.level}", f"{level.bpp:.3f} bpp   {level.psnr_db:.2f} dB", pixels))
        if not quiet:
            click.echo(f"{level.level:>6}{level.file_bytes:>12,}{level.bpp:>9.3f}{level.psnr_db:>10.2f}"
                       f"{level.decode_s:>11.2f}")  # fmt: skip
    target = BytesIO()
    compose([*tiles, ("original", "24 bpp", picture.pixels)]).save(target, "PNG")
    return levels, target.getvalue()


def _read(image: str | None) -> Picture:
    from hcodec.pixels import picture

    if image is None:
        from hcodec.cli._sample import render

        return picture.Picture(render())
    try:
        return picture.read(read_bytes(image))
    except (HcodecError, click.ClickException, OSError, MemoryError) as error:
        raise click.ClickException(f"{shown(image)}: {describe(error, image)}") from error


def _decode_levels(picture: Picture, data: bytes, compute: Compute) -> Iterator[tuple[_Level, Pixels]]:
    """Every level, decoded from the file's prefix alone as a user would who has no more of it."""
    from hcodec import codec, container
    from hcodec.pixels.picture import psnr

    info = container.info(data)
    for entry in info.levels:
        start = perf_counter()
        decoded = codec.decode_picture(data, levels=entry.level, **compute)
        seconds = perf_counter() - start
        bpp = 8 * entry.prefix_bytes / (info.width * info.height)
        quality = psnr(picture.pixels, decoded.pixels)
        yield _Level(entry.level, entry.prefix_bytes, bpp, quality, seconds), decoded.pixels
