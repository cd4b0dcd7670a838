"""Time of commands, from the start of a process to its end."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.measurements.clock import timed
from benchmarks.measurements.operation.extent import Extent
from benchmarks.measurements.progress import progress
from benchmarks.measurements.task import Task

_MODULE = ("-m", "hcodec")


def measure(task: Task, extent: Extent) -> dict[str, Any]:
    """Seconds of every round, by command."""
    with tempfile.TemporaryDirectory() as folder:
        commands = _commands(task.photos[0].path, Path(folder))
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        with progress("commands", (extent.rounds + 1) * len(commands)) as advance:
            for number in range(extent.rounds + 1):
                for name, arguments in commands.items():
                    spent = timed(_python, *arguments)[1]
                    if number:  # the first round reads files from the disk
                        seconds[name].append(round(spent, 4))
                    advance()
    return {"picture": task.photos[0].name, "seconds": seconds}


def _commands(picture: Path, folder: Path) -> dict[str, tuple[str, ...]]:
    """Arguments of Python, by what is shown; each command can use what those before it have written."""
    file, shown = str(folder / "file.hcodec"), str(folder / "shown.png")
    return {
        "python": ("-c", ""),
        "import hcodec": ("-c", "import hcodec"),
        "import hcodec.codec": ("-c", "import hcodec.codec"),
        "hcodec encode": (*_MODULE, "encode", str(picture), "-o", file, "--force", "--quiet"),
        "hcodec decode": (*_MODULE, "decode", file, "-o", shown, "--force", "--quiet"),
        "hcodec info": (*_MODULE, "info", file),
        "hcodec --version": (*_MODULE, "--version"),
    }


def _python(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
