"""Whether quality rises with every level, all ways to cut a file agree, and rates are as promised."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import numpy as np

from benchmarks import peers
from benchmarks.curves import bdrate
from benchmarks.curves.best_jpeg import best_jpeg
from benchmarks.curves.curve import Curve
from benchmarks.curves.levels import MAX_RATIO, MIN_RATIO, growth, uneven
from benchmarks.images import Photo, Pixels, read
from benchmarks.measurements import inside
from benchmarks.measurements.codecs import choose, curves
from benchmarks.measurements.promises.files import Files
from benchmarks.measurements.promises.verdict import Verdict

_ALL_WAYS = "truncated file = --levels = StreamDecoder at the end, byte by byte"
_MAX_FIRST_BPP, _MIN_LAST_DB = 0.06, 38.0
_MAX_BD_RATE = -25.0
_MIN_COMPARED_BPP = 0.1
_MAX_RATE_ERROR = 0.01


def agreement(files: Files, curve: Curve) -> list[Verdict]:
    """Quality rises with every level on every picture; truncating, --levels and streaming give the same pixels."""
    falls = [
        f"{name}: level {level + 2} has {after:.2f} dB after {before:.2f}"
        for name, table in curve.images.items()
        for level, (before, after) in enumerate(zip(table["psnr-rgb"], table["psnr-rgb"][1:], strict=False))
        if after <= before
    ]
    differences = [line for photo in files.photos for line in _differences(files, photo)]
    count = f"{len(files.photos)} pictures, {files.num_levels} levels"
    return [
        Verdict("1", "PSNR rises with every level", count, f"{len(falls)} falls", not falls, tuple(falls)),
        Verdict("1", _ALL_WAYS, "equal pixels", f"{len(differences)} differences", not differences, tuple(differences)),
    ]


def _differences(files: Files, photo: Photo) -> list[str]:
    """Where the three ways of stopping at a level do not agree, one line each."""
    found = []
    shown = streamed(files.whole(photo).read_bytes())
    for level in range(1, files.num_levels + 1):
        wanted = files.by_levels(photo, level)
        if not np.array_equal(wanted, files.of_cut(photo, level)):
            found.append(f"{photo.name}: the file cut to {level} levels decodes to another picture than --levels {level}")
        if level not in shown or not np.array_equal(wanted, shown[level]):
            found.append(f"{photo.name}: StreamDecoder shows another picture after level {level}")
    return found


def streamed(data: bytes) -> dict[int, Pixels]:
    """The picture of a stream that ends after each level, the bytes fed one at a time."""
    import hcodec

    decoder, shown = hcodec.StreamDecoder(), {}
    for index in range(len(data)):
        if decoder.feed(data[index : index + 1]):
            shown[decoder.levels_decoded] = _at_the_end(data[: index + 1])
    return shown


def _at_the_end(data: bytes) -> Pixels:
    """The picture of a stream that ends there, which is not made in the quicker way of one that goes on."""
    import hcodec

    decoder = hcodec.StreamDecoder()
    for index in range(len(data)):
        decoder.feed(data[index : index + 1])
    with contextlib.suppress(hcodec.TruncatedError):
        decoder.close()
    return np.asarray(decoder.image().convert("RGB"))


def against_jpeg(curve: Curve, photos: list[Photo], num_workers: int) -> list[Verdict]:
    """Fewer bits than the best JPEG at every level from 0.1 bpp on, and the BD-rate."""
    jpegs = choose([peer for peer in peers.rate_distortion() if peer.name.startswith("jpeg-")], ())
    best = best_jpeg(curves(photos, jpegs, num_workers))
    if best is None:
        return [Verdict("2", "fewer bits than JPEG", "JPEG", "Pillow has no JPEG here", False)]
    return [_at_each_level(curve, bdrate.psnr_line(best)), _bd_rate(bdrate.compare(curve, best))]


def _at_each_level(curve: Curve, jpeg: bdrate.Line) -> Verdict:
    lines, worse = [], 0
    for level, bpp, quality in zip(curve.settings, curve.bpp, curve.psnr, strict=True):
        needed = float(jpeg[0][0]) if quality < jpeg[1][0] else bdrate.rate_at(jpeg, quality)
        worse += bpp >= needed and bpp >= _MIN_COMPARED_BPP
        lines.append(f"level {level:g}: {bpp:.4f} bpp, {quality:.2f} dB; JPEG needs {needed:.4f} bpp")
    found = f"not at {worse} of {len(lines)}" if worse else f"at all {len(lines)}"
    return Verdict("2", "fewer bits than the best JPEG", "at every level from 0.1 bpp", found, not worse, tuple(lines))


def _bd_rate(found: bdrate.Comparison) -> Verdict:
    wanted = f"{_MAX_BD_RATE:.0f} % or better"
    if found.overall is None:
        return Verdict("2", "BD-rate against the best JPEG", wanted, "no overlap", False)
    percent, span = found.overall.percent, f"{found.overall.low_db:.1f}–{found.overall.high_db:.1f} dB"
    text = f"{percent:.1f} % over {span} (picture by picture {found.by_picture:.1f} %)"
    return Verdict("2", "BD-rate against the best JPEG", wanted, text, percent <= _MAX_BD_RATE)


def rate_range(curve: Curve) -> list[Verdict]:
    """The first level is small, the last one good."""
    first, last = curve.bpp[0], curve.psnr[-1]
    wanted = f"at most {_MAX_FIRST_BPP} bpp"
    return [
        Verdict("3", "rate of the first level", wanted, f"{first:.4f} bpp", first <= _MAX_FIRST_BPP),
        Verdict("3", "PSNR of the last", f"at least {_MIN_LAST_DB:g} dB", f"{last:.2f} dB", last >= _MIN_LAST_DB),
    ]


def even_levels(curve: Curve) -> Verdict:
    """Each level adds about twice the bits of the one before, so that none is dead and none is too coarse a step."""
    lines = [
        f"level {row.level:g}: adds {row.added_bpp:.4f} bpp, {row.ratio:.2f} times the level before, and {row.added_db:.2f} dB"
        for row in growth(curve)[1:]
    ]
    wrong = uneven(curve)
    found = f"not so: level {', '.join(f'{level:g}' for level in wrong)}" if wrong else "all do"
    wanted = f"{MIN_RATIO:g} to {MAX_RATIO:g} times the level before"
    return Verdict("3", "bits that each level adds", wanted, found, not wrong, tuple(lines))


def rate_honesty(photos: Sequence[Photo]) -> Verdict:
    """File bytes against the rate that the model estimates by its coding tables."""
    errors, lines = [], []
    for photo in photos:
        rate = inside.rate(read(photo.path))
        errors.append(rate.layer_bits / rate.table_bits - 1)
        trained = rate.layer_bits / rate.model_bits - 1
        lines.append(
            f"{photo.name}: layers {100 * errors[-1]:+.3f} % against the tables, {100 * trained:+.2f} % against the "
            f"training likelihood; container {rate.container_bits / 8:.0f} bytes"
        )
    worst = max(errors, key=abs)
    wanted = f"within {100 * _MAX_RATE_ERROR:.0f} %"
    found = f"{100 * worst:+.3f} % at most"
    return Verdict("4", "layer bytes = estimated rate", wanted, found, abs(worst) <= _MAX_RATE_ERROR, tuple(lines))
