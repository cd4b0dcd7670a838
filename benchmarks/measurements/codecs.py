"""The curves of any codecs on any pictures: what `rd`, `progressive` and `lossless` measure.

Every codec goes through the same run: encode to files, decode them in another process, verify, average, write one result file.
Codecs that cannot be run here are named, and remembered in `absent.json` beside the results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click

from benchmarks import peers, results
from benchmarks.curves.curve import Columns, Curve, averaged
from benchmarks.images import Photo
from benchmarks.measurements import strip
from benchmarks.measurements.cache import Measurement
from benchmarks.measurements.progress import progress
from benchmarks.measurements.task import Task
from benchmarks.measurements.workers import Job, start_workers
from benchmarks.peers import Absent, Found, Peer, Stream

BUDGETS_BYTES = (500, 1000, 1500, 2000, 3000, 5000, 7000, 10000, 15000, 20000, 30000, 50000, 70000, 100000, 150000)


def rate_distortion(task: Task, psnr_only: bool = False) -> bool:
    """Quality against rate; returns whether a codec was found wrong."""
    chosen = [replace(peer, with_ms_ssim=peer.with_ms_ssim and not psnr_only) for peer in _choose(task, peers.rate_distortion())]
    return _measure(task, chosen, task.target)


def progressive(task: Task) -> bool:
    """Quality against received bytes of one file, and a picture strip; returns whether a codec was found wrong."""
    folder = task.target / results.PROGRESSIVE
    chosen = _choose(task, peers.progressive(), folder)
    wrong = _measure(task, [interrupted(peer) for peer in chosen], folder)
    strip.draw(task.photos[strip.favorite(task.photos)], chosen, task.target / "strip.png")
    return wrong


@dataclass(frozen=True)
class BudgetSteps:
    """The budgets up to the size of a file, and the whole file at every budget beyond."""

    budgets: tuple[int, ...]

    def __call__(self, data: bytes) -> Mapping[float, int]:
        """Budget -> bytes received by then."""
        return {float(budget): min(budget, len(data)) for budget in self.budgets}


def interrupted(peer: Peer) -> Peer:
    """The codec, stopped after each budget instead of at its own steps. Raises ValueError when its file has no steps."""
    if peer.stream is None:
        raise ValueError(f"{peer.name} does not make one file of many qualities")
    settings = tuple(float(budget) for budget in BUDGETS_BYTES)
    return replace(peer, settings=settings, stream=Stream(BudgetSteps(BUDGETS_BYTES), peer.stream.cut), with_ms_ssim=False)


def lossless(task: Task) -> bool:
    """Rate and speed of codecs that keep every bit; returns whether one was found wrong."""
    folder = task.target / results.LOSSLESS
    wrong = _measure(task, _choose(task, peers.lossless(), folder), folder)
    results.write({photo.name: photo.num_px for photo in task.photos}, folder / results.NUM_PX)
    return wrong


def choose(found: Found, names: Sequence[str]) -> list[Peer]:
    """The codecs to run, those of `names` when any are given; absent ones are reported. Raises UsageError on an unknown name."""
    unknown = set(names) - {entry.name for entry in found}
    if unknown:
        known = ", ".join(entry.name for entry in found)
        raise click.UsageError(f"unknown: {', '.join(sorted(unknown))}; known: {known}")
    chosen = [entry for entry in found if not names or entry.name in names]
    for entry in chosen:
        if isinstance(entry, Absent):
            click.echo(f"absent: {entry.name}: {entry.reason}", err=True)
    return [entry for entry in chosen if isinstance(entry, Peer)]


def _choose(task: Task, found: Found, folder: Path | None = None) -> list[Peer]:
    """The codecs of the task; writes which are absent, unless only some were asked for."""
    chosen = choose(found, task.names)
    if not task.names:
        absent = {entry.name: entry.reason for entry in found if isinstance(entry, Absent)}
        results.write(absent, (folder or task.target) / results.ABSENT)
    return chosen


def _measure(task: Task, chosen: Sequence[Peer], folder: Path) -> bool:
    """Writes a result file for each codec and prints what was wrong; returns whether there was anything."""
    measured = curves(task.photos, chosen, task.num_workers).values()
    for curve in measured:
        results.write_curve(curve, folder)
    faults = [f"WRONG: {curve.name}: {line}" for curve in measured for line in curve.faults]
    for line in faults:
        click.echo(click.style(line, fg="red"), err=True)
    return bool(faults)


def curves(photos: Sequence[Photo], chosen: Sequence[Peer], num_workers: int) -> dict[str, Curve]:
    """The curves of codecs by name, measured or from the cache, picture by picture so that all codecs advance together."""
    jobs: list[Job] = [(photo, peer) for photo in photos for peer in chosen]
    with progress("measuring", len(jobs)) as advance, start_workers(num_workers) as workers:
        measurements = workers.measure(jobs, advance)
    return {peer.name: collect(peer, measurements[index :: len(chosen)]) for index, peer in enumerate(chosen)}


def collect(peer: Peer, measurements: Sequence[Measurement]) -> Curve:
    """The curve of a codec: the points without fault that all pictures have in common."""
    sound = [measurement for measurement in measurements if not measurement.error]
    shared = set.intersection(*({p.setting for p in m.points if not p.faults} for m in sound)) if sound else set()
    settings = tuple(sorted(shared))
    images = {measurement.photo: _columns(measurement, settings) for measurement in sound}
    faults = tuple(line for measurement in measurements for line in measurement.faults)
    return averaged(Curve(peer.name, peer.label, peer.version, settings, images, faults))


def _columns(measurement: Measurement, settings: tuple[float, ...]) -> Columns:
    points = {point.setting: point for point in measurement.points}
    rows = [points[setting] for setting in settings]
    return {
        "bpp": [8 * row.num_bytes / measurement.num_px for row in rows],
        "psnr-rgb": [row.psnr for row in rows],
        "ms-ssim-rgb": [row.ms_ssim for row in rows],
        "encoding_time": [row.encode_s for row in rows],
        "decoding_time": [row.decode_s for row in rows],
    }
