"""hcodec itself, through its public names only.

One file per picture: `hcodec` is cut at its levels, `hcodec-cuts` at bytes in between (setting 3.33: a third of the way from
level 3 to level 4); `hcodec-received` is not cut at all but interrupted, as a download is.
"""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.images import Pixels
from benchmarks.peers.peer import Absent, Found, NothingYetError, Peer, Stream, first_bytes

_MODEL = "photo-1"  # the default of `hcodec.encode`
_CUTS = (1 / 3, 2 / 3)  # of the bytes from each level to the next: with seven levels, twelve cuts


def found() -> Found:
    """hcodec at levels, at byte cuts, interrupted, and lossless."""
    try:
        version = _version()
    except Exception as error:  # whatever is wrong with it is reported, and its peers are measured all the same
        return [Absent("hcodec", f"{type(error).__name__}: {error}")]
    return [
        _peer("hcodec", "hcodec (one file, its levels)", version, Stream(level_steps, cut, first_picture)),
        replace(_peer("hcodec-cuts", "hcodec (one file, cut at bytes)", version, Stream(_byte_steps, cut)), with_ms_ssim=False),
        _peer("hcodec-received", "hcodec", version, Stream(_prefix_steps, first_bytes, first_picture)),
        Peer("hcodec-lossless", "hcodec lossless", version, (0,), 0, _encode_lossless, decode, lossless=True),
    ]


def _peer(name: str, label: str, version: str, stream: Stream) -> Peer:
    return Peer(name, label, version, (0,), 0, encode, decode, stream=stream)


def _version() -> str:
    """Version, model and a digest of the sources, so that results of yesterday's code are not taken for today's."""
    import hcodec
    from hcodec import models

    digest = hashlib.sha256()
    for package in (hcodec, models):
        for source in sorted(Path(str(package.__file__)).parent.rglob("*.py")):
            digest.update(source.read_bytes())
    fingerprint = models.summary(_MODEL).fingerprint
    return f"hcodec {hcodec.__version__}, model {_MODEL} {fingerprint}, source {digest.hexdigest()[:8]}"


def encode(pixels: Pixels, _: float) -> bytes:
    """The whole file, all lossy levels."""
    import hcodec

    return hcodec.encode(pixels, lossless=False)


def decode(data: bytes) -> Pixels:
    """Pixels of whatever has been received; raises NothingYetError before the first symbols of the first level."""
    import hcodec

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hcodec.HcodecWarning)
        try:
            return np.asarray(hcodec.decode(data).convert("RGB"))
        except hcodec.TruncatedError as error:
            raise NothingYetError(str(error)) from error


def first_picture(data: bytes) -> Pixels:
    """Pixels that are shown as soon as the first level of a file has arrived."""
    import hcodec

    decoder = hcodec.StreamDecoder()
    decoder.feed(data[: hcodec.info(data).levels[0].prefix_bytes])
    return np.asarray(decoder.image().convert("RGB"))


def cut(data: bytes, num_bytes: int) -> bytes:
    """A file of at most `num_bytes`, by hcodec's own truncation."""
    import hcodec

    if num_bytes >= len(data):
        return data
    try:
        return hcodec.truncate(data, num_bytes=num_bytes)
    except hcodec.TruncatedError as error:
        raise NothingYetError(str(error)) from error


def level_steps(data: bytes) -> dict[float, int]:
    """Bytes of the file that ends with each level."""
    import hcodec

    levels = hcodec.info(data).levels
    return {float(level.level): len(hcodec.truncate(data, levels=level.level)) for level in levels}


def _byte_steps(data: bytes) -> dict[float, int]:
    """Bytes of files that end between two levels, by level and share of the next one."""
    steps = level_steps(data)
    pairs = zip(steps.items(), list(steps.values())[1:], strict=False)
    return {round(level + cut, 2): round(low + cut * (high - low)) for (level, low), high in pairs for cut in _CUTS}


def _prefix_steps(data: bytes) -> dict[float, int]:
    """Bytes until each level has arrived; a few more than `level_steps`, for the header lists all layers."""
    import hcodec

    return {float(level.level): level.prefix_bytes for level in hcodec.info(data).levels}


def _encode_lossless(pixels: Pixels, _: float) -> bytes:
    import hcodec

    return hcodec.encode(pixels, lossless=True)
