"""`python -m benchmarks check FOLDER`: whether hcodec does what it promises, through its command line and files.

Each function measures one promise and says what was wanted, what was found, and whether that is enough. The promises:
quality rises with every level and all ways of cutting a file agree; fewer bits than the best JPEG; the range of rates; file
bytes as estimated; the same picture under every setting of the machine; time, memory, and where they go.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np

from benchmarks import bdrate, inside, peers, results, session, tables
from benchmarks.best_jpeg import best_jpeg
from benchmarks.growth import MAX_RATIO, MIN_RATIO, growth, uneven
from benchmarks.images import Photo, Pixels, read
from benchmarks.images import folder as image_folder
from benchmarks.measure import timed
from benchmarks.metrics import psnr
from benchmarks.peers import Peer, own
from benchmarks.results import Curve, averaged
from benchmarks.speed import Child

FILE = "check.json"
_ALL_WAYS = "truncated file = --levels = StreamDecoder, byte by byte"
_MAX_FIRST_BPP, _MIN_LAST_DB = 0.06, 38.0
_MAX_BD_RATE = -25.0
_MIN_COMPARED_BPP = 0.1
_MAX_RATE_ERROR = 0.01
_MAX_SECONDS = {"decode": 1.0, "first level": 0.15, "encode": 1.5}
_MAX_MIB = 1024.0
_WARM_ROUNDS = 5
_NUM_RATE_PHOTOS = 6
_SETTINGS = (
    {"OMP_NUM_THREADS": "1"},
    {"OMP_NUM_THREADS": "2"},
    {"OMP_NUM_THREADS": "4"},
    *({"ONEDNN_MAX_CPU_ISA": isa} for isa in ("SSE41", "AVX2", "AVX512_CORE")),
    *({"ATEN_CPU_CAPABILITY": level} for level in ("default", "avx2", "avx512")),
)


@dataclass(frozen=True)
class Verdict:
    """One promise. `number`: in the list of requirements; `details`: lines for who wants to know more."""

    number: str
    promise: str
    wanted: str
    found: str
    kept: bool
    details: tuple[str, ...] = ()


def run(folder: Path, target: Path, names: tuple[str, ...], limit: int | None, num_workers: int) -> bool:
    """Checks every promise on the pictures of `folder`, writes `target/check.json`; returns whether one is broken."""
    photos = image_folder(folder, limit)
    with tempfile.TemporaryDirectory() as work:
        files = Files(Path(work), photos, num_workers)
        files.make()
        curve = files.curve()
        verdicts = [
            *agreement(files, curve),
            *against_jpeg(curve, photos, num_workers),
            *rate_range(curve),
            even_levels(curve),
            rate_honesty(photos[:_NUM_RATE_PHOTOS]),
            same_everywhere(files, photos[0]),
            *speed(photos[0]),
        ]
    report(verdicts)
    target.mkdir(parents=True, exist_ok=True)
    (target / FILE).write_text(json.dumps([asdict(verdict) for verdict in verdicts], indent=1) + "\n")
    return not all(verdict.kept for verdict in verdicts)


def report(verdicts: Sequence[Verdict]) -> None:
    """Prints the verdicts as a table, and their details."""
    rows = [[v.promise, v.wanted, v.found, "yes" if v.kept else "**no**", v.number] for v in verdicts]
    click.echo(tables.markdown(("promise", "wanted", "found", "kept", "requirement"), rows))
    for verdict in verdicts:
        for line in verdict.details:
            click.echo(f"{verdict.number}: {line}")


# --- files, through the command line


def hcodec(*arguments: str | Path, env: dict[str, str] | None = None) -> None:
    """Runs hcodec's command line. Raises CalledProcessError, with its stderr shown."""
    command = [sys.executable, "-m", "hcodec", *map(str, arguments)]
    done = subprocess.run(command, env=os.environ | (env or {}), capture_output=True, text=True, check=False)
    if done.returncode:
        click.echo(done.stderr, err=True)
        done.check_returncode()


@dataclass
class Files:
    """Every file that the command line makes of the pictures: encoded, decoded at each level, cut, and decoded again."""

    folder: Path
    photos: list[Photo]
    num_workers: int
    num_levels: int = 0

    def make(self) -> None:
        """Runs the commands, each over all pictures, a few at a time."""
        self._each("encode", "whole", [photo.path for photo in self.photos])
        self.num_levels = self._count_levels()
        names = [photo.name for photo in self.photos]
        whole = [self.folder / "whole" / f"{name}.hcodec" for name in names]
        for level in range(1, self.num_levels + 1):
            self._each("decode", f"levels{level}", whole, "--levels", str(level), "--format", "ppm")
            self._each("truncate", f"cut{level}", whole, "--levels", str(level))
            cut = [self.cut(photo, level) for photo in self.photos]
            self._each("decode", f"decoded{level}", cut, "--format", "ppm")

    def _each(self, command: str, name: str, sources: list[Path], *options: str) -> None:
        target = self.folder / name
        target.mkdir()
        parts = [sources[start :: self.num_workers] for start in range(self.num_workers)]
        threads = {"OMP_NUM_THREADS": "1"} if self.num_workers > 1 else None
        click.echo(f"hcodec {command} {' '.join(options)} ({len(sources)} files)", err=True)

        def one(part: list[Path]) -> None:
            """Runs the command on a part of the files."""
            hcodec(command, *part, "-o", f"{target}/", "--quiet", *options, env=threads)

        with ThreadPoolExecutor(self.num_workers) as pool:
            list(pool.map(one, [part for part in parts if part]))

    def _count_levels(self) -> int:
        import hcodec

        return len(hcodec.info(self.whole(self.photos[0])).levels)

    def whole(self, photo: Photo) -> Path:
        """The file with all levels."""
        return self.folder / "whole" / f"{photo.name}.hcodec"

    def cut(self, photo: Photo, level: int) -> Path:
        """The file truncated to some levels."""
        return self.folder / f"cut{level}" / f"{photo.name}-L{level}.hcodec"

    def by_levels(self, photo: Photo, level: int) -> Pixels:
        """Pixels of the whole file decoded with --levels."""
        return read(self.folder / f"levels{level}" / f"{photo.name}.ppm")

    def of_cut(self, photo: Photo, level: int) -> Pixels:
        """Pixels of the truncated file."""
        return read(self.folder / f"decoded{level}" / f"{self.cut(photo, level).stem}.ppm")

    def curve(self) -> Curve:
        """Rate and PSNR of every truncated file."""
        levels = range(1, self.num_levels + 1)
        images = {}
        for photo in self.photos:
            original = read(photo.path)
            rates = [photo.bpp(self.cut(photo, level).stat().st_size) for level in levels]
            qualities = [psnr(original, self.by_levels(photo, level)) for level in levels]
            unknown = [math.nan] * self.num_levels
            images[photo.name] = dict.fromkeys(results.COLUMNS, unknown) | {"bpp": rates, "psnr-rgb": qualities}
        return averaged(Curve("hcodec", "hcodec", "", tuple(map(float, levels)), images))


# --- requirement 1


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
    streamed = _streamed(files.whole(photo).read_bytes())
    for level in range(1, files.num_levels + 1):
        wanted = files.by_levels(photo, level)
        if not np.array_equal(wanted, files.of_cut(photo, level)):
            found.append(f"{photo.name}: the file cut to {level} levels decodes to another picture than --levels {level}")
        if level not in streamed or not np.array_equal(wanted, streamed[level]):
            found.append(f"{photo.name}: StreamDecoder shows another picture after level {level}")
    return found


def _streamed(data: bytes) -> dict[int, Pixels]:
    """The picture after each level, the bytes fed one at a time."""
    import hcodec

    decoder, shown = hcodec.StreamDecoder(), {}
    for index in range(len(data)):
        if decoder.feed(data[index : index + 1]):
            shown[decoder.levels_decoded] = np.asarray(decoder.image().convert("RGB"))
    decoder.close()
    return shown


# --- requirements 2, 3, 4


def against_jpeg(curve: Curve, photos: list[Photo], num_workers: int) -> list[Verdict]:
    """Fewer bits than the best JPEG at every level from 0.1 bpp on, and the BD-rate."""
    jpegs = session.choose([peer for peer in peers.rate_distortion() if peer.name.startswith("jpeg-")], ())
    best = best_jpeg(session.run(photos, jpegs, num_workers))
    if best is None:
        return [Verdict("2", "fewer bits than JPEG", "JPEG", "Pillow has no JPEG here", False)]
    ours, theirs = bdrate.psnr_line(curve), bdrate.psnr_line(best)
    lines, kept = [], True
    for level, (bpp, quality) in enumerate(zip(curve.bpp, curve.psnr, strict=True), start=1):
        needed = float(theirs[0][0]) if quality < theirs[1][0] else bdrate.rate_at(theirs, quality)
        fewer = bpp < needed or math.isnan(needed)
        kept &= fewer or bpp < _MIN_COMPARED_BPP
        lines.append(f"level {level}: {bpp:.4f} bpp, {quality:.2f} dB; JPEG needs {needed:.4f} bpp")
    delta = bdrate.delta(ours, theirs)
    percent = delta.percent if delta else math.nan
    each = bdrate.mean_of_pictures(curve, best)
    span = f"{delta.low_db:.1f}–{delta.high_db:.1f} dB" if delta else "no overlap"
    found = f"{percent:.1f} % over {span} (picture by picture {each:.1f} %)"
    wanted = f"{_MAX_BD_RATE:.0f} % or better"
    return [
        Verdict("2", "fewer bits than the best JPEG", "at every level from 0.1 bpp", "see below", kept, tuple(lines)),
        Verdict("2", "BD-rate against the best JPEG", wanted, found, percent <= _MAX_BD_RATE),
    ]


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


# --- requirement 5


def same_everywhere(files: Files, photo: Photo) -> Verdict:
    """Files made and read under every number of threads and instruction set; a mismatch would give garbage."""
    reference = files.by_levels(photo, files.num_levels)
    lines, worst = [], 0
    for index, setting in enumerate(_SETTINGS):
        made, seen, back = (files.folder / f"setting{index}{end}" for end in (".hcodec", "-there.ppm", "-here.ppm"))
        hcodec("encode", photo.path, "-o", made, "--quiet", env=setting)
        hcodec("decode", files.whole(photo), "-o", seen, "--quiet", env=setting)
        hcodec("decode", made, "-o", back, "--quiet")
        there = int(np.abs(read(seen).astype(int) - reference).max())
        here = abs(psnr(read(photo.path), read(back)) - psnr(read(photo.path), reference))
        worst = max(worst, there, 255 if here > 0.05 else 0)
        name = " ".join(f"{key}={value}" for key, value in setting.items())
        lines.append(f"{name}: pixels differ by at most {there}; made there, read here: {here:.4f} dB apart")
    promise, wanted = "same file, same picture under every setting", "pixels differ by at most 1 (rounding of the synthesis)"
    return Verdict("5", promise, wanted, f"at most {worst}", worst <= 1, tuple(lines))


# --- requirement 6


def speed(photo: Photo) -> list[Verdict]:
    """Warm times and cold peak memory of one picture, and where the time goes."""
    pixels = read(photo.path)
    data = own.encode(pixels, 0)
    first = own.cut(data, min(own.level_steps(data).values()))
    jobs = {
        "encode": lambda: own.encode(pixels, 0),
        "decode": lambda: own.decode(data),
        "first level": lambda: own.decode(first),
    }
    verdicts = []
    for name, job in jobs.items():
        seconds = statistics.median(timed(job)[1] for _ in range(_WARM_ROUNDS))
        stages = sorted(inside.stage_seconds(job).items(), key=lambda stage: -stage[1])
        lines = tuple(f"{name}: {stage} {1000 * spent:.1f} ms" for stage, spent in stages)
        wanted = f"{_MAX_SECONDS[name]:g} s"
        verdicts.append(Verdict("6", f"{name}, warm", wanted, f"{seconds:.3f} s", seconds <= _MAX_SECONDS[name], lines))
    return [*verdicts, _memory(pixels)]


def _memory(pixels: Pixels) -> Verdict:
    peer = next(entry for entry in own.found() if isinstance(entry, Peer))
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "pixels.npy")
        np.save(source, pixels)
        costs = Child(Path(folder)).both(peer, source)
    peaks = {job: costs[job]["peak_mib"] for job in ("encode", "decode")}
    found = ", ".join(f"{job} {peak:.0f} MiB" for job, peak in peaks.items())
    return Verdict("6", "peak memory", f"under {_MAX_MIB:g} MiB", found, max(peaks.values()) < _MAX_MIB)
