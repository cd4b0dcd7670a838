"""`hcodec info`: what a file holds, without decoding it. Needs the container only: no torch, no numpy, no Pillow."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from hcodec.cli._batch import Console, run
from hcodec.cli._options import INPUTS, JSON
from hcodec.cli._read import read_parts, say_read
from hcodec.cli._report import Report, shown, subpixels
from hcodec.errors import HcodecWarning

if TYPE_CHECKING:
    from hcodec.container import Info, LevelInfo, LosslessInfo


@click.command()
@INPUTS
@JSON
def command(sources: tuple[str, ...], as_json: bool) -> None:
    """Show what files hold, level by level.

    \b
      hcodec info img.hcodec
      hcodec info img.hcodec --json
      hcodec info https://example.org/img.hcodec   # reads its first bytes only
    """
    run(sources, _describe, Console(as_json=as_json, text_on_stderr=False))


def _describe(source: str) -> Report:
    from hcodec import container
    from hcodec.container.reader import nothing

    reader, read = read_parts(source, lambda _header: nothing)
    info = container.describe(reader)
    for warning in info.warnings:
        warnings.warn(warning, HcodecWarning, stacklevel=1)
    text = "\n".join([shown(source) + say_read(read), *_picture_lines(info), *_level_lines(info)])
    return Report(text, {"input": source, **info.as_dict(), **read})


def _picture_lines(info: Info) -> Iterator[str]:
    pixels = ("gray" if info.gray else "RGB") + (f" of {info.depth} bits" if info.depth > 8 else "")
    bpp = 8 * info.file_bytes / (info.width * info.height)
    state = "complete" if info.complete else f"the first of {info.total_bytes:,}"
    yield f"  picture    {info.width}x{info.height}, {pixels}{' with alpha' if info.has_alpha else ''}{_windows(info)}"
    yield f"  file       {info.file_bytes:,} bytes, {bpp:.3f} bpp, {state}"
    if info.stored:
        yield f"  stored     losslessly, without a model: {info.stored}, file format {info.version}"
    else:
        yield f"  model      {info.model} {info.fingerprint}{_lack(info.fingerprint)}, file format {info.version}"
    sizes = {"alpha": info.alpha_bytes, "ICC": info.icc_bytes, "Exif": info.exif_bytes, "XMP": info.xmp_bytes}
    extras = [*(f"{name} {num_bytes:,} bytes" for name, num_bytes in sizes.items() if num_bytes), *_values(info)]
    yield f"  container  {info.container_bytes:,} bytes" + "".join(f", {extra}" for extra in extras)


def _windows(info: Info) -> str:
    begin = f" from level {info.num_coarse + 1} on" if info.num_coarse else ""
    return f", {info.num_windows} windows{begin}" if info.num_windows > 1 and not info.stored else ""


def _values(info: Info) -> Iterator[str]:
    """What came along and is not bytes; of texts only how many, for they may hold anything."""
    if info.cicp:
        yield f"CICP {'/'.join(map(str, info.cicp))}"
    if info.chromaticities:
        yield "chromaticities"
    if info.gamma:
        yield f"gamma {info.gamma / 100_000:g}"
    if info.density:
        yield f"{info.density.x}x{info.density.y} pixels per {'meter' if info.density.unit else 'unknown unit'}"
    if info.orientation:
        yield f"orientation {info.orientation} in the source"
    if info.text:
        yield f"{len(info.text)} texts" if len(info.text) > 1 else "1 text"


def _lack(fingerprint: str) -> str:
    from hcodec import models

    installed = any(models.summary(name).fingerprint == fingerprint for name in models.names())
    return "" if installed else " (not installed)"


def _level_lines(info: Info) -> Iterator[str]:
    yield "  level       bytes       bpp    file up to here"
    for level in info.levels:
        yield (
            f"  {level.level:>5}  {level.num_bytes:>10,}  {level.bpp:>8.3f}  {level.prefix_bytes:>11,} bytes"
            f"  {_level_state(info, level, incomplete=info.cut and level is info.levels[-1])}"
        ).rstrip()
    if info.lossless is not None:
        last = info.lossless
        yield f"  exact  {last.num_bytes:>10,}  {last.bpp:>8.3f}  {last.prefix_bytes:>11,} bytes  {_lossless_state(info, last)}"


def _lossless_state(info: Info, last: LosslessInfo) -> str:
    state = _level_state(info, last, incomplete=False)
    if state or not last.method:
        return state or ("malformed" if last.crc_ok else "")
    origin = f" from level {last.start}" if last.start else ""
    return f"{8 * last.num_bytes / subpixels(info):.3f} bpsp, {last.method}{origin}"


def _level_state(info: Info, level: LevelInfo | LosslessInfo, *, incomplete: bool) -> str:
    if level.present_bytes < level.num_bytes:
        return f"{level.present_bytes:,} bytes present" if level.present_bytes else "missing"
    if level.crc_ok is None and any(other.crc_ok is False for other in info.levels):
        return "lost behind a corrupt level"
    return "corrupt" if level.crc_ok is False else "incomplete" if incomplete else ""
