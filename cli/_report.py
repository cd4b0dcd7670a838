"""The words of reports and errors. Stdlib, click and the container's description of a file only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING
from unicodedata import category

import click

from hcodec.cli._files import STDIO

if TYPE_CHECKING:
    from hcodec.container import Info


@dataclass(frozen=True)
class Report:
    """What is said of one file: a line (or several) for people, fields for `--json`."""

    text: str
    fields: Mapping[str, object] = field(default_factory=dict)


def shown(source: str) -> str:
    """The name of an input for messages."""
    return "stdin" if source == STDIO else plain(source)


def plain(text: str) -> str:
    """Text as one line that does nothing to a terminal: names of files may hold line ends and control characters."""
    return "".join(one if one.isprintable() or category(one) == "Zs" else one.encode("unicode_escape").decode() for one in text)


def count(number: int, what: str) -> str:
    """A number of things."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def describe(error: Exception, source: str) -> str:
    """One line that says what went wrong, without the name of the input."""
    if isinstance(error, IsADirectoryError):
        return f"is a folder{' (-r takes the files in it)' if _has_recursive() else ''}"
    if isinstance(error, OSError) and error.strerror:
        elsewhere = error.filename is not None and str(error.filename) != source
        return f"{error.filename}: {error.strerror}" if elsewhere else error.strerror
    if isinstance(error, MemoryError):
        return "not enough memory"
    text = error.message if isinstance(error, click.ClickException) else str(error)
    return text.strip().partition("\n")[0] or type(error).__name__


def _has_recursive() -> bool:
    """Whether the command that runs has -r."""
    context = click.get_current_context(silent=True)
    return context is not None and any(option.name == "recursive" for option in context.command.params)


def whole_levels(info: Info) -> int:
    """How many levels are whole, from the first on: none missing, cut or corrupt."""
    good = takewhile(lambda level: level.present_bytes == level.num_bytes and level.crc_ok is not False, info.levels)
    whole = len(list(good))
    return whole - 1 if info.cut and whole == len(info.levels) else whole


def say_lossless(info: Info) -> str:
    """How the lossless layer of a file is coded, as an addition to the levels; empty if it has none that is whole."""
    last = info.lossless
    if last is None or last.crc_ok is False or not last.method:
        return ""
    origin = f" from level {last.start}" if last.start else ""
    return f", lossless ({last.method}{origin})"


def subpixels(info: Info) -> int:
    """How many samples the picture has, those of an alpha channel included."""
    return info.width * info.height * ((1 if info.gray else 3) + info.has_alpha)


def say_levels(info: Info, wanted: int | None = None) -> str:
    """The levels of a file that decoding uses: `all 7 levels`, or `levels 1 to 4 complete, a part of level 5 of 7`.

    Of a picture that is stored as a whole: how.
    """
    whole, total = whole_levels(info), _levels_of_model(info)
    if info.stored:
        return f"{info.stored}: stored losslessly{'' if whole else ', but cut, so this is not exact'}"
    if wanted is not None and wanted <= whole:
        return f"{_span(wanted)} of {total}"
    part = whole < len(info.levels) and info.levels[whole].present_bytes and info.levels[whole].crc_ok is not False
    if part:
        return f"{f'{_span(whole)} complete, ' if whole else ''}a part of level {whole + 1} of {total}"
    return f"all {total} levels" if whole == total else f"{_span(whole)} of {total}"


def _span(levels: int) -> str:
    return f"levels 1 to {levels}" if levels > 1 else f"level {levels}" if levels else "no level"


def _levels_of_model(info: Info) -> int:
    """How many levels a picture has with all of them: the file may have been made, or cut, with fewer."""
    from hcodec import models

    known = (models.summary(name) for name in models.names())
    return next((model.num_levels for model in known if model.fingerprint == info.fingerprint), len(info.levels))
