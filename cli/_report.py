"""The words of reports and errors. Stdlib, click and the container's description of a file only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING

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
    return "stdin" if source == STDIO else source


def describe(error: Exception, source: str) -> str:
    """One line that says what went wrong, without the name of the input."""
    if isinstance(error, IsADirectoryError):
        return "is a folder (-r takes the files in it)"
    if isinstance(error, OSError) and error.strerror:
        elsewhere = error.filename is not None and str(error.filename) != source
        return f"{error.filename}: {error.strerror}" if elsewhere else error.strerror
    if isinstance(error, MemoryError):
        return "not enough memory"
    text = error.message if isinstance(error, click.ClickException) else str(error)
    return text.strip().partition("\n")[0] or type(error).__name__


def whole_levels(info: Info) -> int:
    """How many levels are whole, from the first on: none missing, cut or corrupt."""
    good = takewhile(lambda level: level.present_bytes == level.num_bytes and level.crc_ok, info.levels)
    whole = len(list(good))
    return whole - 1 if info.cut and whole == len(info.levels) else whole


def say_lossless(info: Info) -> str:
    """How the lossless layer of a file is coded, as an addition to the levels; empty if it has none that is whole."""
    last = info.lossless
    if last is None or not last.crc_ok:
        return ""
    origin = f" from level {last.start}" if last.start else ""
    return f", lossless ({last.method}{origin})"


def subpixels(info: Info) -> int:
    """How many samples the picture has, those of an alpha channel included."""
    return info.width * info.height * ((1 if info.gray else 3) + info.has_alpha)


def say_levels(info: Info, wanted: int | None = None) -> str:
    """The levels of a file that decoding uses: `levels 8 of 8`, or `levels 3 and a part of 8`; or how it is stored."""
    whole = whole_levels(info)
    if info.stored:
        return f"{info.stored}: {'' if whole else 'a part of it, '}stored losslessly"
    if wanted is not None and wanted <= whole:
        return f"levels {wanted} of {len(info.levels)}"
    part = whole < len(info.levels) and info.levels[whole].present_bytes and info.levels[whole].crc_ok is not False
    return f"levels {whole}{' and a part' if part else ''} of {len(info.levels)}"
