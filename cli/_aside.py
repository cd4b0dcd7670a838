"""Work beside the main thread, so that Ctrl-C ends the program at once. Stdlib only."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import ParamSpec, TypeVar

Given = ParamSpec("Given")
Result = TypeVar("Result")


def aside(function: Callable[Given, Result], *args: Given.args, **options: Given.kwargs) -> Result:
    """Returns what a function returns, or raises what it raises; it runs in a thread of its own meanwhile.

    Python hears of Ctrl-C on the main thread only, and not before a library returns, which can compute for seconds. Files are
    not to be written in there: the program does not wait for the thread then.
    """
    outcome: Future[Result] = Future()

    def work() -> None:
        """Computes."""
        try:
            outcome.set_result(function(*args, **options))
        except BaseException as error:
            outcome.set_exception(error)

    Thread(target=work, name="aside", daemon=True).start()
    return outcome.result()
