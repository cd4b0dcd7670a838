"""The command line: a click group that imports a command's module only when that command is wanted.

Room: cli (step 1 of encoding and of decoding). Options become one call of the package each, and what comes back
becomes a report. Nothing here or in the command modules imports torch, numpy or Pillow at the top: `hcodec --help`
must answer at once.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

import click

from hcodec.cli._streams import guarded

_COMMANDS = (
    "encode",
    "decode",
    "info",
    "truncate",
    "pack",
    "unpack",
    "list",
    "demo",
    "inspect",
    "serve",
    "corpus",
    "models",
    "doctor",
    "lab",
)


_INTERRUPTED = 130  # the exit code of what Ctrl-C has ended, as shells have it


class _LazyGroup(click.Group):
    _interrupted = False

    def __call__(self, *args: Any, **extra: Any) -> Any:
        """Runs the program as a process of its own. After Ctrl-C that ends at once, whatever its threads are doing."""
        self._interrupted = False
        try:
            return super().__call__(*args, **extra)
        finally:
            if self._interrupted:
                os._exit(_INTERRUPTED)  # all that was begun is undone by now, and sys.exit would wait for the threads

    def invoke(self, ctx: click.Context) -> Any:
        """Runs a command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            self._interrupted = True
            raise

    def main(self, *args: Any, **extra: Any) -> Any:
        """Runs the program."""
        with guarded():
            return super().main(*args, **extra)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands, without importing any."""
        return [*_COMMANDS]  # not list(): the command of that name becomes an attribute of this package

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports the command of that name, and no other."""
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = import_module(f"{__name__}.{cmd_name}").command
        return command


def _show_version(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    from hcodec import __version__, models
    from hcodec.container.header import VERSION

    known = ", ".join(f"{name} {models.summary(name).fingerprint}" for name in models.names())
    click.echo(f"hcodec {__version__} (file format {VERSION}; models: {known or 'none'})")
    ctx.exit()


@click.command(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-V", "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version,
    help="Show the versions of program, file format and models.",
)  # fmt: skip
def main() -> None:
    """Progressive image codec: one file, every quality.

    An image is encoded once; every prefix of the file decodes to an image, and more bytes give a better one.

    \b
      hcodec encode img.png                   # writes img.hcodec, all levels
      hcodec encode img.png web.hcodec -q 60  # 0 to 100: how much of it
      hcodec decode img.hcodec out.png        # --levels 2 for a preview
      hcodec info img.hcodec                  # layers, bytes, bits per pixel
      hcodec truncate img.hcodec --levels 2   # cuts, re-encodes nothing
      hcodec doctor                           # is all well on this machine?

    Commands, options and file names are completed by the shell after one line in its start file:

    \b
      bash, in ~/.bashrc     eval "$(_HCODEC_COMPLETE=bash_source hcodec)"
      zsh, in ~/.zshrc       eval "$(_HCODEC_COMPLETE=zsh_source hcodec)"
      fish, in ~/.config/fish/completions/hcodec.fish
                             _HCODEC_COMPLETE=fish_source hcodec | source
    """
