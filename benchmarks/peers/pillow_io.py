"""What all codecs over Pillow share: from the options of `Image.save` to an adapter; version; threads.

A codec is its options, with the names of those that depend on the setting or on the machine: see `save`. They are plain values,
since adapters are sent to worker processes. Imports numpy and Pillow only.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import io
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import PIL
from PIL import Image, features

from benchmarks.images import Pixels
from benchmarks.peers.peer import Absent, Found, Peer

Options = dict[str, Any]
"""Keyword arguments of `save`."""


def save(pixels: Pixels, setting: float, *, plugin: str = "", knob: str = "", threads: str = "", **options: Any) -> bytes:
    """The file that Pillow writes of pixels uint8 (H, W, 3) with `options`.

    `plugin`: the module that adds the format; `knob`: the option that is the setting; `threads`: the one that says how many.
    """
    register(plugin)
    varying = {knob: int(setting), threads: num_threads()}
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, **options | {name: value for name, value in varying.items() if name})
    return buffer.getvalue()


def decode(data: bytes, *, plugin: str = "") -> Pixels:
    """Pixels uint8 (H, W, 3) of any file that Pillow and the plugin read."""
    register(plugin)
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def register(plugin: str) -> None:
    """Makes a plugin's format known in this process. Raises ImportError when it is not installed."""
    if plugin:
        module = importlib.import_module(plugin)
        if hasattr(module, "register_heif_opener"):  # pillow_heif registers nothing by itself
            module.register_heif_opener()


def lossy(
    name: str, label: str, version: str, settings: tuple[float, ...], typical: float, *, plugin: str = "", **options: Any
) -> Peer:
    """A codec whose option `quality` is the setting."""
    encode = partial(save, plugin=plugin, knob="quality", **options)
    return Peer(name, label, version, settings, typical, encode, partial(decode, plugin=plugin))


def exact(name: str, label: str, version: str, *, plugin: str = "", **options: Any) -> Peer:
    """A codec that keeps every bit."""
    encode = partial(save, plugin=plugin, **options)
    return Peer(name, label, version, (0,), 0, encode, partial(decode, plugin=plugin), lossless=True)


def built_in(name: str, feature: str, build: Callable[[str], list[Peer]]) -> Found:
    """The adapters that `build(version)` makes, or the reason why Pillow's `feature` is missing."""
    if not features.check(feature):
        return [Absent(name, f"this Pillow is built without {feature}")]
    return [*build(version_with(f"{feature} {features.version(feature)}"))]


def from_plugin(name: str, plugin: str, package: str, build: Callable[[str], list[Peer]]) -> Found:
    """The adapters that `build(version)` makes, or the reason why the plugin's package is missing."""
    try:
        register(plugin)
    except ImportError:
        return [Absent(name, f"{package} is not installed")]
    return [*build(version_with(f"{package} {importlib.metadata.version(package)}"))]


def version_with(codec: str) -> str:
    """Version text of Pillow together with one of its codecs."""
    return f"Pillow {PIL.__version__}, {codec}"


def num_threads() -> int:
    """Threads that a codec may use: as many as torch may use, so that all have the same."""
    return int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
