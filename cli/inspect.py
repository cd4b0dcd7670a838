"""`hcodec inspect`: where the bits of each level go in a picture, and what the model makes of what is missing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

import click

from hcodec.cli._files import read_bytes, refuse_existing, refuse_input, write_bytes
from hcodec.cli._options import COMPUTE, FORCE, JSON, MODEL, set_threads
from hcodec.cli._report import describe, shown
from hcodec.errors import HcodecError

if TYPE_CHECKING:
    from PIL import Image

    from hcodec.inspection import LevelView
    from hcodec.pixels.picture import Picture

_RAMP = ((0, 0, 0), (40, 20, 110), (170, 40, 110), (245, 130, 40), (255, 245, 170))  # dark to bright: none to most bits


@click.command()
@click.argument("image")
@click.option("-o", "--output", metavar="OUT", help="Where the sheet goes, a PNG.  [default: no sheet]")
@click.option("--temperature", default=0.8, show_default=True, type=click.FloatRange(min=0), metavar="T",
              help="At which missing levels are drawn; 1 is the prior itself.")  # fmt: skip
@click.option("--seed", default=0, show_default=True, help="For drawing them.")
@FORCE
@MODEL
@COMPUTE
@JSON
def command(
    image: str, output: str | None, temperature: float, seed: int, force: bool, model: str, threads: int | None, as_json: bool,
    **compute: Any,
) -> None:  # fmt: skip
    """Show where the bits of a picture go, level by level.

    \b
    The table: bits of each level (its KL), and the surprise: bits spent for
    each bit that the model expected. Photographs have about 1 everywhere; a
    level far above 1 says that the picture is nothing like them.
    The sheet, level by level: the picture so far; where the level's bits went;
    the picture with all later levels drawn from the prior.

    \b
      hcodec inspect img.png -o sheet.png
    """
    set_threads(threads)
    try:
        if output is not None:
            refuse_input(output, [image])
            refuse_existing(output, force=force)
        picture = _read(image)
        views = _views(picture, model, compute)
        if output is not None:
            write_bytes(output, _sheet(picture, views, model, (temperature, seed), compute), force=force)
    except (HcodecError, OSError, MemoryError, RuntimeError) as error:
        raise click.ClickException(f"{shown(image)}: {describe(error, image)}") from error
    click.echo(json.dumps(_as_dict(image, views)) if as_json else "\n".join(_table(views)))


def _read(image: str) -> Picture:
    from hcodec.pixels import picture

    found = picture.read(read_bytes(image))
    for note in found.notes:
        click.echo(f"Warning: {shown(image)}: {note}", err=True)
    return found.without_notes()


def _views(picture: Picture, model: str, compute: Mapping[str, Any]) -> list[LevelView]:
    from hcodec import inspection, models

    return inspection.inspect(picture.pixels, models.load(model, compute["device"], compute["backend"]))


def _table(views: Sequence[LevelView]) -> Iterator[str]:
    yield " level        bits       bpp  expected  surprise"
    for view in views:
        expected = view.expected / view.num_pixels
        yield f"{view.number:>6}{view.bits:>12,.0f}{view.bpp:>10.4f}{expected:>10.4f}{view.surprise:>10.3f}"
    highest = max(views, key=lambda view: view.surprise)
    yield f"Most surprising: level {highest.number}, {highest.surprise:.3f} bits for each expected"


def _as_dict(image: str, views: Sequence[LevelView]) -> dict[str, Any]:
    levels = [
        {"level": v.number, "bits": v.bits, "bpp": v.bpp, "expected_bits": v.expected, "surprise": v.surprise} for v in views
    ]
    return {"input": image, "surprise": max(view.surprise for view in views), "levels": levels}


def _sheet(
    picture: Picture, views: Sequence[LevelView], model: str, drawn: tuple[float, int], compute: Mapping[str, Any]
) -> bytes:
    from hcodec import codec
    from hcodec.cli._strip import reduced, sheet, tile_size

    size = tile_size(*picture.pixels.shape[:2])
    data, columns = codec.encode(picture, model=model, lossless=False, **compute), []
    for view in views:
        shown = codec.decode_picture(data, levels=view.number, **compute).pixels
        invented = codec.decode_picture(data, levels=view.number, temperature=drawn[0], seed=drawn[1], **compute).pixels
        tiles = [reduced(shown, size), _heat(view).resize(size, 0), reduced(invented, size)]
        columns.append((f"level {view.number}", f"{view.bpp:.3f} bpp   surprise {view.surprise:.2f}", tiles))
    target = BytesIO()
    sheet(columns).save(target, "PNG")
    return target.getvalue()


def _heat(view: LevelView) -> Image.Image:
    """The rate map in colors, from black where nothing was spent; each level has its own scale."""
    import numpy as np
    from PIL import Image

    most = max(float(np.percentile(view.rate, 95)), 1e-9)
    place = (view.rate / (view.rate + most / 2)).clip(0, 1) * (len(_RAMP) - 1)
    ramp = np.array(_RAMP, dtype=np.float64).T
    colors = [np.interp(place, np.arange(len(_RAMP)), channel) for channel in ramp]
    return Image.fromarray(np.stack(colors, -1).round().astype(np.uint8))
