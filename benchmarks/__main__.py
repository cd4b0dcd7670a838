"""The command line of the benchmarks: one subcommand for each question."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from benchmarks import session
from benchmarks.results import RESULTS

_ROOT = Path(__file__).parents[1]
_PAGE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Measures hcodec and its peers on a folder of pictures, from real files and real round trips.

    Results are cached by picture and codec version: an interrupted run goes on where it stopped. The exit status is 1 when a
    codec was found wrong.
    """


def _common(command: Callable[..., Any]) -> Callable[..., Any]:
    options = (
        click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path)),
        click.option("--results", type=click.Path(path_type=Path), help="Where to write [benchmarks/results/FOLDER]."),
        click.option("--peers", default="", help="Only these codecs, separated by commas."),
        click.option("--limit", type=int, help="Only the first N pictures."),
        click.option("--workers", type=click.IntRange(1, 2), default=session.default_workers(), show_default=True),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _target(folder: Path, results: Path | None) -> Path:
    return results or RESULTS / folder.resolve().name


def _names(peers: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in peers.split(",") if name.strip())


@main.command()
@_common
@click.option("--psnr-only", is_flag=True, help="Leave out MS-SSIM, which takes most of the time of fast codecs.")
def rd(folder: Path, results: Path | None, peers: str, limit: int | None, workers: int, psnr_only: bool) -> None:
    """Quality against rate: PSNR, MS-SSIM, BD-rates by band, what each level adds, plots.

    With --peers hcodec,hcodec-cuts: the prefix curve alone, every level and two byte cuts between each two.
    """
    from benchmarks.rd import run

    sys.exit(int(run(folder, _target(folder, results), _names(peers), limit, workers, psnr_only)))


@main.command()
@_common
def progressive(folder: Path, results: Path | None, peers: str, limit: int | None, workers: int) -> None:
    """Quality against received bytes of one file, and a picture strip."""
    from benchmarks.progressive import run

    sys.exit(int(run(folder, _target(folder, results), _names(peers), limit, workers)))


@main.command()
@_common
def lossless(folder: Path, results: Path | None, peers: str, limit: int | None, workers: int) -> None:
    """Bits per sub-pixel and speed of lossless codecs."""
    from benchmarks.lossless import run

    sys.exit(int(run(folder, _target(folder, results), _names(peers), limit, workers)))


@main.command("bits-back")
@click.argument("mnist", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("color", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS / "small", help="[benchmarks/results/small]")
def bits_back(mnist: Path, color: Path, results: Path) -> None:
    """Chains of small pictures against their ELBO: MNIST's files, and 32x32 tiles of the pictures in COLOR."""
    from benchmarks.bits_back import run

    sys.exit(int(run(mnist, color, results)))


@main.command("last-layer")
@_common
def last_layer(folder: Path, results: Path | None, peers: str, limit: int | None, workers: int) -> None:
    """What the lossless layer costs from each level, and what bits back is worth. --peers and --workers mean nothing here."""
    from benchmarks.last_layer import run

    sys.exit(int(run(folder, _target(folder, results), limit)))


@main.command()
@click.argument("checkpoint", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--results", type=click.Path(path_type=Path), help="Where to write [benchmarks/results/FOLDER].")
@click.option("--limit", type=int, help="Only the first N pictures.")
@click.option("--model", default="photo", show_default=True, help="The installed model that was made from CHECKPOINT.")
def integers(checkpoint: Path, folder: Path, results: Path | None, limit: int | None, model: str) -> None:
    """What integers, coding tables and container cost against the float network of a training checkpoint.

    The exit status is 1 when the integers cost more than 1 %.
    """
    from benchmarks.integers import run

    sys.exit(int(run(checkpoint, folder, _target(folder, results), limit, model)))


@main.command()
@_common
@click.option("--efforts", default="1,2,3,4", show_default=True, help="Which to compare; the first is the anchor.")
def effort(folder: Path, results: Path | None, peers: str, limit: int | None, workers: int, efforts: str) -> None:
    """What --effort saves at equal quality, and the time it takes. --peers and --workers mean nothing here."""
    from benchmarks.effort import run

    sys.exit(int(run(folder, _target(folder, results), limit, [int(each) for each in efforts.split(",")])))


@main.command()
@_common
@click.option("--sizes", default="0.1,0.4,2,12,50", show_default=True, help="Megapixels of the growth measurement.")
def speed(folder: Path, results: Path | None, peers: str, limit: int | None, workers: int, sizes: str) -> None:
    """Time and memory, interleaved: warm, from process start, and as pictures grow.

    Takes the first three pictures unless --limit says otherwise, and runs one codec at a time whatever --workers says.
    """
    from benchmarks.speed import run

    sizes_mpx = [float(size) for size in sizes.split(",") if size]
    sys.exit(int(run(folder, _target(folder, results), _names(peers), limit, sizes_mpx)))


@main.command()
@_common
def check(folder: Path, results: Path | None, peers: str, limit: int | None, workers: int) -> None:
    """Whether hcodec keeps its promises, through its command line and files. --peers means nothing here."""
    from benchmarks.check import run

    sys.exit(int(run(folder, _target(folder, results), _names(peers), limit, workers)))


@main.command()
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS / "kodak", help="[benchmarks/results/kodak]")
@click.option("--readme", type=_PAGE, default=_ROOT / "README.md", help="[README.md]")
@click.option("--report", type=_PAGE, default=RESULTS.with_name("RESULTS.md"), help="[benchmarks/RESULTS.md]")
@click.option("--check", is_flag=True, help="Change nothing; the exit status is 1 when something is out of date.")
def readme(results: Path, readme: Path, report: Path, check: bool) -> None:
    """Tables and plots of README.md and RESULTS.md, from the checked-in results."""
    from benchmarks.readme import MarkersError, differences, run

    try:
        found = differences(results, readme, report) if check else []
        if not check:
            run(results, readme, report)
    except MarkersError as error:
        raise click.ClickException(str(error)) from error
    for line in found:
        click.echo(line, err=True)
    sys.exit(int(bool(found)))


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
