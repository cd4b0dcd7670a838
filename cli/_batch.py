"""Many inputs, one after the other: reports, warnings, errors, progress and the exit code.

The frame around every command's one call of the package. A file that fails costs one line on stderr and the exit code
1; the files after it are still processed. Stdlib, click and hcodec.errors only.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import Any

import click

from hcodec.cli._aside import aside
from hcodec.cli._files import OURS, STDIO, Format, Job, is_missing, read_bytes, real, refuse, write_bytes
from hcodec.cli._report import Report, describe, plain, shown
from hcodec.errors import HcodecError, HcodecWarning

_STEPS = 200  # of the progress bar for each file
Maker = Callable[[Any], tuple[bytes, Report]]  # of what was read of an input
Action = Callable[[str], Report]


@dataclass
class Console:
    """Where reports, warnings and errors go.

    Data owns stdout: reports are written to stderr, but those of commands that only report (`text_on_stderr` False) to
    stdout. JSON goes to stdout unless data does.
    """

    quiet: bool = False
    as_json: bool = False
    text_on_stderr: bool = True
    json_on_stderr: bool = False
    bar: Any = None
    num_files: int = 1
    num_done: int = 0
    _open: ExitStack = field(default_factory=ExitStack)

    def report(self, report: Report) -> None:
        """Says that a file is done."""
        if self.as_json:
            self._line(json.dumps(report.fields), err=self.json_on_stderr)
        elif not self.quiet:
            self._line(report.text, err=self.text_on_stderr)

    def warn(self, source: str, message: str) -> None:
        """Says what was lost."""
        self._line(f"Warning: {_about(source, message)}")

    def note(self, message: str) -> None:
        """Says what is worth knowing beforehand."""
        if not self.quiet:
            self._line(message)

    def fail(self, source: str, message: str) -> None:
        """Says why a file failed."""
        if self.as_json:
            self._line(json.dumps({"input": source, "error": message}), err=self.json_on_stderr)
        self._line(f"Error: {_about(source, message)}")

    def progress(self, total: int) -> AbstractContextManager[Any]:
        """What all files are done within: a progress bar, on a terminal, from the first on where there are several."""
        self.num_files, self._open = total, ExitStack()
        if total > 1:
            self.take_long()
        return self._open

    def take_long(self) -> None:
        """Says that what follows takes long: there is a progress bar from now on, on a terminal only."""
        if self.bar is None and not self.quiet and self.text_on_stderr and sys.stderr.isatty():
            bar = click.progressbar(length=self.num_files * _STEPS, file=sys.stderr, item_show_func=self._position)
            self.bar = self._open.enter_context(bar)

    def _position(self, _item: Any) -> str | None:
        return f"{self.num_done}/{self.num_files}" if self.num_files > 1 else None

    def advance(self) -> None:
        """Moves the progress bar to the end of a file."""
        self.num_done += 1
        self._move(self.num_done * _STEPS)

    def within(self, share: float) -> None:
        """Moves the progress bar to a share, 0 to 1, of the file that is under way."""
        self._move(self.num_done * _STEPS + min(int(share * _STEPS), _STEPS - 1))

    def _move(self, position: int) -> None:
        if self.bar is not None:
            self.bar.update(position - self.bar.pos)

    def _line(self, text: str, err: bool = True) -> None:
        if self.bar is not None:
            click.echo("\r\x1b[K", err=True, nl=False)  # the bar's line is cleared and drawn again below the text
        click.echo(text, err=err)
        if self.bar is not None:
            self.bar.render_progress()


def _about(source: str, message: str) -> str:
    """Returns a message with the input that it is about, which it may begin with itself: once is enough."""
    name = shown(source)
    return f"{name}: {plain(message.removeprefix(os.path.basename(source) + ': '))}"


def run(sources: Sequence[str], action: Action, console: Console) -> None:
    """Does `action` for every input; leaves the program with 1 if one of them failed."""
    failed = False
    with console.progress(len(sources)):
        for source in sources:
            failed |= not _attempt(source, action, console)
            console.advance()
    if failed:
        click.get_current_context().exit(1)


def refuse_missing(sources: Sequence[str], console: Console) -> None:
    """Leaves the program with 1 if some inputs are not there, before anything is written; names them all."""
    missing = [source for source in dict.fromkeys(sources) if is_missing(source)]
    is_output = len(sources) == 2 and missing == [sources[1]]
    for source in missing:
        hint = "; if it is the output, name it with -o" if is_output else "; nothing was written" if len(sources) > 1 else ""
        console.fail(source, f"{os.strerror(errno.ENOENT)}{hint}")
    if missing:
        click.get_current_context().exit(1)


def run_jobs(
    jobs: Sequence[Job], make: Maker, console: Console, format: Format = OURS,
    *, read: Callable[[str], Any] = read_bytes, force: bool,
) -> None:  # fmt: skip
    """Makes and writes every output, each of what is read of its input; leaves the program with 1 if one of them failed."""
    targets, sources = iter(jobs), [job.source for job in jobs]
    console.json_on_stderr = any(job.target == STDIO for job in jobs)
    refuse_missing(sources, console)
    written: set[str] = set()

    def action(_source: str) -> Report:
        """Does one job, unless its output is there already; what is wrong with its input is said first."""
        job = next(targets)
        if real(job.target) in written:
            raise click.ClickException(f"{job.target} was just written from another input")
        data = read(job.source)
        refuse(job.target, sources, format, force=force)
        report = write_job(job, *aside(make, data), force=force)
        if job.target != STDIO:
            written.add(real(job.target))
        return report

    run(sources, action, console)


def write_job(job: Job, data: bytes, report: Report, *, force: bool) -> Report:
    """Writes an output; returns the report with the names of input and output."""
    write_bytes(job.target, data, force=force)
    target = "stdout" if job.target == STDIO else plain(job.target)
    return Report(f"{shown(job.source)} -> {target}  {report.text}", {"input": job.source, "output": job.target, **report.fields})


def _attempt(source: str, action: Action, console: Console) -> bool:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            report, problem = action(source), ""
        except BrokenPipeError:
            raise  # the reader has left: click ends the program quietly
        except (HcodecError, click.ClickException, OSError, MemoryError, RuntimeError) as error:
            report, problem = None, describe(error, source)
    lost = dict.fromkeys(str(entry.message) for entry in caught if issubclass(entry.category, HcodecWarning))
    for message in lost:
        console.warn(source, message)
    if report is None:
        console.fail(source, problem)
        return False
    console.report(Report(report.text, {**report.fields, "warnings": list(lost)}))
    return True
