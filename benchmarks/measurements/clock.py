"""Time: of a call, and of each module of hcodec within a call."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")


def timed(call: Callable[..., T], *arguments: object) -> tuple[T, float]:
    """What `call(*arguments)` returns, and the seconds that it took."""
    start = time.perf_counter()
    result = call(*arguments)
    return result, time.perf_counter() - start


class _ModuleClock:
    """Gives the time between two calls or returns to the innermost function of hcodec at work, by its module."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._modules = ["other"]
        self._since = time.perf_counter()

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        """What `sys.setprofile` calls at each call and return of a Python function, in the thread that is measured."""
        module = str(frame.f_globals.get("__name__"))
        if event not in ("call", "return") or not module.startswith("hcodec."):
            return
        now = time.perf_counter()
        self.seconds[self._modules[-1]] += now - self._since
        self._since = now
        if event == "call":
            self._modules.append(module.removeprefix("hcodec."))
        elif len(self._modules) > 1:
            self._modules.pop()


def seconds_by_module(call: Callable[[], object]) -> dict[str, float]:
    """Seconds that one call spends in each module of hcodec and in what it calls elsewhere, the longest first."""
    clock = _ModuleClock()
    sys.setprofile(clock)
    try:
        call()
    finally:
        sys.setprofile(None)
    return dict(sorted(clock.seconds.items(), key=lambda entry: -entry[1]))
