"""WebP, AVIF and PNG through Pillow, HEIC and JPEG XL through its plugins, JPEG XL also through cjxl and djxl.

Each gets the options that serve it best in PSNR, which is what is plotted: no chroma subsampling where it can be chosen,
a tuning for PSNR where there is one. JPEG XL has none: it aims at the eye, and PSNR undersells it.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import shutil
import subprocess
import tempfile
from functools import partial
from pathlib import Path

from PIL import Image, features

from benchmarks.images import Pixels, read
from benchmarks.peers.peer import Absent, Found, NothingYetError, Peer, Stream
from benchmarks.peers.pillow_io import Options, built_in, decode, num_threads, save, version_with

_WEBP_QUALITIES = (0, 5, 10, 20, 30, 40, 50, 60, 70, 80, 88, 94, 98)
_AVIF_QUALITIES = (5, 15, 25, 35, 47, 60, 72, 84, 92)
_HEIC_QUALITIES = (5, 12, 20, 28, 36, 44, 52, 60, 68)
_JXL_QUALITIES = (3, 8, 15, 25, 40, 55, 70, 80, 88, 93, 96)
_AVIF_SPEEDS = (8, 6, 4)


def found() -> Found:
    """WebP, AVIF, PNG, HEIC and JPEG XL."""
    return [*built_in("webp", "webp", _webp), *built_in("avif", "avif", _avif), _png(), *_heic(), *_jxl(), _cjxl()]


def _exact(name: str, label: str, version: str, options: Options) -> Peer:
    return Peer(name, label, version, (0,), 0, partial(save, options=options), decode, lossless=True)


def _webp(version: str) -> list[Peer]:
    encode = partial(save, options=_webp_options)
    return [
        Peer("webp", "WebP", version, _WEBP_QUALITIES, 80, encode, decode),
        _exact("webp-lossless", "WebP lossless", version, _webp_lossless_options),
    ]


def _webp_options(quality: float) -> dict[str, object]:
    return {"format": "WEBP", "quality": int(quality), "method": 6}


def _webp_lossless_options(_: float) -> dict[str, object]:
    return {"format": "WEBP", "lossless": True, "quality": 100, "method": 6, "exact": True}


def _avif(version: str) -> list[Peer]:
    return [
        Peer(
            name=f"avif-s{speed}",
            label=f"AVIF 4:4:4 (speed {speed})",
            version=version,
            settings=_AVIF_QUALITIES,
            typical=60,
            encode=partial(save, options=partial(_avif_options, speed=speed)),
            decode=decode,
        )
        for speed in _AVIF_SPEEDS
    ]


def _avif_options(quality: float, *, speed: int) -> dict[str, object]:
    tuned = {"subsampling": "4:4:4", "advanced": {"tune": "psnr"}}
    return {"format": "AVIF", "quality": int(quality), "speed": speed, "max_threads": num_threads(), **tuned}


def _png() -> Peer:
    return _exact("png", "PNG (optimized)", version_with(f"zlib {features.version('zlib')}"), _png_options)


def _png_options(_: float) -> dict[str, object]:
    return {"format": "PNG", "optimize": True}


def _plugin_version(name: str) -> str:
    return version_with(f"{name} {importlib.metadata.version(name)}")


def _heic() -> Found:
    try:
        _register_heic()
    except ImportError:
        return [Absent("heic", "pillow-heif is not installed")]
    version = _plugin_version("pillow-heif")
    return [Peer("heic", "HEIC 4:4:4 (x265)", version, _HEIC_QUALITIES, 52, _heic_encode, _heic_decode)]


def _register_heic() -> None:
    importlib.import_module("pillow_heif").register_heif_opener()


def _heic_encode(pixels: Pixels, quality: float) -> bytes:
    _register_heic()  # here, since the plugin must be known to the worker process that encodes
    return save(pixels, quality, options=_heic_options)


def _heic_decode(data: bytes) -> Pixels:
    _register_heic()
    return decode(data)


def _heic_options(quality: float) -> dict[str, object]:
    return {"format": "HEIF", "quality": int(quality), "chroma": 444, "enc_params": {"tune": "psnr"}}


def _jxl() -> Found:
    try:
        _register_jxl()
    except ImportError:
        return [Absent("jxl", "pillow-jxl-plugin is not installed")]
    version = _plugin_version("pillow-jxl-plugin")
    encode = partial(_jxl_encode, options=partial(_jxl_options, effort=7))
    return [
        Peer("jxl-e7", "JPEG XL (effort 7)", version, _JXL_QUALITIES, 80, encode, _jxl_decode),
        *(_jxl_lossless(version, effort) for effort in (7, 9)),
    ]


def _register_jxl() -> None:
    importlib.import_module("pillow_jxl")


def _jxl_lossless(version: str, effort: int) -> Peer:
    encode = partial(_jxl_encode, options=partial(_jxl_lossless_options, effort=effort))
    label = f"JPEG XL lossless (effort {effort})"
    return Peer(f"jxl-lossless-e{effort}", label, version, (0,), 0, encode, _jxl_decode, lossless=True)


def _jxl_encode(pixels: Pixels, quality: float, *, options: Options) -> bytes:
    _register_jxl()
    return save(pixels, quality, options=options)


def _jxl_decode(data: bytes) -> Pixels:
    _register_jxl()
    return decode(data)


def _jxl_options(quality: float, *, effort: int) -> dict[str, object]:
    return {"format": "JXL", "quality": int(quality), "effort": effort, "num_threads": num_threads()}


def _jxl_lossless_options(_: float, *, effort: int) -> dict[str, object]:
    return {"format": "JXL", "lossless": True, "effort": effort, "num_threads": num_threads()}


def _cjxl() -> Peer | Absent:
    if not (shutil.which("cjxl") and shutil.which("djxl")):
        return Absent("jxl-progressive", "cjxl and djxl (Debian: libjxl-tools) are not installed")
    version = subprocess.run(["cjxl", "--version"], capture_output=True, text=True, check=False).stdout.split("\n")[0]
    return Peer(
        name="jxl-progressive",
        label="JPEG XL, progressive (quality 90)",
        version=version,
        settings=(90,),
        typical=90,
        encode=_cjxl_encode,
        decode=_djxl_decode,
        stream=Stream(_whole_only, _first_bytes),
    )


def _cjxl_encode(pixels: Pixels, quality: float) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in.ppm"), Path(folder, "out.jxl")
        Image.fromarray(pixels).save(source)
        _run("cjxl", source, target, "--quality", str(quality), "--progressive", "--group_order=1")
        return target.read_bytes()


def _djxl_decode(data: bytes) -> Pixels:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in.jxl"), Path(folder, "out.ppm")
        source.write_bytes(data)
        try:
            _run("djxl", source, target, "--allow_partial_files")
        except subprocess.CalledProcessError as error:
            raise NothingYetError("djxl shows nothing of these bytes") from error
        return read(target)


def _run(*command: str | Path) -> None:
    subprocess.run([*command, f"--num_threads={num_threads()}"], check=True, capture_output=True, timeout=600)


def _whole_only(data: bytes) -> dict[float, int]:
    return {1.0: len(data)}


def _first_bytes(data: bytes, num_bytes: int) -> bytes:
    return data[:num_bytes]
