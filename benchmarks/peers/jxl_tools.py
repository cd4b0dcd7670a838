"""Progressive JPEG XL through cjxl and djxl, which show what a part of a file holds; Pillow's plugin does not."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

from benchmarks.images import Pixels, read
from benchmarks.peers.peer import Absent, Found, NothingYetError, Peer, Stream, first_bytes
from benchmarks.peers.pillow_io import num_threads

_QUALITY = 90


def found() -> Found:
    """One codec, or why it is absent."""
    if not (shutil.which("cjxl") and shutil.which("djxl")):
        return [Absent("jxl-progressive", "cjxl and djxl (Debian: libjxl-tools) are not installed")]
    said = subprocess.run(["cjxl", "--version"], capture_output=True, text=True, check=False).stdout
    label, stream = f"JPEG XL, progressive (quality {_QUALITY})", Stream(_whole_only, first_bytes)
    return [Peer("jxl-progressive", label, said.split("\n")[0], (_QUALITY,), _QUALITY, _encode, _decode, stream)]


def _encode(pixels: Pixels, quality: float) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in.ppm"), Path(folder, "out.jxl")
        Image.fromarray(pixels).save(source)
        _run("cjxl", source, target, "--quality", str(quality), "--progressive", "--group_order=1")
        return target.read_bytes()


def _decode(data: bytes) -> Pixels:
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
