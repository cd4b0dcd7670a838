"""Runs codecs on pictures: encode to a file, decode it in another process, compare.

Two worker processes with one thread each. Of every picture one encodes and the other decodes, from the file alone, so a
codec cannot pass anything around its file.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import metrics
from benchmarks.images import Photo, Pixels, read
from benchmarks.measurements import inside, verify
from benchmarks.measurements.cache import Measurement, Point, load, store
from benchmarks.measurements.clock import timed
from benchmarks.peers import NothingYetError, Peer

Job = tuple[Photo, Peer]


@dataclass(frozen=True)
class _File:
    setting: float
    path: Path
    claimed_bytes: int
    encode_s: float


@dataclass(frozen=True)
class Workers:
    """Two processes that encode and decode for each other; `num_jobs`: how many pictures are under way at once."""

    pools: tuple[Executor, Executor]
    num_jobs: int

    def measure(self, jobs: Sequence[Job], done: Callable[[], None] = lambda: None) -> list[Measurement]:
        """A measurement for each job, in order; `done()` is called after each, from several threads."""

        def one(job: Job) -> Measurement:
            """Measures one job, or finds it in the cache."""
            measurement = load(*job) or self._fresh(*job)
            done()
            return measurement

        with ThreadPoolExecutor(self.num_jobs) as threads:
            return list(threads.map(one, jobs))

    def _fresh(self, photo: Photo, peer: Peer) -> Measurement:
        writer = int(photo.digest, 16) % 2
        with tempfile.TemporaryDirectory() as folder:
            try:
                files = self.pools[writer].submit(_encode, photo, peer, Path(folder)).result()
                points = self.pools[1 - writer].submit(_decode, photo, peer, files).result()
            except Exception as error:  # a codec may fail in any way: that is a result, not the end of the run
                return Measurement(photo.name, photo.num_px, error=f"{type(error).__name__}: {error}")
        measurement = Measurement(photo.name, photo.num_px, tuple(points))
        store(photo, peer, measurement)
        return measurement


@contextmanager
def start_workers(num_busy: int) -> Iterator[Workers]:
    """The two worker processes, with at most `num_busy` (1 or 2) of them at work at a time."""
    context = multiprocessing.get_context("spawn")  # a forked torch may hang
    with (
        ProcessPoolExecutor(1, mp_context=context, initializer=_use_one_thread) as one,
        ProcessPoolExecutor(1, mp_context=context, initializer=_use_one_thread) as other,
    ):
        yield Workers((one, other), 1 if num_busy == 1 else 3)  # a third job waits, so that neither process does


def _use_one_thread() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"  # torch reads it when it is imported, which is later
    inside.set_threads(1)


def _encode(photo: Photo, peer: Peer, folder: Path) -> list[_File]:
    files = []
    for index, (setting, data, encode_s) in enumerate(files_of(peer, read(photo.path))):
        path = folder / f"{index:03d}"
        path.write_bytes(data)
        files.append(_File(setting, path, len(data), encode_s))
    return files


def files_of(peer: Peer, pixels: Pixels) -> Iterator[tuple[float, bytes, float]]:
    """The setting, file and seconds of each point of a peer's curve; all of one file when the peer has a stream."""
    if peer.stream is None:
        for setting in peer.settings:
            data, encode_s = timed(peer.encode, pixels, setting)
            yield setting, data, encode_s
        return
    whole, encode_s = timed(peer.encode, pixels, peer.typical)
    for setting, num_bytes in peer.stream.steps(whole).items():
        try:
            yield setting, peer.stream.cut(whole, num_bytes), encode_s
        except NothingYetError:
            continue


def _decode(photo: Photo, peer: Peer, files: list[_File]) -> list[Point]:
    original = read(photo.path)
    points = []
    for file in files:
        try:
            points.append(_point(original, peer, file))
        except NothingYetError:
            continue
    return points


def _point(original: Pixels, peer: Peer, file: _File) -> Point:
    decoded, decode_s = timed(peer.decode, file.path.read_bytes())
    num_bytes = file.path.stat().st_size
    faults = verify.faults(original, decoded, claimed_bytes=file.claimed_bytes, file_bytes=num_bytes, lossless=peer.lossless)
    point = Point(file.setting, num_bytes, math.nan, math.nan, file.encode_s, decode_s, tuple(faults))
    if decoded.shape != original.shape:
        return point
    quality = metrics.psnr(original, decoded)
    if math.isinf(quality):
        return replace(point, psnr=quality, ms_ssim=1.0)
    return replace(point, psnr=quality, ms_ssim=metrics.ms_ssim(original, decoded) if peer.with_ms_ssim else math.nan)
