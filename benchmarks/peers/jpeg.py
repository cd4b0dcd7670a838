"""JPEG and JPEG 2000 through Pillow: at one quality a file, and as one file with scans or layers.

JPEG 2000 gets its color transform, which Pillow leaves off unless asked (on one Kodak picture 5 dB at 1 bpp), the
irreversible wavelet, and no JP2 boxes.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product

from benchmarks.images import Pixels
from benchmarks.peers import codestream
from benchmarks.peers.peer import Found, Peer, Stream
from benchmarks.peers.pillow_io import Options, built_in, decode, exact, lossy, save

_QUALITIES = (1, 3, 5, 7, 10, 13, 17, 22, 30, 40, 50, 60, 70, 80, 87, 92, 95, 98)
_STREAM_QUALITY = 90
_RATES_BPP = (0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1.1, 1.5, 2.0, 2.5, 3.0)
_JPEG2000: Options = {"format": "JPEG2000", "no_jp2": True, "mct": 1}
_AT_RATES: Options = {"irreversible": True, "quality_mode": "rates"}
_SAMPLING = ("4:2:0", "4:4:4")


def found() -> Found:
    """JPEG, progressive JPEG and JPEG 2000."""
    return [*built_in("jpeg", "jpg", _jpeg), *built_in("jpeg2000", "jpg_2000", _jpeg2000)]


def _jpeg(version: str) -> list[Peer]:
    kinds = product((False, True), _SAMPLING)
    return [*(_jpeg_curve(version, sampling, progressive) for progressive, sampling in kinds), _jpeg_stream(version)]


def _jpeg_curve(version: str, sampling: str, progressive: bool) -> Peer:
    name = f"jpeg-{'progressive-' if progressive else ''}{sampling.replace(':', '')}"
    label = f"JPEG {'progressive ' if progressive else ''}{sampling}"
    return lossy(name, label, version, _QUALITIES, 80, **_jpeg_options(sampling, progressive))


def _jpeg_stream(version: str) -> Peer:
    label, best = f"progressive JPEG (quality {_STREAM_QUALITY})", _jpeg_options("4:2:0", True)
    whole = lossy("jpeg-scans", label, version, (_STREAM_QUALITY,), _STREAM_QUALITY, **best)
    return replace(whole, stream=Stream(_scan_steps, codestream.cut_jpeg))


def _jpeg_options(sampling: str, progressive: bool) -> Options:
    return {"format": "JPEG", "subsampling": sampling, "optimize": True, "progressive": progressive}


def _scan_steps(data: bytes) -> dict[float, int]:
    return {float(index): end for index, end in enumerate(codestream.scan_ends(data), start=1)}


def _jpeg2000(version: str) -> list[Peer]:
    highest, layers = _RATES_BPP[-1], Stream(_layer_steps, codestream.cut_packets)
    return [
        Peer("jpeg2000", "JPEG 2000", version, _RATES_BPP, 1.1, _encode_rate, decode),
        Peer("jpeg2000-layers", "JPEG 2000, one file with layers", version, (highest,), highest, _encode_layers, decode, layers),
        exact("jpeg2000-lossless", "JPEG 2000 (reversible)", version, **_JPEG2000),
    ]


def _encode_rate(pixels: Pixels, bpp: float) -> bytes:
    return save(pixels, bpp, **_JPEG2000, **_AT_RATES, quality_layers=[24 / bpp])


def _encode_layers(pixels: Pixels, bpp: float) -> bytes:
    rates = [24 / rate for rate in _RATES_BPP if rate <= bpp]
    # plt: packet lengths, by which the file is cut and which the cut leaves out again
    return save(pixels, bpp, **_JPEG2000, **_AT_RATES, quality_layers=rates, progression="LRCP", plt=True)


def _layer_steps(data: bytes) -> dict[float, int]:
    return dict(zip(_RATES_BPP, codestream.parse_packets(data).layer_ends(), strict=True))
