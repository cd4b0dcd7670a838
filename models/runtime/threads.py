"""The threads that parts and windows are shared among: a pool of our own, whose threads sleep while they wait.

Room: runtime. The threads of numerical libraries spin while they wait for each other, which makes a busy machine many
times slower. Here every product runs on the thread that asks for it, and what runs at the same time is this pool's business.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Pool:
    """Threads, made when they are needed; a forked child makes its own."""

    def __init__(self) -> None:
        self.count = num_processors()
        self.executor: ThreadPoolExecutor | None = None
        self.lock = threading.Lock()
        self.inside = threading.local()  # of a thread of the pool, which must not wait for others of the pool

    def get(self) -> ThreadPoolExecutor:
        """Returns the running pool."""
        with self.lock:
            if self.executor is None:
                self.executor = ThreadPoolExecutor(self.count, "hcodec", initializer=self._mark)
            return self.executor

    def _mark(self) -> None:
        self.inside.yes = True

    def resize(self, count: int) -> None:
        """Has later work use so many threads."""
        with self.lock:
            self.count, self.executor = count, None


def num_processors() -> int:
    """Returns how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):  # on Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_POOL = _Pool()


def _renew() -> None:
    """Forgets the pool's threads, which a forked child does not have; its lock may be held by one of them."""
    global _POOL
    count = _POOL.count
    _POOL = _Pool()
    _POOL.count = count


if hasattr(os, "register_at_fork"):  # not on Windows, which has no forks either
    os.register_at_fork(after_in_child=_renew)


def set_threads(count: int) -> None:
    """Limits the threads that hcodec computes with; never more than there are processors. ValueError below 1."""
    if count < 1:
        raise ValueError(f"{count} threads: at least 1 is needed")
    _POOL.resize(min(count, num_processors()))


def each(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Returns the function of each item, in order, computed by the pool; one after the other where that wins nothing."""
    if len(items) < 2 or _POOL.count == 1 or getattr(_POOL.inside, "yes", False):
        return [function(item) for item in items]
    return list(_POOL.get().map(function, items))
