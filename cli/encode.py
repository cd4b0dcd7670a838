"""`hcodec encode`: pictures to hcodec files."""

from __future__ import annotations

import warnings
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

import click

from hcodec.cli._ahead import expect
from hcodec.cli._batch import Console, run_jobs
from hcodec.cli._files import ENDING, has_suffix, named, plan
from hcodec.cli._options import COMPUTE, KEEPING, MODEL, SEVERAL_INPUTS, Size, at_most_one, set_threads
from hcodec.cli._report import Report, say_levels, say_lossless, subpixels, whole_levels

if TYPE_CHECKING:
    from hcodec.coders.lossless import LosslessCode

PICTURES = frozenset([
    ".avif", ".bmp", ".dib", ".gif", ".heic", ".heif", ".j2k", ".jp2", ".jpe", ".jpeg", ".jpg", ".jxl", ".pbm",
    ".pcx", ".pgm", ".png", ".pnm", ".ppm", ".qoi", ".tga", ".tif", ".tiff", ".webp",
])  # fmt: skip
_LOOKS_DRAWN = "looks drawn; with no option that asks for levels, it may be stored exactly, and shorter"


@click.command()
@SEVERAL_INPUTS
@click.option("-q", "--quality", type=click.FloatRange(0, 100), metavar="Q",
              help="0 to 100: from the first level alone to all of them, as the table of hcodec encode says.")  # fmt: skip
@click.option("--levels", type=click.IntRange(min=1), metavar="N", help="Keep the first N levels only.")
@click.option("--target-bpp", type=click.FloatRange(min=0, min_open=True), metavar="X",
              help="Keep the longest prefix of at most X bits a pixel.")  # fmt: skip
@click.option("--target-size", type=Size(), help="Keep the longest prefix of at most this size: 40kB, 40KiB, 40000.")
@click.option("--target-psnr", type=float, metavar="DB", help="Keep the shortest prefix of at least this quality.")
@click.option("--lossless/--lossy", default=None,
              help="Add the layer that makes the picture exact; keeps the levels it needs, or N. "
                   "Without either, documents and screens are stored exactly where that is hardly longer.")  # fmt: skip
@click.option("--level-cost", is_flag=True, help="With --lossless: say what carrying all levels would cost.")
@click.option("--effort", type=click.IntRange(1, 4), default=1, show_default=True, metavar="N",
              help="1 to 4: above 1, search for better levels, for about 15, 20 or 50 s a megapixel on two cores.")  # fmt: skip
@click.option("--allow-truncated", is_flag=True, help="Keep what can be read of damaged sources, with a warning.")
@MODEL
@KEEPING
@COMPUTE
def command(
    sources: tuple[str, ...], output: str | None, force: bool, recursive: bool, quiet: bool, as_json: bool,
    threads: int | None, level_cost: bool, allow_truncated: bool, **settings: Any,
) -> None:  # fmt: skip
    """Encode pictures to hcodec files.

    img.png becomes img.hcodec beside it, or the file or folder that -o names, or the second of two names.

    \b
      hcodec encode img.png                    # img.hcodec, all levels
      hcodec encode img.png web.hcodec -q 60   # a quality, from 0 to 100
      hcodec encode img.png --levels 3         # the first three only
      hcodec encode img.png --target-size 40kB
      hcodec encode img.png --lossless         # every pixel as it was
      hcodec encode img.png --effort 3         # better for its bytes, and slow to make
      hcodec encode *.jpg -o out/              # many files
      hcodec encode -r holiday -o out/         # whole folders
      hcodec encode - < img.png > img.hcodec   # a pipe

    \b
      -q    levels    bits a pixel    PSNR       means over 24 photographs;
       0      1           0.04       24.8 dB     what is between takes a part
      17      2           0.09       26.8 dB     of the next level; size and
      33      3           0.18       28.8 dB     quality differ by picture,
      50      4           0.30       30.5 dB     but grow with the number
      67      5           0.55       33.1 dB
      83      6           1.03       36.4 dB
     100      7           1.78       40.0 dB     as without -q; not lossless
    """
    _check(settings, level_cost)
    inputs, output = named(sources, output, ours)
    console = Console(quiet, as_json)
    jobs = plan(inputs, output, console.warn, ending=ENDING, recursive=recursive, accepts=PICTURES)
    set_threads(threads)
    run_jobs(jobs, partial(_encode, settings, level_cost, allow_truncated, console), console, force=force)


def ours(name: str) -> bool:
    """Whether a name is that of an hcodec file, and so none of a picture to encode."""
    return has_suffix(name, (ENDING,))


def _check(settings: dict[str, Any], level_cost: bool) -> None:
    """Raises click.UsageError for options that exclude each other."""
    targets = {name: value for name, value in settings.items() if name.startswith("target_")}
    at_most_one(quality=settings["quality"], **targets, lossless=settings["lossless"] or None)
    at_most_one(quality=settings["quality"], levels=settings["levels"])
    if settings["lossless"] and settings["effort"] > 1:
        raise click.UsageError("--effort and --lossless exclude each other.")
    if level_cost and not settings["lossless"]:
        raise click.UsageError("--level-cost needs --lossless.")


def _encode(
    settings: dict[str, Any], level_cost: bool, allow_truncated: bool, console: Console, source: bytes
) -> tuple[bytes, Report]:
    from hcodec import codec, models, whole_file
    from hcodec.errors import HcodecWarning
    from hcodec.pixels import picture

    models.load(settings["model"], settings["device"], settings["backend"])  # once, before the clock starts
    start = perf_counter()
    image = picture.read(source, allow_truncated=allow_truncated)
    height, width = image.pixels.shape[:2]
    slow = settings["lossless"] or settings["effort"] > 1
    expect(console, height, width, "encode_lossless" if settings["lossless"] else "encode", slow)
    if _wants_levels(settings) and image.deep is None and whole_file.is_drawn(image):
        warnings.warn(_LOOKS_DRAWN, HcodecWarning, stacklevel=1)
    if not settings["lossless"]:
        data = codec.encode(image, on_progress=console.within, **settings)
        return data, _report(len(source), data, perf_counter() - start)
    options = {name: settings[name] for name in ("model", "metadata", "strip", "convert", "device", "backend")}
    data, last = codec.encode_lossless(image, levels=settings["levels"], on_progress=console.within, **options)
    report = _lossless_report(_report(len(source), data, perf_counter() - start), data, last)
    if level_cost:
        every, _ = codec.encode_lossless(image, levels=models.summary(settings["model"]).num_levels, **options)
        report = _with_level_cost(report, len(every) - len(data), len(data))
    return data, report


def _wants_levels(settings: dict[str, Any]) -> bool:
    """Whether levels were asked for, by an option that says how many, how long or how good."""
    asked = [value for name, value in settings.items() if name.startswith("target_") or name in ("levels", "quality")]
    return settings["lossless"] is None and (settings["effort"] > 1 or any(value is not None for value in asked))


def _report(input_bytes: int, data: bytes, seconds: float) -> Report:
    from hcodec import container

    info = container.info(data)
    bpp = 8 * len(data) / (info.width * info.height)
    text = (
        f"{info.width}x{info.height}  {input_bytes:,} -> {len(data):,} bytes  {bpp:.3f} bpp  "
        f"{say_levels(info)}{say_lossless(info)}  {seconds:.2f} s"
    )
    fields = {"width": info.width, "height": info.height, "input_bytes": input_bytes, "file_bytes": len(data)}
    return Report(text, {**fields, "bpp": bpp, "levels": whole_levels(info), "stored": info.stored, "seconds": seconds})


def _lossless_report(report: Report, data: bytes, last: LosslessCode) -> Report:
    """Adds how the lossless layer was coded and what that took."""
    from hcodec import container

    info = container.info(data)
    bpsp = 8 * len(data) / subpixels(info)
    fields = {
        "bpsp": bpsp,
        "method": last.method,
        "start_level": info.lossless.start if info.lossless else 0,
        "lossless_bytes": len(last.data),
    }
    return Report(f"{report.text}  {bpsp:.3f} bpsp", {**report.fields, **fields})


def _with_level_cost(report: Report, more_bytes: int, num_bytes: int) -> Report:
    percent = 100 * more_bytes / num_bytes
    text = f"{report.text}\n  all levels would cost {more_bytes:,} bytes more ({percent:.1f} %)"
    return Report(text, {**report.fields, "level_cost_bytes": more_bytes, "level_cost_percent": percent})
