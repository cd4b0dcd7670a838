"""What hcodec's command line makes of pictures."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import click

from benchmarks.curves.curve import Curve, from_levels
from benchmarks.images import Photo, Pixels, read
from benchmarks.metrics import psnr


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
        whole = [self.whole(photo) for photo in self.photos]
        for level in range(1, self.num_levels + 1):
            self._each("decode", f"levels{level}", whole, "--levels", str(level), "--format", "ppm")
            self._each("truncate", f"cut{level}", whole, "--levels", str(level))
            cut = [self.cut(photo, level) for photo in self.photos]
            self._each("decode", f"decoded{level}", cut, "--format", "ppm")

    def _each(self, command: str, name: str, sources: list[Path], *options: str) -> None:
        target = self.folder / name
        target.mkdir()
        parts = [sources[start :: self.num_workers] for start in range(self.num_workers)]
        threads = ("-j", "1") if self.num_workers > 1 and command != "truncate" else ()
        click.echo(f"hcodec {command} {' '.join(options)} ({len(sources)} files)", err=True)

        def one(part: list[Path]) -> None:
            """Runs the command on a part of the files."""
            hcodec(command, *part, "-o", f"{target}/", "--quiet", *options, *threads)

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
        return from_levels("hcodec", "hcodec", {photo.name: self._points(photo) for photo in self.photos})

    def _points(self, photo: Photo) -> list[tuple[float, float]]:
        original = read(photo.path)
        return [
            (photo.bpp(self.cut(photo, level).stat().st_size), psnr(original, self.by_levels(photo, level)))
            for level in range(1, self.num_levels + 1)
        ]
