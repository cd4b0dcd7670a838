"""What a command line asks to be measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.images import Photo


@dataclass(frozen=True)
class Task:
    """`target`: the results folder; `names`: of the codecs, all when empty; `num_workers`: processes at work, 1 or 2."""

    photos: list[Photo]
    target: Path
    names: tuple[str, ...] = ()
    num_workers: int = 1
