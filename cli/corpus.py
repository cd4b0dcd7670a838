"""`hcodec corpus`: many pictures on many machines."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any

import click

from hcodec.cli._batch import Console
from hcodec.cli._options import FORCE, JSON, QUIET
from hcodec.cli._report import Report, describe
from hcodec.cli.encode import PICTURES
from hcodec.cli.encode import command as encode_command
from hcodec.errors import HcodecError

if TYPE_CHECKING:
    from hcodec.corpus.manifest import Record
    from hcodec.corpus.run import Corpus

_ENCODING = (  # options of `hcodec encode` that are arguments of the function, too
    "levels", "quality", "target_bpp", "target_size", "target_psnr", "lossless", "effort", "model", "metadata",
    "strip", "convert", "device", "backend",
)  # fmt: skip
_PAUSE_S = 10.0  # between lines that say how far it is, where there is no terminal


@click.group()
def command() -> None:
    """Encode whole collections, on this machine or on many.

    \b
      hcodec corpus encode holiday/ archive/
    """


@command.command("encode")
@click.argument("source")
@click.argument("dest")
@click.option("--scheduler", metavar="ADDRESS", help="Use the Dask cluster there, such as tcp://10.0.0.1:8786.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N",
              help="Processes on this machine, without --scheduler.  [default: one for each processor]")  # fmt: skip
@click.option("-j", "--threads", type=click.IntRange(min=1), default=1, show_default=True, metavar="N",
              help="Threads that each picture is encoded with.")  # fmt: skip
@FORCE
@QUIET
@JSON
def encode(
    source: str, dest: str, scheduler: str | None, workers: int | None, threads: int, force: bool, quiet: bool, as_json: bool,
    **settings: Any,
) -> None:  # fmt: skip
    """Encode all pictures below SOURCE to files below DEST, with the same names.

    Both are folders, or addresses that fsspec opens (s3://..., gs://...). What has been done is written down in DEST, in
    corpus.jsonl: the same command again does what is left, has changed or has failed, and nothing else. A worker that dies
    costs no picture. Pictures that failed are listed at the end. Hidden files and symbolic links stay out. One run at a time
    may write to DEST.

    \b
      hcodec corpus encode holiday/ archive/
      hcodec corpus encode s3://bucket/raw s3://bucket/small --scheduler tcp://10.0.0.1:8786 --levels 5
    """
    console = Console(quiet, as_json)
    try:
        failed = _run(_corpus(source, dest, settings, force, console), scheduler, workers, threads, console)
    except (HcodecError, OSError, MemoryError) as error:
        raise click.ClickException(describe(error, "")) from error
    for record in failed:
        console.fail(record.name, record.error)
    if failed:
        click.get_current_context().exit(1)


encode.params += [option for option in encode_command.params if option.name in _ENCODING]


def _corpus(source: str, dest: str, settings: dict[str, Any], force: bool, console: Console) -> Corpus:
    from hcodec.corpus.folder import Folder
    from hcodec.corpus.run import Corpus, dask, try_out

    dask()
    try_out(settings)
    corpus = Corpus(Folder.at(source), Folder.at(dest), settings, PICTURES, force)
    corpus.plan(console.warn)
    if not corpus.left and not corpus.failed and not corpus.num_done:
        raise click.ClickException(f"{source}: there are no pictures")
    return corpus


def _run(corpus: Corpus, scheduler: str | None, workers: int | None, threads: int, console: Console) -> list[Record]:
    """Encodes what is left, and says how it goes. Returns what failed."""
    from hcodec.corpus.run import connected
    from hcodec.models.runtime.threads import num_processors

    num_left = len(corpus.left)
    console.note(f"{corpus.num_done:,} pictures done before, {num_left:,} left, {len(corpus.failed):,} impossible")
    if corpus.left:
        with ExitStack() as stack:
            client = stack.enter_context(connected(scheduler, workers or num_processors()))
            progress = stack.enter_context(_progress(console, num_left))
            for record in stack.enter_context(closing(corpus.encode(client, threads))):
                _tell(record, console)
                progress.add(record)
    return corpus.failed


def _tell(record: Record, console: Console) -> None:
    for warning in record.warnings:
        console.warn(record.name, warning)
    if console.as_json and not record.error:
        console.report(Report("", asdict(record)))


@dataclass
class _Progress:
    """How far a run is and how fast: on a terminal a line that changes, else one line now and then, and a last one."""

    console: Console
    num_left: int
    begin_s: float = field(default_factory=monotonic)
    told_s: float = field(default_factory=monotonic)
    num_done: int = 0
    num_failed: int = 0
    num_pixels: int = 0
    source_bytes: int = 0
    file_bytes: int = 0

    def add(self, record: Record) -> None:
        """Counts a picture."""
        self.num_done += record.done
        self.num_failed += not record.done
        self.num_pixels += record.width * record.height
        self.source_bytes += record.source_bytes
        self.file_bytes += record.file_bytes
        if self.console.bar is self:
            self.render_progress()
        elif monotonic() - self.told_s > _PAUSE_S:
            self.told_s = monotonic()
            self.console.note(self.line())

    def line(self) -> str:
        """The state in one line."""
        spent_s = max(monotonic() - self.begin_s, 1e-3)
        counted = self.num_done + self.num_failed
        failed = f", {self.num_failed:,} failed" if self.num_failed else ""
        rest = f", about {(self.num_left - counted) * spent_s / counted / 60:.0f} min left" if 0 < counted < self.num_left else ""
        return (
            f"{self.num_done:,} of {self.num_left:,} pictures in {spent_s:.0f} s{failed}: "
            f"{self.num_done / spent_s:.2f} pictures/s, {self.num_pixels / 1e6 / spent_s:.2f} megapixels/s, "
            f"{self.source_bytes / 1e6:.2f} -> {self.file_bytes / 1e6:.2f} MB{rest}"
        )

    def render_progress(self) -> None:
        """Draws the line on the terminal, in place of what was there."""
        click.echo(f"\r\x1b[K{self.line()}", err=True, nl=False)


@contextmanager
def _progress(console: Console, num_left: int) -> Iterator[_Progress]:
    """What is told of the progress while the context lasts."""
    progress = _Progress(console, num_left)
    if sys.stderr.isatty() and not console.quiet:
        console.bar = progress
    try:
        yield progress
    finally:
        if console.bar is progress:
            click.echo("\r\x1b[K", err=True, nl=False)
            console.bar = None
        console.note(progress.line())
