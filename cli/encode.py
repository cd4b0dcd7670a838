"""`hcodec encode`: pictures to hcodec files."""

from __future__ import annotations

import warnings
from functools import partial
from time import perf_counter
from typing import Any

import click

from hcodec.cli._batch import Console, run_jobs
from hcodec.cli._files import Job, plan, read_bytes
from hcodec.cli._options import COMPUTE, MODEL, SEVERAL_INPUTS, MetadataKinds, Size, at_most_one, set_threads
from hcodec.cli._report import Report, say_levels, whole_levels

ENDING = ".hcodec"
_PICTURES = frozenset([
    ".avif", ".bmp", ".dib", ".gif", ".j2k", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm",
    ".pcx", ".pgm", ".png", ".pnm", ".ppm", ".qoi", ".tga", ".tif", ".tiff", ".webp",
])  # fmt: skip


@click.command()
@SEVERAL_INPUTS
@click.option("--levels", type=click.IntRange(min=1), metavar="N", help="Keep the first N levels only.")
@click.option("--target-bpp", type=click.FloatRange(min=0, min_open=True), metavar="X",
              help="Keep the longest prefix of at most X bits a pixel.")  # fmt: skip
@click.option("--target-size", type=Size(), help="Keep the longest prefix of at most this size: 40kB, 40KiB, 40000.")
@click.option("--target-psnr", type=float, metavar="DB", help="Keep the shortest prefix of at least this quality.")
@MODEL
@click.option("--metadata", type=MetadataKinds(), default="all", show_default=True,
              help="What to keep: all, none, or some of icc,exif,xmp.")  # fmt: skip
@COMPUTE
def command(
    sources: tuple[str, ...], output: str | None, force: bool, recursive: bool, quiet: bool, as_json: bool,
    threads: int | None, **settings: Any,
) -> None:  # fmt: skip
    """Encode pictures to hcodec files.

    img.png becomes img.hcodec beside it, or the file or folder that -o names.

    \b
      hcodec encode img.png                    # img.hcodec, all levels
      hcodec encode img.png --levels 3         # the first three only
      hcodec encode img.png --target-size 40kB
      hcodec encode *.jpg -o out/              # many files
      hcodec encode -r holiday -o out/         # whole folders
      hcodec encode - < img.png > img.hcodec   # a pipe
    """
    at_most_one(**{name: value for name, value in settings.items() if name.startswith("target_")})
    jobs = plan(sources, output, ending=ENDING, recursive=recursive, accepts=_PICTURES)
    set_threads(threads)
    run_jobs(jobs, partial(_encode, settings), Console(quiet, as_json), force=force)


def _encode(settings: dict[str, Any], job: Job) -> tuple[bytes, Report]:
    from hcodec import codec, models, picture
    from hcodec.errors import HcodecWarning

    source = read_bytes(job.source)
    models.load(settings["model"], settings["device"])  # once, before the clock starts
    start = perf_counter()
    image = picture.read(source)
    for note in image.notes:
        warnings.warn(note, HcodecWarning, stacklevel=1)
    data = codec.encode(image, **settings)
    return data, _report(len(source), data, perf_counter() - start)


def _report(input_bytes: int, data: bytes, seconds: float) -> Report:
    from hcodec import container

    info = container.info(data)
    bpp = 8 * len(data) / (info.width * info.height)
    text = (
        f"{info.width}x{info.height}  {input_bytes:,} -> {len(data):,} bytes  {bpp:.3f} bpp  "
        f"{say_levels(info)}  {seconds:.2f} s"
    )
    fields = {"width": info.width, "height": info.height, "input_bytes": input_bytes, "file_bytes": len(data)}
    return Report(text, {**fields, "bpp": bpp, "levels": whole_levels(info), "seconds": seconds})
