"""Whether every setting of the machine gives the same picture, in the time and memory that are promised."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.images import Photo, Pixels, read
from benchmarks.measurements import inside
from benchmarks.measurements.clock import seconds_by_module, timed
from benchmarks.measurements.process import Child
from benchmarks.measurements.promises.files import Files, hcodec
from benchmarks.measurements.promises.verdict import Verdict
from benchmarks.metrics import psnr
from benchmarks.peers import Peer, own

Setting = tuple[tuple[str, ...], dict[str, str]]
"""Options of the command line, and variables of the environment."""
_MAX_MIB = 1024.0
_WARM_ROUNDS = 5
_MIN_SHOWN_S = 0.001
_MAX_LOSS_DB, _GARBAGE = 0.05, 255
_TORCH = ("--backend", "torch")
_SETTINGS: tuple[Setting, ...] = (
    *((("-j", count), {}) for count in ("1", "2", "64")),
    *((_TORCH, {"OMP_NUM_THREADS": count}) for count in ("1", "4")),
    *((_TORCH, {"ONEDNN_MAX_CPU_ISA": isa}) for isa in ("SSE41", "AVX2", "AVX512_CORE")),
    *((_TORCH, {"ATEN_CPU_CAPABILITY": level}) for level in ("default", "avx2", "avx512")),
)


def same_everywhere(files: Files, photo: Photo) -> Verdict:
    """Files made and read under every number of threads, by both backends and instruction sets; a mismatch would give garbage."""
    lines, worst = [], 0
    for index, setting in enumerate(_SETTINGS):
        difference, loss_db = _under(setting, files, photo, files.folder / f"setting{index}")
        worst = max(worst, difference, _GARBAGE if loss_db > _MAX_LOSS_DB else 0)
        name = " ".join([*setting[0], *(f"{key}={value}" for key, value in setting[1].items())])
        lines.append(f"{name}: pixels differ by at most {difference}; made there, read here: {loss_db:.4f} dB apart")
    promise, wanted = "same file, same picture under every setting", "pixels differ by at most 1 (rounding of the synthesis)"
    return Verdict("5", promise, wanted, f"at most {worst}", worst <= 1, tuple(lines))


def _under(setting: Setting, files: Files, photo: Photo, path: Path) -> tuple[int, float]:
    """How far apart pixels are of a file read there, and the PSNR (dB) of a file made there and read here."""
    made, seen, back = (path.with_name(f"{path.name}{end}") for end in (".hcodec", "-there.ppm", "-here.ppm"))
    options, env = setting
    hcodec("encode", photo.path, "-o", made, "--quiet", *options, env=env)
    hcodec("decode", files.whole(photo), "-o", seen, "--quiet", *options, env=env)
    hcodec("decode", made, "-o", back, "--quiet")
    original, reference = read(photo.path), files.by_levels(photo, files.num_levels)
    difference = int(np.abs(read(seen).astype(int) - reference).max())
    return difference, abs(psnr(original, read(back)) - psnr(original, reference))


def speed(photo: Photo) -> list[Verdict]:
    """Warm times and cold peak memory of one picture, and where the time goes."""
    pixels = read(photo.path)
    data = own.encode(pixels, 0)
    return [
        _time("encode", 1.5, lambda: own.encode(pixels, 0)),
        _time("decode", 1.0, lambda: own.decode(data)),
        _time("first level", 0.15, lambda: own.first_picture(data)),
        _memory(pixels),
    ]


def _time(name: str, limit_s: float, job: Callable[[], object]) -> Verdict:
    seconds = statistics.median(timed(job)[1] for _ in range(_WARM_ROUNDS))
    with inside.one_thread():  # what other threads do, the clock would not see
        modules = seconds_by_module(job).items()
    lines = tuple(f"{module} {1000 * spent:.1f} ms" for module, spent in modules if spent >= _MIN_SHOWN_S)
    return Verdict("6", f"{name}, warm", f"{limit_s:g} s", f"{seconds:.3f} s", seconds <= limit_s, lines)


def _memory(pixels: Pixels) -> Verdict:
    peer = next(entry for entry in own.found() if isinstance(entry, Peer))
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "pixels.npy")
        np.save(source, pixels)
        costs = Child(Path(folder)).both(peer, source)
    peaks = {job: costs[job]["peak_mib"] for job in ("encode", "decode")}
    found = ", ".join(f"{job} {peak:.0f} MiB" for job, peak in peaks.items())
    return Verdict("6", "peak memory", f"under {_MAX_MIB:g} MiB", found, max(peaks.values()) < _MAX_MIB)
