"""What is known of one codec on one picture, and where it is kept.

Results are cached under `.cache/` by digest of the picture and by version and settings of the codec, so that a run that was
interrupted goes on where it stopped, and a changed codec is measured anew.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.images import Photo
from benchmarks.peers import Peer

CACHE = Path(__file__).parents[1] / ".cache"
_SCHEMA = 1  # raise it when what is measured changes


@dataclass(frozen=True)
class Point:
    """One file of one picture.

    `num_bytes`: on disk; `psnr` in dB, infinite when exact; `ms_ssim` 0..1 or NaN; `encode_s`: of the whole file where one
    file is cut; `faults`: see `verify`.
    """

    setting: float
    num_bytes: int
    psnr: float
    ms_ssim: float
    encode_s: float
    decode_s: float
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measurement:
    """A point for each setting that gave a picture, or the error that ended it."""

    photo: str
    num_px: int
    points: tuple[Point, ...] = ()
    error: str = ""

    @property
    def faults(self) -> list[str]:
        """One line for each thing that was wrong."""
        lines = [f"{self.photo} at {point.setting:g}: {text}" for point in self.points for text in point.faults]
        return [f"{self.photo}: {self.error}", *lines] if self.error else lines


def load(photo: Photo, peer: Peer) -> Measurement | None:
    """The measurement kept from an earlier run, or None."""
    try:
        fields = json.loads(_path(photo, peer).read_text())
    except (OSError, ValueError):
        return None
    points = tuple(Point(**{**point, "faults": tuple(point["faults"])}) for point in fields.pop("points"))
    return Measurement(**{**fields, "photo": photo.name, "points": points})


def store(photo: Photo, peer: Peer, measurement: Measurement) -> None:
    """Keeps a measurement for the next run."""
    path = _path(photo, peer)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part")
    draft.write_text(json.dumps(asdict(measurement)))
    draft.replace(path)


def _path(photo: Photo, peer: Peer) -> Path:
    key = f"{_SCHEMA} {peer.name} {peer.version} {peer.settings} {peer.typical} {peer.with_ms_ssim} {_adapter(peer)}"
    return CACHE / photo.digest[:16] / f"{peer.name}-{hashlib.sha256(key.encode()).hexdigest()[:12]}.json"


def _adapter(peer: Peer) -> str:
    """The adapter's options, and a digest of its own source: both are part of what is measured."""
    functions: list[Any] = [peer.encode, peer.decode, *([peer.stream.steps, peer.stream.cut] if peer.stream else [])]
    options = [sorted(function.keywords.items()) for function in functions if isinstance(function, partial)]
    modules = {_inner(function).__module__ for function in functions}
    sources = (Path(str(sys.modules[module].__file__)).read_bytes() for module in sorted(modules))
    return f"{options} {hashlib.sha256(b''.join(sources)).hexdigest()}"


def _inner(function: Any) -> Any:
    return function.func if isinstance(function, partial) else function
