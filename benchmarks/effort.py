"""`python -m benchmarks effort FOLDER`: what `--effort` saves at equal quality, and what it takes, through the public names."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import click
import numpy as np

from benchmarks import bdrate, session, tables
from benchmarks.images import Photo, Pixels, read
from benchmarks.images import folder as image_folder

FILE = "effort.json"


class Curve(TypedDict):
    """One file: seconds to encode, warm, and its levels' rates (bits per pixel, container included) and PSNR (dB)."""

    seconds: float
    bpp: list[float]
    psnr: list[float]


Found = dict[str, dict[str, Curve]]  # by effort, by picture


def run(folder: Path, target: Path, limit: int | None, efforts: Sequence[int]) -> bool:
    """Measures the pictures of `folder` and writes `target/effort.json`; nothing here can be found wrong."""
    photos = image_folder(folder, limit)
    megapixels = {photo.name: photo.num_px / 1e6 for photo in photos}
    found: Found = {str(effort): {} for effort in efforts}
    with session.progress("effort", len(photos) * len(efforts)) as advance:
        for photo in photos:
            for effort in efforts:
                found[str(effort)][photo.name] = _measure(photo, read(photo.path), effort)
                advance()
    target.mkdir(parents=True, exist_ok=True)
    (target / FILE).write_text(json.dumps({"megapixels": megapixels, "efforts": found}, indent=1) + "\n")
    click.echo(table(target))
    return False


def _measure(photo: Photo, pixels: Pixels, effort: int) -> Curve:
    import hcodec

    hcodec.encode(pixels[:64, :64])  # loads the model
    start = time.perf_counter()
    data = hcodec.encode(pixels, effort=effort)
    seconds = time.perf_counter() - start
    rows = hcodec.info(data).levels
    decoded = [np.asarray(hcodec.decode(io.BytesIO(data), levels=i + 1).convert("RGB")) for i in range(len(rows))]
    errors = [float(np.mean(np.square(image.astype(np.int32) - pixels))) for image in decoded]
    return Curve(
        seconds=round(seconds, 2),
        bpp=[round(photo.bpp(row.prefix_bytes), 5) for row in rows],
        psnr=[round(float(10 * np.log10(255**2 / error)), 4) for error in errors],
    )


def count(target: Path) -> int:
    """How many pictures were measured."""
    return len(json.loads((target / FILE).read_text())["megapixels"])


def table(target: Path) -> str:
    """BD-rates against the lowest effort and seconds per megapixel, as Markdown; empty when there are no results."""
    if not (target / FILE).exists():
        return ""
    stored = json.loads((target / FILE).read_text())
    found: Found = stored["efforts"]
    head = ("effort", "BD-rate", "below 32 dB", "32–36 dB", "above 36 dB", "picture by picture", "seconds per megapixel")
    anchor = next(iter(found.values()))
    total = sum(stored["megapixels"].values())
    return tables.markdown(head, [_row(effort, curves, anchor, total) for effort, curves in found.items()])


def _row(effort: str, curves: dict[str, Curve], anchor: dict[str, Curve], megapixels: float) -> list[str]:
    tested, reference = _mean(curves), _mean(anchor)
    bands = [tables.percent(bdrate.delta(tested, reference, band), 2) for band in bdrate.BANDS_DB]
    each = [bdrate.delta(_mean({name: curves[name]}), _mean({name: anchor[name]})) for name in curves]
    mean = float(np.mean([delta.percent for delta in each if delta]))
    seconds = sum(curve["seconds"] for curve in curves.values()) / megapixels
    return [effort, tables.percent(bdrate.delta(tested, reference), 2), *bands, tables.signed(mean, 2), f"{seconds:.1f}"]


def _mean(curves: dict[str, Curve]) -> bdrate.Line:
    """The mean rate and mean PSNR of each level."""
    rates, qualities = (np.mean([curve[key] for curve in curves.values()], 0) for key in ("bpp", "psnr"))
    return bdrate.line(rates.tolist(), qualities.tolist())
