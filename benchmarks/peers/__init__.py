"""The codecs that are measured, each as one small adapter.

A codec that cannot be run here is listed as absent with the reason; none is left out silently.
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.peers import jpeg, jxl_tools, learned, modern, own
from benchmarks.peers.peer import Absent as Absent
from benchmarks.peers.peer import Found as Found
from benchmarks.peers.peer import NothingYetError as NothingYetError
from benchmarks.peers.peer import Peer as Peer
from benchmarks.peers.peer import Stream as Stream

_NOT_IN_RD = ("hcodec-received", "jpeg-scans", "jxl-progressive")
_PROGRESSIVE = ("hcodec-received", "jpeg2000-layers", "jpeg-scans", "jxl-progressive")
_SPEED = ("hcodec-received", "jpeg-420", "jpeg2000", "webp", "avif-s8", "avif-s6", "heic", "jxl-e7")
_ABSENT_ELSEWHERE = {"jxl-progressive": "progressive", "compressai": "speed"}


def every() -> Found:
    """All adapters, hcodec first."""
    return [*own.found(), *jpeg.found(), *modern.found(), *jxl_tools.found(), *learned.found()]


def rate_distortion() -> Found:
    """Those with a curve of quality against rate."""
    return _select("rd", lambda peer: not peer.lossless and not _is_untrained(peer) and peer.name not in _NOT_IN_RD)


def progressive() -> Found:
    """Those with one file that gives every quality."""
    return _select("progressive", lambda peer: peer.name in _PROGRESSIVE)


def lossless() -> Found:
    """Those that keep every bit."""
    return _select("lossless", lambda peer: peer.lossless)


def speed() -> Found:
    """One setting of each lossy family, and untrained networks of compressai."""
    return _select("speed", lambda peer: peer.name in _SPEED or _is_untrained(peer))


def _select(purpose: str, wanted: Callable[[Peer], bool]) -> Found:
    return [
        entry
        for entry in every()
        if (wanted(entry) if isinstance(entry, Peer) else _ABSENT_ELSEWHERE.get(entry.name, purpose) == purpose)
    ]


def _is_untrained(peer: Peer) -> bool:
    return peer.name.startswith("compressai-")
