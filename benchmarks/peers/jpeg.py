"""JPEG and JPEG 2000 through Pillow: at one quality a file, and as one file with scans or layers.

JPEG 2000 gets its color transform, which Pillow leaves off unless asked (on one Kodak picture 5 dB at 1 bpp), the
irreversible wavelet, and no JP2 boxes.
"""

from __future__ import annotations

from functools import partial

from benchmarks.peers import codestream
from benchmarks.peers.peer import Found, Peer, Stream
from benchmarks.peers.pillow_io import built_in, decode, save

_QUALITIES = (1, 3, 5, 7, 10, 13, 17, 22, 30, 40, 50, 60, 70, 80, 87, 92, 95, 98)
_STREAM_QUALITY = 90
_RATES_BPP = (0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1.1, 1.5, 2.0, 2.5, 3.0)
_SAMPLING = {"420": "4:2:0", "444": "4:4:4"}


def found() -> Found:
    """JPEG, progressive JPEG and JPEG 2000."""
    return [*built_in("jpeg", "jpg", _jpeg), *built_in("jpeg2000", "jpg_2000", _jpeg2000)]


def _jpeg(version: str) -> list[Peer]:
    curves = [
        _jpeg_curve(version, sampling=sampling, progressive=progressive)
        for progressive in (False, True)
        for sampling in _SAMPLING
    ]
    return [*curves, _jpeg_stream(version)]


def _jpeg_curve(version: str, *, sampling: str, progressive: bool) -> Peer:
    options = partial(_jpeg_options, sampling=_SAMPLING[sampling], progressive=progressive)
    return Peer(
        name=f"jpeg-{'progressive-' if progressive else ''}{sampling}",
        label=f"JPEG {'progressive ' if progressive else ''}{_SAMPLING[sampling]}",
        version=version,
        settings=_QUALITIES,
        typical=80,
        encode=partial(save, options=options),
        decode=decode,
    )


def _jpeg_stream(version: str) -> Peer:
    return Peer(
        name="jpeg-scans",
        label=f"progressive JPEG (quality {_STREAM_QUALITY})",
        version=version,
        settings=(_STREAM_QUALITY,),
        typical=_STREAM_QUALITY,
        encode=partial(save, options=partial(_jpeg_options, sampling="4:2:0", progressive=True)),
        decode=decode,
        stream=Stream(_scan_steps, codestream.cut_jpeg),
    )


def _jpeg_options(quality: float, *, sampling: str, progressive: bool) -> dict[str, object]:
    kind = {"subsampling": sampling, "optimize": True, "progressive": progressive}
    return {"format": "JPEG", "quality": int(quality), **kind}


def _scan_steps(data: bytes) -> dict[float, int]:
    return {float(index): end for index, end in enumerate(codestream.scan_ends(data), start=1)}


def _jpeg2000(version: str) -> list[Peer]:
    return [
        Peer("jpeg2000", "JPEG 2000", version, _RATES_BPP, 1.1, partial(save, options=_one_rate), decode),
        Peer(
            name="jpeg2000-layers",
            label="JPEG 2000, one file with layers",
            version=version,
            settings=_RATES_BPP[-1:],
            typical=_RATES_BPP[-1],
            encode=partial(save, options=_quality_layers),
            decode=decode,
            stream=Stream(_layer_steps, codestream.cut_packets),
        ),
        Peer(
            name="jpeg2000-lossless",
            label="JPEG 2000 (reversible)",
            version=version,
            settings=(0,),
            typical=0,
            encode=partial(save, options=_reversible),
            decode=decode,
            lossless=True,
        ),
    ]


def _reversible(_: float) -> dict[str, object]:
    return {"format": "JPEG2000", "no_jp2": True, "mct": 1}


def _one_rate(bpp: float) -> dict[str, object]:
    return {**_reversible(bpp), "irreversible": True, "quality_mode": "rates", "quality_layers": [24 / bpp]}


def _quality_layers(bpp: float) -> dict[str, object]:
    rates = [24 / rate for rate in _RATES_BPP if rate <= bpp]
    # plt: packet lengths, by which the file is cut and which the cut leaves out again
    return {**_one_rate(bpp), "quality_layers": rates, "progression": "LRCP", "plt": True}


def _layer_steps(data: bytes) -> dict[float, int]:
    return dict(zip(_RATES_BPP, codestream.parse_packets(data).layer_ends(), strict=True))
