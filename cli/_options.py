"""Options that several commands share, and the types of their values. Click and the names of metadata only."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from hcodec import arguments
from hcodec.container.attachments import METADATA_KINDS, STRIP_KINDS
from hcodec.errors import HcodecError

_Command = TypeVar("_Command", bound=Callable[..., Any])


class Size(click.ParamType):
    """A number of bytes: 40000, 40kB (thousands) or 40KiB (1024s)."""

    name = "SIZE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number of bytes, at least 1."""
        try:
            return arguments.size("SIZE", value)
        except HcodecError:
            self.fail(f"{value!r:.60} is not a size such as 40000, 40kB or 40KiB.", param, ctx)


class Kinds(click.ParamType):
    """`all`, `none`, or a list such as icc,exif of the kinds that are known."""

    name = "KINDS"

    def __init__(self, known: Sequence[str]) -> None:
        self._known = known

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """The kinds of metadata."""
        if isinstance(value, tuple):
            return value
        named = {"all": tuple(self._known), "none": ()}.get(value.strip().lower())
        kinds = tuple(part.strip().lower() for part in value.split(",")) if named is None else named
        if not set(kinds) <= set(self._known):
            self.fail(f"{value!r:.60} is not all, none or a list of {','.join(self._known)}.", param, ctx)
        return kinds


class Region(click.ParamType):
    """A rectangle in pixels, such as 512,256,300,200: x, y, width and height."""

    name = "X,Y,W,H"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """The four numbers; that they lie within the picture is seen when it is known."""
        if isinstance(value, tuple):
            return value
        if not re.fullmatch(r"\d{1,18}(,\d{1,18}){3}", value):  # more digits than any picture has
            self.fail(f"{value!r:.60} is not a region such as 512,256,300,200 (x, y, width and height).", param, ctx)
        return tuple(map(int, value.split(",")))


class Background(click.ParamType):
    """A color: a name or #rrggbb."""

    name = "COLOR"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int, int]:
        """Red, green and blue, each 0 .. 255."""
        from hcodec.pixels.background import rgb

        try:
            return rgb(value)
        except HcodecError:
            self.fail(f"{value!r:.60} is not a color such as white, #ffcc00 or rgb(255,204,0).", param, ctx)


def together(*options: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    """One decorator that adds all `options`, in their order."""

    def decorate(command: _Command) -> _Command:
        """Adds the options to one command."""
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def _installed(_ctx: click.Context, _param: click.Parameter, begun: str) -> list[str]:
    """The names of models that a shell may complete."""
    from hcodec import models

    return [name for name in models.names() if name.startswith(begun)]


FILE = click.Path(allow_dash=True, readable=False)  # completed by shells; whether it is there is seen when it is used
MODEL_NAME = click.argument("name", required=False, shell_complete=_installed)
INPUTS = click.argument("sources", metavar="IN...", nargs=-1, required=True, type=FILE)
INPUTS_OUTPUT = click.argument("sources", metavar="IN... [OUT]", nargs=-1, required=True, type=FILE)
FORCE = click.option("-f", "--force", is_flag=True, help="Overwrite existing files; write under foreign suffixes.")
RECURSIVE = click.option("-r", "--recursive", is_flag=True, help="Take the files in folders, too.")
QUIET = click.option("--quiet", is_flag=True, help="No reports, only warnings and errors.")
JSON = click.option("--json", "as_json", is_flag=True, help="Report one JSON object a line, on stdout unless data is.")
MODEL = click.option("--model", default="photo-1", show_default=True, metavar="NAME", shell_complete=_installed,
                     help="The model to encode with.")  # fmt: skip
KEEPING = together(
    click.option("--metadata", type=Kinds(METADATA_KINDS), default="all", show_default=True,
                 help=f"What to keep: all, none, or some of {','.join(METADATA_KINDS)} (other: what has no place, to be named)."),
    click.option("--strip", type=Kinds(STRIP_KINDS), default="none", help="What not to keep of that: all, or such as gps,text."),
    click.option("--convert", is_flag=True, help="Change what would be refused: floats, and without loss CMYK and the like."),
)  # fmt: skip
SEVERAL_INPUTS = together(
    INPUTS_OUTPUT,
    click.option("-o", "--output", metavar="OUT", type=FILE, help="A file, a folder (DIR/), or - for stdout."),
    FORCE, RECURSIVE, QUIET, JSON,
)  # fmt: skip
COMPUTE = together(
    click.option(
        "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="cpu", show_default=True,
        help="Where to compute; the result is the same.",
    ),
    click.option("--backend", type=click.Choice(["onnx", "torch"]), help="What computes; files are the same."),
    click.option("-j", "--threads", type=click.IntRange(min=1), metavar="N", help="Threads to compute with."),
)  # fmt: skip


def at_most_one(**values: object) -> None:
    """Raises click.UsageError if two or more of the options were given."""
    given = ["--" + name.replace("_", "-") for name, value in values.items() if value is not None]
    if len(given) > 1:
        raise click.UsageError(f"{' and '.join(given)} exclude each other.")


def set_threads(threads: int | None) -> None:
    """Limits the threads that hcodec computes with; None leaves them at one for each processor."""
    if threads is not None:
        from hcodec.models.runtime import threads as pool

        pool.set_threads(threads)
