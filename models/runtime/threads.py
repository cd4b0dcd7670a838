"""The threads that parts and windows are shared among: a pool of our own, whose threads sleep while they wait.

Room: runtime. The threads of numerical libraries spin while they wait for each other, which makes a busy machine many
times slower. Here every product runs on the thread that asks for it, and what runs at the same time is this pool's business.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Show = Callable[[float], None]  # gets the share of the work that is done


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


def count() -> int:
    """Returns how many threads hcodec computes with at most."""
    return _POOL.count


class _Stopped(Exception):
    """The work that a thread of the pool does is not wanted any more."""


def check() -> None:
    """Ends the calling thread's work if it belongs to the pool, and to an `each` that has failed or was interrupted."""
    stop = getattr(_POOL.inside, "stop", None)
    if stop is not None and stop.is_set():
        raise _Stopped


def ignore(share: float) -> None:
    """Shows nothing."""


def between(show: Show, low: float, high: float) -> Show:
    """Returns what shows a share of a part of the work, from `low` to `high` of all of it."""
    return lambda share: show(low + (high - low) * share)


def each(function: Callable[[Item], Result], items: Sequence[Item], show: Show = ignore) -> list[Result]:
    """Returns the function of each item, in order, computed by the pool; one after the other where that wins nothing.

    show: gets the share of items that are done, on the calling thread. What ends it early, an interrupt say, ends all of it.
    """
    shared = len(items) > 1 and _POOL.count > 1 and not getattr(_POOL.inside, "yes", False)
    stop, results = threading.Event(), list[Result]()
    try:
        for result in _POOL.get().map(partial(_stoppable, stop, function), items) if shared else map(function, items):
            results.append(result)
            show(len(results) / len(items))
    except BaseException:
        stop.set()
        raise
    return results


def _stoppable(stop: threading.Event, function: Callable[[Item], Result], item: Item) -> Result:
    """Does the work of a thread of the pool, which looks at `stop` now and then."""
    _POOL.inside.stop = stop
    check()
    return function(item)
