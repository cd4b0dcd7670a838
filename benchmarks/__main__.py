"""The command line of the benchmarks: one subcommand for each question, which measures, writes results and shows them."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from benchmarks.images import folder as image_folder
from benchmarks.measurements.task import Task
from benchmarks.results import RESULTS

_ROOT = Path(__file__).parents[1]
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_results = click.option("--results", type=click.Path(path_type=Path), help="Where to write [benchmarks/results/FOLDER].")
_limit = click.option("--limit", type=int, help="Only the first N pictures.")
_peers = click.option("--peers", default="", help="Only these codecs, separated by commas.")
_workers = click.option("--workers", type=click.IntRange(1, 2), default=min(2, os.cpu_count() or 1), show_default=True)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Measures hcodec and its peers on a folder of pictures, from real files and real round trips.

    Results are cached by picture and codec version: an interrupted run goes on where it stopped. The exit status is 1 when a
    codec was found wrong.
    """


def _measures(
    name: str, *options: Callable[..., Any], default_limit: int | None = None
) -> Callable[[Callable[..., bool]], click.Command]:
    """Makes a command of what measures a folder of pictures: from a task and its own options to whether anything was wrong."""

    def decorate(measure: Callable[..., bool]) -> click.Command:
        """Returns the command."""

        @functools.wraps(measure)
        def command(folder: Path, results: Path | None, limit: int | None, peers: str = "", workers: int = 1, **own: Any) -> None:
            """Measures and shows the results."""
            names = tuple(codec.strip() for codec in peers.split(",") if codec.strip())
            target = results or RESULTS / folder.resolve().name
            _show(name, target, measure(Task(image_folder(folder, limit or default_limit), target, names, workers), **own))

        for option in (_limit, _results, click.argument("folder", type=_FOLDER), *reversed(options)):
            command = option(command)
        return main.command(name)(command)

    return decorate


def _show(command: str, target: Path, wrong: bool) -> None:
    """Shows what was measured; the exit status says whether anything was wrong."""
    from benchmarks.reports.contents import show_command

    show_command(command, target)
    sys.exit(int(wrong))


@_measures("rd", _peers, _workers)
@click.option("--psnr-only", is_flag=True, help="Leave out MS-SSIM, which takes most of the time of fast codecs.")
def rd(task: Task, psnr_only: bool) -> bool:
    """Quality against rate: PSNR, MS-SSIM, BD-rates by band, what each level adds, plots.

    With --peers hcodec,hcodec-cuts: one file alone, cut at every level and twice between each two.
    """
    from benchmarks.measurements import codecs

    return codecs.rate_distortion(task, psnr_only)


@_measures("progressive", _peers, _workers)
def progressive(task: Task) -> bool:
    """Quality against received bytes of one file, and a picture strip."""
    from benchmarks.measurements import codecs

    return codecs.progressive(task)


@_measures("lossless", _peers, _workers)
def lossless(task: Task) -> bool:
    """Bits per sub-pixel and speed of lossless codecs."""
    from benchmarks.measurements import codecs

    return codecs.lossless(task)


@main.command("bits-back")
@click.argument("mnist", type=_FOLDER)
@click.argument("color", type=_FOLDER)
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS / "small", help="[benchmarks/results/small]")
def bits_back(mnist: Path, color: Path, results: Path) -> None:
    """Chains of small pictures against their ELBO: MNIST's files, and 32x32 tiles of the pictures in COLOR."""
    from benchmarks.measurements import chains

    _show("bits-back", results, chains.run(mnist, color, results))


@main.command()
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS / "documents", help="[benchmarks/results/documents]")
@_limit
def documents(results: Path, limit: int | None) -> None:
    """Documents, screens and charts, and samples of 16 bits, all drawn first, against exact image files.

    The exit status is 1 when a file that should be exact was not.
    """
    from benchmarks.measurements import documents

    wrong = [documents.run_deep(results), documents.run(results, limit)]
    _show("documents", results, any(wrong))


@_measures("lossless-layer")
def lossless_layer(task: Task) -> bool:
    """What the lossless layer costs from each level. Also known as last-layer."""
    from benchmarks.measurements import lossless_layer

    return lossless_layer.run(task)


main.add_command(lossless_layer, "last-layer")


@_measures("integers", click.argument("checkpoint", type=_FILE))
@click.option("--model", default="photo-1", show_default=True, help="The installed model that was made from CHECKPOINT.")
def integers(task: Task, checkpoint: Path, model: str) -> bool:
    """What integers, coding tables and container cost against the float network of a training checkpoint.

    The exit status is 1 when the integers cost more than 1 %.
    """
    from benchmarks.measurements import integers

    return integers.run(task, checkpoint, model)


@_measures("effort")
@click.option("--efforts", default="1,2,3,4", show_default=True, help="Which to compare; the first is the anchor.")
def effort(task: Task, efforts: str) -> bool:
    """What --effort saves at equal quality, and the time it takes."""
    from benchmarks.measurements import effort

    return effort.run(task, [int(each) for each in efforts.split(",")])


@_measures("speed", _peers, default_limit=3)
@click.option("--sizes", default="0.1,0.4,2,12,50", show_default=True, help="Megapixels of the growth measurement.")
def speed(task: Task, sizes: str) -> bool:
    """Time and memory, interleaved: warm, from process start, and as pictures grow.

    Takes the first three pictures unless --limit says otherwise, and runs one codec at a time.
    """
    from benchmarks.measurements import speed

    return speed.run(task, [float(size) for size in sizes.split(",") if size])


@_measures("operation", default_limit=1)
@click.option("--parts", default="load,first-picture,commands,growth,callers,soak", show_default=True, help="What to measure.")
@click.option("--rounds", default=5, show_default=True, help="Of load, first picture and commands.")
@click.option("--edge", default=500, show_default=True, help="Pixels a side of the picture of load and callers.")
@click.option("--sizes", default="0.1,1,4,12,40", show_default=True, help="Megapixels of the growth; 100 takes long.")
@click.option("--seconds", default=10.0, show_default=True, help="For each kind of caller.")
@click.option("--count", default=2000, show_default=True, help="Encodes and decodes of the soak.")
def operation(task: Task, parts: str, sizes: str, **extent: Any) -> bool:
    """In operation: on a busy machine, first picture, commands, growth, forks and threads, memory in the long run.

    Takes the first picture unless --limit says otherwise. The exit status is 1 when a result was wrong.
    """
    from benchmarks.measurements import operation
    from benchmarks.measurements.operation.extent import Extent

    megapixels = tuple(float(size) for size in sizes.split(",") if size)
    return operation.run(task, parts.split(","), Extent(sizes=megapixels, **extent))


@_measures("check", _workers)
def check(task: Task) -> bool:
    """Whether hcodec keeps its promises, through its command line and files."""
    from benchmarks.measurements import promises

    return promises.run(task)


@main.command()
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS / "kodak", help="[benchmarks/results/kodak]")
@click.option("--readme", type=_FILE, default=_ROOT / "README.md", help="[README.md]")
@click.option("--report", type=_FILE, default=RESULTS.with_name("RESULTS.md"), help="[benchmarks/RESULTS.md]")
@click.option("--check", is_flag=True, help="Change nothing; the exit status is 1 when something is out of date.")
def readme(results: Path, readme: Path, report: Path, check: bool) -> None:
    """Tables and plots of README.md and RESULTS.md, from the checked-in results."""
    from benchmarks.reports import pages

    try:
        found = pages.differences(results, readme, report) if check else []
        if not check:
            pages.write(results, readme, report)
    except pages.MarkersError as error:
        raise click.ClickException(str(error)) from error
    for line in found:
        click.echo(line, err=True)
    sys.exit(int(bool(found)))


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
