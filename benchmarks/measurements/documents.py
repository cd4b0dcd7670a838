"""Documents and screens, drawn here: what hcodec makes of them without being told, against exact image files."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from time import process_time
from typing import Any, TypedDict, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks import results
from benchmarks.drawn import drawn
from benchmarks.drawn.deep import deep
from benchmarks.measurements.progress import each
from benchmarks.peers.pillow_io import num_threads, register

T = TypeVar("T")
_JXL = "pillow_jxl"


class File(TypedDict):
    """A file of one codec: its bytes and the seconds of processor time to make it, warm."""

    bytes: int
    seconds: float


def run(target: Path, limit: int | None) -> bool:
    """Measures and writes `documents.json`; returns whether a file that should be exact was not."""
    register(_JXL)
    pictures = list(islice(drawn(), limit))
    found = {name: _measure(image) for name, image in each("documents", pictures)}
    results.write(found, target / results.DOCUMENTS)
    return any(not row["exact"] for row in found.values() if row["stored"])


def run_deep(target: Path) -> bool:
    """Measures pictures of 16 bits and writes `deep.json`; returns whether one was not exact."""
    register(_JXL)
    found = {name: _measure_deep(samples) for name, samples in each("16 bits", list(deep()))}
    results.write(found, target / results.DEEP)
    return not all(row["exact"] for row in found.values())


def _measure_deep(samples: NDArray[np.uint16]) -> dict[str, Any]:
    """Returns the files of a picture; of color, Pillow writes none of 16 bits: its PNG is that of `hcodec decode`."""
    import hcodec
    from hcodec.pixels import deep_file

    data, seconds = _spent(lambda: hcodec.encode(samples, lossless=True))
    decoded, decoding = _spent(lambda: hcodec.decode_picture(data))
    gray = Image.fromarray(samples[..., 0]) if samples.shape[2] == 1 else None
    others: dict[str, Callable[[], bytes]] = {"PNG": lambda: deep_file.encode(samples, "PNG", hcodec.Metadata())[0]}
    if gray is not None:
        others = {
            "PNG": partial(_saved, gray, format="PNG", optimize=True),
            "JPEG XL lossless": partial(_saved, gray, format="JXL", lossless=True, effort=7, num_threads=num_threads()),
        }
    return {
        "bytes": samples.nbytes,
        "exact": bool(np.array_equal(decoded.deep, samples)) if decoded.deep is not None else False,
        "decoding_seconds": round(decoding, 3),
        "hcodec": _file(data, seconds),
        "others": {name: _file(*_spent(save)) for name, save in others.items()},
    }


def _measure(image: Image.Image) -> dict[str, Any]:
    import hcodec
    from hcodec.container.whole import MAX_COLORS
    from hcodec.pixels.look import look

    pixels = np.asarray(image.convert("RGB"))
    data, seconds = _spent(lambda: hcodec.encode(image))
    decoded, decoding = _spent(lambda: hcodec.decode(data))
    levels, levels_seconds = _spent(lambda: hcodec.encode(image, lossless=False))
    return {
        "width": image.width,
        "height": image.height,
        "mode": image.mode,
        "stored": hcodec.info(data).stored,
        "exact": bool((np.asarray(decoded.convert("RGB")) == pixels).all()),
        "look_seconds": round(_spent(lambda: look(pixels, MAX_COLORS))[1], 4),
        "decoding_seconds": round(decoding, 3),
        "hcodec": _file(data, seconds),
        "levels": _file(levels, levels_seconds),
        "others": {name: _file(*_spent(save)) for name, save in _others(image).items()},
    }


def _spent(call: Callable[[], T]) -> tuple[T, float]:
    """Returns what a call returns, and the seconds of processor time that it took, whatever else the machine does."""
    start = process_time()
    result = call()
    return result, process_time() - start


def _file(data: bytes, seconds: float) -> File:
    return File(bytes=len(data), seconds=round(seconds, 3))


def _others(image: Image.Image) -> dict[str, Callable[[], bytes]]:
    """Returns what writes the picture without loss in other formats, by their names; each in the mode that suits it."""
    plain = image.convert("L" if image.mode in ("1", "L") else "RGB")
    found: dict[str, Callable[[], bytes]] = {
        "PNG": partial(_saved, image, format="PNG", optimize=True),
        "WebP lossless": partial(_saved, plain, format="WEBP", lossless=True, quality=100, method=6, exact=True),
        "JPEG XL lossless": partial(_saved, plain, format="JXL", lossless=True, effort=7, num_threads=num_threads()),
    }
    if image.mode == "1":
        found["CCITT G4"] = partial(_saved, image, format="TIFF", compression="group4")
    return found


def _saved(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, **options)
    return file.getvalue()
