"""All models that are installed: name or fingerprint -> a model ready to code, kept for the next call.

Room: models (encode step 4, decode step 3). There are three families, each with a folder of weights files: photo
models make files, a lossless layer belongs to one of them, small models make the chains of an archive. Neither numpy
nor what runs a model is imported before one is really loaded.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from hcodec.errors import ModelError
from hcodec.models import weights_file
from hcodec.models.runtime.backend import ANY, Backend
from hcodec.models.weights_file import ModelSummary

if TYPE_CHECKING:
    from hcodec.models.lossless.model import LosslessModel
    from hcodec.models.photo.model import Model
    from hcodec.models.small.model import SmallModel

_SHIPPED = Path(__file__).parent / "weights"
_VARIABLE = "HCODEC_MODELS"  # environment: further folders with weights files, for models of one's own
AnyModel = TypeVar("AnyModel")


@dataclass(frozen=True)
class Family(Generic[AnyModel]):
    """Models of one kind: what it is called in messages, where its weights files lie, and what loads one."""

    name: str
    folder: str
    load: Callable[[Path, Backend], AnyModel]

    def files(self) -> dict[str, Path]:
        """Returns the weights file of each model; those that are shipped cannot be replaced."""
        own = [Path(folder) for folder in os.environ.get(_VARIABLE, "").split(os.pathsep) if folder]
        return {path.stem: path for root in (*own, _SHIPPED) for path in sorted((root / self.folder).glob("*.safetensors"))}

    def path(self, name: str) -> Path:
        """Returns the weights file of a model; ModelError if there is none of that name."""
        files = self.files()
        if name not in files:
            raise ModelError(f"unknown {self.name} {name!r}; installed: {', '.join(sorted(files)) or 'none'}")
        return files[name]


def _load_photo(path: Path, backend: Backend) -> Model:
    from hcodec.models.photo import model

    return model.load(path, backend)


def _load_lossless(path: Path, backend: Backend) -> LosslessModel:
    from hcodec.models.lossless import model

    return model.load(path, backend)


def _load_small(path: Path, backend: Backend) -> SmallModel:
    from hcodec.models.small import model

    return model.load(path, backend)


PHOTO = Family("model", "", _load_photo)
LOSSLESS = Family("lossless layer", "lossless", _load_lossless)
SMALL = Family("chain model", "chain", _load_small)


def names(family: Family[Any] = PHOTO) -> list[str]:
    """Returns the names of the models that are installed."""
    return sorted(family.files())


def summary(name: str) -> ModelSummary:
    """Returns what is known of a photo model without loading it; ModelError if there is none of that name."""
    return weights_file.summary(PHOTO.path(name))


def card(name: str) -> str:
    """Returns the card of a photo model, in Markdown; ModelError if there is none."""
    path = PHOTO.path(name).with_suffix(".md")
    if not path.exists():
        raise ModelError(f"model {name!r} has no card")
    return path.read_text(encoding="utf-8")


def find(fingerprint: bytes, family: Family[Any] = PHOTO) -> str:
    """Returns the name of the installed model with this fingerprint; ModelError if there is none. Loads nothing."""
    for name, path in sorted(family.files().items()):
        with contextlib.suppress(ModelError):  # a file that is damaged or none of ours must not hide the others
            if weights_file.header(path).get("fingerprint") == fingerprint.hex():
                return name
    raise ModelError(f"no installed {family.name} has the fingerprint {fingerprint.hex()}; a newer version may bring it")


def load(name: str, device: str = "cpu", backend: str | None = None) -> Model:
    """Returns a photo model on a device ("auto", "cpu", "cuda"), run by a backend ("onnx", "torch"; None: what suits the device).

    ModelError if it is unknown or damaged, or what is to run it is not there.
    """
    return load_file(PHOTO.path(name), PHOTO, Backend.chosen(backend, device))


def load_small(name: str) -> SmallModel:
    """Returns a model of small pictures; ModelError if unknown or damaged."""
    return load_file(SMALL.path(name), SMALL)


def load_lossless(base: bytes, fingerprint: bytes | None = None, backend: Backend = ANY) -> LosslessModel:
    """Returns the lossless layer for the model with the fingerprint `base`: the one asked for, or that which is installed."""
    for path in LOSSLESS.files().values():
        with contextlib.suppress(ModelError):  # a file that is damaged or none of ours must not hide the others
            header = weights_file.header(path)
            is_wanted = fingerprint is None or header.get("fingerprint") == fingerprint.hex()
            if is_wanted and _base(header) == base.hex():
                return load_file(path, LOSSLESS, backend)
    wanted = "" if fingerprint is None else f" with the fingerprint {fingerprint.hex()}"
    raise ModelError(f"no lossless layer{wanted} is installed for the model {base.hex()}")


def _base(header: dict[str, str]) -> str:
    """Returns the fingerprint of the model that a lossless layer belongs to, in hex; empty if its file does not say."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return str(json.loads(header["about"])["base"])
    return ""


@functools.cache
def load_file(path: Path, family: Family[AnyModel], backend: Backend = ANY) -> AnyModel:
    """Returns the model in a weights file, verified: fingerprint, exactness certificate, tables, shapes."""
    return family.load(path, backend)
