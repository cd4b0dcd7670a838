"""`python -m benchmarks lossless FOLDER`: bits per sub-pixel and speed of codecs that keep every bit."""

from __future__ import annotations

import json
from pathlib import Path

import click

from benchmarks import peers, results, session, tables
from benchmarks.images import folder as image_folder

SUBFOLDER = "lossless"
_SIZES = "pixels.txt"


def run(folder: Path, target: Path, names: tuple[str, ...], limit: int | None, num_workers: int) -> bool:
    """Measures the pictures of `folder`, writes results under `target`; returns whether any codec was found wrong."""
    found = peers.lossless()
    chosen = session.choose(found, names)
    photos = image_folder(folder, limit)
    curves = session.run(photos, chosen, num_workers)
    for curve in curves.values():
        results.write(curve, target / SUBFOLDER)
    if not names:
        session.remember_absent(found, target / SUBFOLDER)
    sizes = {photo.name: photo.num_px for photo in photos}
    (target / SUBFOLDER / _SIZES).write_text(json.dumps(sizes) + "\n")
    click.echo(table(target))
    return session.report_faults(curves)


def table(target: Path) -> str:
    """The table of the lossless results of a results folder, as Markdown; empty when there are none."""
    curves = results.load_folder(target / SUBFOLDER)
    if not curves:
        return ""
    num_px = json.loads((target / SUBFOLDER / _SIZES).read_text())
    return tables.lossless(list(curves.values()), num_px)
