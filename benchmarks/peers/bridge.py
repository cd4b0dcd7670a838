"""The only way to compressai.

compressai imports torchvision for a list of names that nothing here uses, and a torchvision that does not match the installed
torch cannot be imported: a common accident, and then all of compressai fails. Here an empty stand-in takes its place while
compressai is being imported, and goes away after. Where torchvision is sound this does nothing.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

_NAMES = ("torchvision", "torchvision.transforms")


def architecture(name: str, quality: int) -> Any:
    """An untrained network of compressai's zoo, its tables made, in evaluation mode. Raises ImportError when absent."""
    zoo = _import("compressai.zoo")
    network = zoo.image_models[name](quality=quality, pretrained=False)
    network.update(force=True)
    return network.eval()


def version() -> str:
    """Version of compressai. Raises ImportError when it is not installed."""
    from importlib import metadata

    return f"compressai {metadata.version('compressai')}"


def _import(name: str) -> ModuleType:
    with _torchvision_or_stand_in():
        import compressai  # noqa: F401 - the one place

        return importlib.import_module(name)


@contextmanager
def _torchvision_or_stand_in() -> Iterator[None]:
    try:
        importlib.import_module(_NAMES[1])
    except (ImportError, RuntimeError):
        _drop_torchvision()  # half-loaded entries would be found again
        stand_ins = {name: _empty(name) for name in _NAMES}
        stand_ins[_NAMES[0]].transforms = stand_ins[_NAMES[1]]  # type: ignore[attr-defined]
        sys.modules.update(stand_ins)
        try:
            yield
        finally:
            _drop_torchvision()
    else:
        yield


def _empty(name: str) -> ModuleType:
    module = ModuleType(name, "An empty stand-in.")
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)  # packages are probed by their spec
    return module


def _drop_torchvision() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
