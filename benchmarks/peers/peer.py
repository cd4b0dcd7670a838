"""What a codec looks like to the benchmarks: one small adapter, the same for all.

Adapters are sent to worker processes, so their functions live at the top of a module, or are partials of such functions with
plain values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.images import Pixels


class NothingYetError(Exception):
    """The bytes received so far do not make a picture."""


@dataclass(frozen=True)
class Stream:
    """How one file gives many qualities.

    `steps(data)`: its natural stopping points, setting -> bytes; `cut(data, num_bytes)`: a file of at most `num_bytes` made
    from the start of `data`, re-encoding nothing. `cut` raises NothingYetError when they are too few. `first(data)`: shows the
    first picture of a file that is still arriving, where that is another way than `decode`.
    """

    steps: Callable[[bytes], Mapping[float, int]]
    cut: Callable[[bytes, int], bytes]
    first: Callable[[bytes], Pixels] | None = None


@dataclass(frozen=True)
class Peer:
    """A codec with one set of options.

    `name`: of its result file; `label`: in plots; `version`: of codec and options, so that cached results end with it;
    `settings`: the points of its curve, low rate first; `typical`: the setting that speed is measured at;
    `encode(pixels uint8 (H, W, 3), setting)`: the file; `decode(data)`: pixels uint8 (H, W, 3), which may raise NothingYetError;
    `stream`: set when one file (of setting `typical`) gives the whole curve; `lossless`: what is decoded must be exact;
    `with_ms_ssim`: whether MS-SSIM is worth its time.
    """

    name: str
    label: str
    version: str
    settings: tuple[float, ...]
    typical: float
    encode: Callable[[Pixels, float], bytes]
    decode: Callable[[bytes], Pixels]
    stream: Stream | None = None
    lossless: bool = False
    with_ms_ssim: bool = True


@dataclass(frozen=True)
class Absent:
    """A codec that cannot be run here, and why."""

    name: str
    reason: str


Found = list[Peer | Absent]


def first_bytes(data: bytes, num_bytes: int) -> bytes:
    """How a file is cut where every beginning of it decodes: as a download that was interrupted."""
    return data[:num_bytes]
