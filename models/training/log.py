"""What a training run says and writes down, and the file through which its end can be moved.

Room: training.
"""

from __future__ import annotations

import contextlib
import csv
import time
from pathlib import Path
from typing import Any

import click
from torch import Tensor

_ROW_EVERY = 20  # steps between two rows of log.csv
_SHOW_EVERY = 5.0  # seconds between two lines of progress


class Log:
    """A line of progress; rows of log.csv (single batches) and of curve.csv (validation) in the folder of a run."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.shown = folder, 0.0

    def step(self, progress: float, speed: float, values: dict[str, Any]) -> None:
        """Writes a row every 20 steps and shows every 5 seconds how far training is; speed in examples a second."""
        if values["step"] % _ROW_EVERY == 0:
            self._row(readable(values))
        if time.monotonic() - self.shown > _SHOW_EVERY:
            self.shown = time.monotonic()
            click.echo(f"\r{100 * progress:5.1f} %  {speed:.1f} a second  {readable(values)}"[:200], nl=False)

    def _row(self, values: dict[str, Any]) -> None:
        path = self.folder / "log.csv"
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, values.keys())
            if new:
                writer.writeheader()
            writer.writerow(values)

    def validation(self, step: int, line: str) -> None:
        """Writes and shows one line of validation, unless it is empty."""
        if line:
            with (self.folder / "curve.csv").open("a") as file:
                file.write(f"{step},{line}\n")
            self.say(f"validation at step {step}: {line}")

    def say(self, text: str) -> None:
        """Shows a line of its own, below the line of progress."""
        click.echo(f"\n{text}")


def readable(values: dict[str, Any]) -> dict[str, Any]:
    """Returns the values as plain numbers with four decimals; only here does the processor wait for a GPU."""
    numbers = {name: value.item() if isinstance(value, Tensor) else value for name, value in values.items()}
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in numbers.items()}


class Deadline:
    """The moment, in seconds since 1970, at which a run ends if a file says so: `date -d +20min +%s > deadline`.

    The file may come and change while the run goes on. One that was over when the run began says nothing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        moment = self._moment()
        self.over = moment if moment is not None and moment < time.time() else None

    def _moment(self) -> float | None:
        with contextlib.suppress(OSError, ValueError):  # not there, or half written
            return float(self.path.read_text())
        return None

    def seconds_left(self) -> float | None:
        """Returns the seconds until the end, below 0 if it is over; None where nobody has set one."""
        moment = self._moment()
        return None if moment is None or moment == self.over else moment - time.time()
