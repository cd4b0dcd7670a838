"""`hcodec decode`: hcodec files, whole or cut short, to pictures."""

from __future__ import annotations

import os
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

import click

from hcodec.cli._ahead import expect
from hcodec.cli._batch import Console, run_jobs
from hcodec.cli._files import ENDING, Format, named, plan
from hcodec.cli._image_files import file_of
from hcodec.cli._options import COMPUTE, SEVERAL_INPUTS, Background, Region, set_threads
from hcodec.cli._read import Parts, read_parts, say_read
from hcodec.cli._report import Report, say_levels, say_lossless, whole_levels

if TYPE_CHECKING:
    from hcodec.container import Info
    from hcodec.pixels.background import Rgb
    from hcodec.pixels.picture import Picture

_ENDINGS = {"JPEG": ".jpg", "JPEG2000": ".jp2", "TIFF": ".tif", "PPM": ".ppm"}


@click.command()
@SEVERAL_INPUTS
@click.option("--levels", type=click.IntRange(min=1), metavar="N", help="Decode the first N levels only.")
@click.option("--region", type=Region(), metavar="X,Y,W,H", help="Decode this part of the picture only, in pixels.")
@click.option("--temperature", type=click.FloatRange(min=0), default=0.0, show_default=True, metavar="T",
              help="Sample what is missing: 0 gives the likeliest picture, 1 plausible detail.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of that sampling.")
@click.option("--format", "format_name", metavar="NAME", help="png, jpeg, webp...; else the suffix of OUT, or png.")
@click.option("--background", type=Background(), help="Put transparent pictures on this color: white, #ffcc00.")
@click.option("--strict", is_flag=True, help="Fail on cut or corrupt files instead of decoding what is good.")
@COMPUTE
def command(
    sources: tuple[str, ...], output: str | None, force: bool, recursive: bool, quiet: bool, as_json: bool,
    threads: int | None, format_name: str | None, background: Rgb | None, **settings: Any,
) -> None:  # fmt: skip
    """Decode hcodec files to pictures.

    img.hcodec becomes img.png beside it, or the file or folder that -o names, or the second of two names. A file cut
    short decodes as far as it goes, with a warning.

    \b
      hcodec decode img.hcodec                     # img.png
      hcodec decode img.hcodec preview.jpg --levels 2
      hcodec decode logo.hcodec logo.jpg --background white
      hcodec decode img.hcodec -o part.png --region 512,256,300,200
      hcodec decode *.hcodec -o out/ --format webp
      hcodec decode https://example.org/img.hcodec --levels 2   # reads no more than that
      head -c 5000 img.hcodec | hcodec decode - > preview.png
    """
    inputs, output = named(sources, output, _is_picture)
    pillow_format = _pillow_format(format_name or _suffix(output) or "png")
    ending = _ENDINGS.get(pillow_format, f".{pillow_format.lower()}")
    console = Console(quiet, as_json)
    jobs = plan(inputs, output, console.warn, ending=ending, recursive=recursive, accepts=frozenset([ENDING]))
    set_threads(threads)
    make = partial(_decode, settings, pillow_format, background, console)
    run_jobs(jobs, make, console, _format(pillow_format, ending), read=partial(_read, settings), force=force)


def _is_picture(name: str) -> bool:
    """Whether a name is that of a picture, and so none of a file to decode."""
    from hcodec.pixels import plugins

    return plugins.is_known(os.path.splitext(name)[1].lower())


def _format(pillow_format: str, ending: str) -> Format:
    from PIL import Image

    suffixes = [suffix for suffix, known in Image.registered_extensions().items() if known == pillow_format]
    return Format(pillow_format, (ending, *suffixes))


def _suffix(output: str | None) -> str:
    if output is None or os.path.isdir(output):
        return ""
    return os.path.splitext(output)[1]


def _pillow_format(name: str) -> str:
    """Pillow's name of a format that is given as a name or as a file's suffix."""
    from hcodec.pixels import plugins

    known = plugins.format_of("." + name.lstrip(".").lower()) or name.upper()
    if not plugins.can_write(known):
        raise click.UsageError(f"{name!r} is not a format that pictures can be written in.")
    return known


def _read(settings: dict[str, Any], source: str) -> Parts:
    """What decoding takes of a file."""
    from hcodec.remote import needed

    return read_parts(source, lambda header: needed(header, settings["levels"], settings["region"]))


def _decode(
    settings: dict[str, Any], pillow_format: str, background: Rgb | None, console: Console, parts: Parts
) -> tuple[bytes, Report]:
    from hcodec import codec, container, models
    from hcodec.pixels.background import on_background

    reader, read = parts
    info = container.describe(reader)
    if not info.stored:  # once, before the clock starts
        models.load(models.find(bytes.fromhex(info.fingerprint)), settings["device"], settings["backend"])
    start = perf_counter()
    *_, width, height = settings["region"] or (info.width, info.height)
    exact = info.lossless is not None and settings["levels"] is None
    expect(console, height, width, "decode_lossless" if exact else "decode", exact)
    decoded = codec.decode_picture(reader, on_progress=console.within, **settings)
    if background is not None:
        decoded = on_background(decoded, background)
    written = file_of(decoded, pillow_format)
    seconds = perf_counter() - start
    report = _report(info, settings["levels"], decoded, seconds)
    return written, Report(report.text + say_read(read), {**report.fields, **read})


def _report(info: Info, wanted: int | None, decoded: Picture, seconds: float) -> Report:
    height, width = decoded.pixels.shape[:2]
    levels = min(whole_levels(info), wanted or len(info.levels))
    used_bytes = info.levels[levels - 1].prefix_bytes if levels == wanted else info.file_bytes
    bpp = 8 * used_bytes / (info.width * info.height)
    found = say_levels(info, wanted) + (say_lossless(info) if decoded.exact else "")
    text = f"{width}x{height}  {found}  {bpp:.3f} bpp  {seconds:.2f} s"
    fields = {"width": width, "height": height, "levels": levels, "levels_in_file": len(info.levels), "stored": info.stored}
    return Report(text, {**fields, "lossless": decoded.exact, "used_bytes": used_bytes, "bpp": bpp, "seconds": seconds})
