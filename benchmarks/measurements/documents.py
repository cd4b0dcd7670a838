"""Documents and screens, drawn here: what hcodec makes of them without being told, against exact image files."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from PIL import Image

from benchmarks import results
from benchmarks.drawn import drawn
from benchmarks.measurements.clock import timed
from benchmarks.measurements.progress import each
from benchmarks.peers.pillow_io import num_threads, register

_JXL = "pillow_jxl"


class File(TypedDict):
    """A file of one codec: its bytes and the seconds to make it, warm."""

    bytes: int
    seconds: float


def run(target: Path, limit: int | None) -> bool:
    """Measures and writes `documents.json`; returns whether a file that should be exact was not."""
    register(_JXL)
    pictures = list(islice(drawn(), limit))
    found = {name: _measure(image) for name, image in each("documents", pictures)}
    results.write(found, target / results.DOCUMENTS)
    return any(not row["exact"] for row in found.values() if row["stored"])


def _measure(image: Image.Image) -> dict[str, Any]:
    import hcodec
    from hcodec.container.whole import MAX_COLORS
    from hcodec.pixels.look import look

    pixels = np.asarray(image.convert("RGB"))
    data, seconds = timed(lambda: hcodec.encode(image))
    decoded, decoding = timed(lambda: hcodec.decode(data))
    levels, levels_seconds = timed(lambda: hcodec.encode(image, lossless=False))
    return {
        "width": image.width,
        "height": image.height,
        "mode": image.mode,
        "stored": hcodec.info(data).stored,
        "exact": bool((np.asarray(decoded.convert("RGB")) == pixels).all()),
        "look_seconds": round(timed(lambda: look(pixels, MAX_COLORS))[1], 4),
        "decoding_seconds": round(decoding, 3),
        "hcodec": _file(data, seconds),
        "levels": _file(levels, levels_seconds),
        "others": {name: _file(*timed(save)) for name, save in _others(image).items()},
    }


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
