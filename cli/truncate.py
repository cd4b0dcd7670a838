"""`hcodec truncate`: keeps a prefix of files, without re-encoding. Needs the container only, no torch."""

from __future__ import annotations

import os
from functools import partial

import click

from hcodec import arguments
from hcodec.cli._batch import Console, run_jobs
from hcodec.cli._files import ENDING, has_suffix, named, plan
from hcodec.cli._options import SEVERAL_INPUTS, Size
from hcodec.cli._report import Report, say_levels, say_lossless, whole_levels


@click.command()
@SEVERAL_INPUTS
@click.option("--levels", type=click.IntRange(min=1), metavar="N", help="Keep the first N levels.")
@click.option("--target-bpp", type=click.FloatRange(min=0, min_open=True), metavar="X", help="Keep X bits a pixel.")
@click.option("--target-size", type=Size(), help="Keep this size: 40kB, 40KiB, 40000.")
def command(
    sources: tuple[str, ...], output: str | None, force: bool, recursive: bool, quiet: bool, as_json: bool,
    levels: int | None, target_bpp: float | None, target_size: int | None,
) -> None:  # fmt: skip
    """Cut files to levels or bytes, re-encoding nothing.

    Without an output, which is named by -o or as the second of two names where no file of that name is there yet,
    img.hcodec becomes img-L2.hcodec, img-40000B.hcodec or img-0.5bpp.hcodec beside it.

    \b
      hcodec truncate img.hcodec --levels 2
      hcodec truncate img.hcodec small.hcodec --target-size 40kB
    """
    labels = (
        f"L{levels}" if levels is not None else "",
        f"{target_bpp:g}bpp" if target_bpp is not None else "",
        f"{target_size}B" if target_size is not None else "",
    )
    if sum(map(bool, labels)) != 1:
        raise click.UsageError("Give one of --levels, --target-bpp and --target-size.")
    inputs, output = named(sources, output, lambda name: has_suffix(name, (ENDING,)) and not os.path.exists(name))
    console, ending = Console(quiet, as_json), f"-{''.join(labels)}{ENDING}"
    jobs = plan(inputs, output, console.warn, ending=ending, recursive=recursive, accepts=frozenset([ENDING]))
    run_jobs(jobs, partial(_truncate, levels, target_bpp, target_size), console, force=force)


def _truncate(levels: int | None, target_bpp: float | None, target_size: int | None, data: bytes) -> tuple[bytes, Report]:
    from hcodec import container

    info = container.info(data)
    pixels = info.width * info.height
    if target_bpp is not None:
        target_size = arguments.num_bytes(arguments.target("target_bpp", target_bpp), pixels)
    short = container.truncate(data, levels=levels, num_bytes=target_size)
    kept, bpp = container.info(short), 8 * len(short) / pixels
    text = f"{len(data):,} -> {len(short):,} bytes  {bpp:.3f} bpp  {say_levels(kept)}{say_lossless(kept)}"
    fields = {"input_bytes": len(data), "file_bytes": len(short), "bpp": bpp, "levels": whole_levels(kept), "stored": kept.stored}
    return short, Report(text, fields)
