"""WebP, AVIF and PNG through Pillow, HEIC and JPEG XL through its plugins.

Each gets the options that serve it best in PSNR, which is what is plotted: no chroma subsampling where it can be chosen,
a tuning for PSNR where there is one. JPEG XL has none: it aims at the eye, and PSNR undersells it.
"""

from __future__ import annotations

from PIL import features

from benchmarks.peers.peer import Found, Peer
from benchmarks.peers.pillow_io import Options, built_in, exact, from_plugin, lossy, version_with

_WEBP_QUALITIES = (0, 5, 10, 20, 30, 40, 50, 60, 70, 80, 88, 94, 98)
_AVIF_QUALITIES = (5, 15, 25, 35, 47, 60, 72, 84, 92)
_HEIC_QUALITIES = (5, 12, 20, 28, 36, 44, 52, 60, 68)
_JXL_QUALITIES = (3, 8, 15, 25, 40, 55, 70, 80, 88, 93, 96)
_AVIF_SPEEDS = (8, 6, 4)
_HEIC, _JXL = "pillow_heif", "pillow_jxl"


def found() -> Found:
    """WebP, AVIF, PNG, HEIC and JPEG XL."""
    return [
        *built_in("webp", "webp", _webp),
        *built_in("avif", "avif", _avif),
        exact("png", "PNG (optimized)", version_with(f"zlib {features.version('zlib')}"), format="PNG", optimize=True),
        *from_plugin("heic", _HEIC, "pillow-heif", _heic),
        *from_plugin("jxl", _JXL, "pillow-jxl-plugin", _jxl),
    ]


def _webp(version: str) -> list[Peer]:
    best: Options = {"format": "WEBP", "method": 6}
    return [
        lossy("webp", "WebP", version, _WEBP_QUALITIES, 80, **best),
        exact("webp-lossless", "WebP lossless", version, **best, lossless=True, quality=100, exact=True),
    ]


def _avif(version: str) -> list[Peer]:
    best: Options = {"format": "AVIF", "subsampling": "4:4:4", "advanced": {"tune": "psnr"}, "threads": "max_threads"}
    return [
        lossy(f"avif-s{speed}", f"AVIF 4:4:4 (speed {speed})", version, _AVIF_QUALITIES, 60, **best, speed=speed)
        for speed in _AVIF_SPEEDS
    ]


def _heic(version: str) -> list[Peer]:
    best: Options = {"format": "HEIF", "chroma": 444, "enc_params": {"tune": "psnr"}}
    return [lossy("heic", "HEIC 4:4:4 (x265)", version, _HEIC_QUALITIES, 52, plugin=_HEIC, **best)]


def _jxl(version: str) -> list[Peer]:
    best: Options = {"format": "JXL", "threads": "num_threads"}
    kept = [
        exact(
            f"jxl-lossless-e{effort}",
            f"JPEG XL lossless (effort {effort})",
            version,
            plugin=_JXL,
            **best,
            effort=effort,
            lossless=True,
        )
        for effort in (7, 9)
    ]
    return [lossy("jxl-e7", "JPEG XL (effort 7)", version, _JXL_QUALITIES, 80, plugin=_JXL, **best, effort=7), *kept]
