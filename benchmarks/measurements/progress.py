"""Progress bars of long measurements."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import click

T = TypeVar("T")


@contextmanager
def progress(label: str, length: int) -> Iterator[Callable[[], None]]:
    """A progress bar on stderr; gives a function, for any thread, that moves it one step on."""
    lock = threading.Lock()
    bar: Any = click.progressbar(length=length, label=label, show_pos=True, file=sys.stderr)
    with bar:

        def advance() -> None:
            """Moves the bar by one step; from any thread."""
            with lock:
                bar.update(1)

        yield advance


def each(label: str, items: Sequence[T]) -> Iterable[T]:
    """The items one by one, while a progress bar shows how many are done."""
    with progress(label, len(items)) as advance:
        for item in items:
            yield item
            advance()
