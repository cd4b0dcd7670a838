"""`hcodec serve`: a folder of pictures in a browser, decoded there. Neither numpy nor Pillow before a JPEG file is asked for."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import click


@click.command()
@click.argument("folder", default=".", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--port", type=click.IntRange(0, 65535), default=8642, show_default=True, help="Where to listen; 0: anywhere.")
@click.option("--open", "opens", is_flag=True, help="Open the page in a browser.")
def command(folder: Path, port: int, opens: bool) -> None:
    """Show a folder of pictures in a browser.

    The page decodes hcodec files by itself, level by level while they arrive, and shows a JPEG file of equal bytes beside
    them: made of the picture that lies beside the file (img.png beside img.hcodec), or else of the file's last level. Only
    programs on this machine can reach it. Ctrl-C ends it.

    \b
      hcodec serve
      hcodec serve holiday --port 8000
    """
    from hcodec.gallery import Gallery
    from hcodec.server import PictureServer

    try:
        server = PictureServer(Gallery(folder), port)
    except OSError as error:
        raise click.ClickException(f"cannot listen on port {port}: {error.strerror}") from error
    with server, suppress(KeyboardInterrupt):
        count = len(server.gallery.entries())
        click.echo(f"{count} picture{'' if count == 1 else 's'} at {server.address} (Ctrl-C ends)")
        if opens:
            click.launch(server.address)
        server.serve_forever()
