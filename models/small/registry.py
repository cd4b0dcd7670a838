"""Loading the chain models, those of small pictures: name -> exact network and coding tables, kept for the next call.

Room: small. torch is imported only when a model is really loaded. These models are apart from those of
`models.registry`, for they make no hcodec files, only the chains of an archive.
"""

from __future__ import annotations

import contextlib
import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hcodec.errors import ModelError
from hcodec.models import weights_file

if TYPE_CHECKING:
    import numpy as np

    from hcodec.models.small.integer import IntegerSmall

_SHIPPED = Path(__file__).parent.parent / "weights"
_SUBFOLDER = "chain"
_VARIABLE = "HCODEC_MODELS"  # environment: further folders with weights files, as for `models.registry`


@dataclass(frozen=True, eq=False)  # == of arrays is no bool
class SmallModel:
    """A chain model ready to code: integer network, coding tables (int32), fingerprint."""

    network: IntegerSmall
    tables: np.ndarray
    fingerprint: bytes


def names() -> list[str]:
    """Returns the names of the chain models that are installed."""
    return sorted(_files())


def find(fingerprint: bytes) -> str:
    """Returns the name of the installed chain model with this fingerprint; ModelError if there is none."""
    for name, path in sorted(_files().items()):
        with contextlib.suppress(ModelError):  # a file that is damaged or none of ours must not hide the others
            if load_file(path).fingerprint == fingerprint:
                return name
    raise ModelError(f"no installed chain model has the fingerprint {fingerprint.hex()}; a newer version may bring it")


def load(name: str) -> SmallModel:
    """Returns a chain model; ModelError if unknown or damaged."""
    files = _files()
    if name not in files:
        raise ModelError(f"unknown chain model {name!r}; installed: {', '.join(sorted(files)) or 'none'}")
    return load_file(files[name])


@functools.cache
def load_file(path: Path) -> SmallModel:
    """Returns the chain model in a weights file, verified: fingerprint, exactness certificate, tables, shapes."""
    import torch

    from hcodec.models.integer.kernels import check_device
    from hcodec.models.small.config import config_from
    from hcodec.models.small.integer import IntegerSmall
    from hcodec.models.tables import likelihood

    about, tensors, fingerprint = weights_file.read_exact(path)
    check_device(torch.device("cpu"))
    try:
        tables = tensors["likelihood.weights"].numpy()
        likelihood.split(tables)
        network = IntegerSmall(config_from(about), tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:  # RuntimeError: torch on tensors of wrong shapes
        line = " ".join(str(error).split())
        raise ModelError(f"{path.name} does not fit together: {line}") from None
    return SmallModel(network, tables, fingerprint)


def _files() -> dict[str, Path]:
    """Returns the weights file of each model; those that are shipped cannot be replaced."""
    own = [Path(folder) for folder in os.environ.get(_VARIABLE, "").split(os.pathsep) if folder]
    return {path.stem: path for folder in (*own, _SHIPPED) for path in sorted((folder / _SUBFOLDER).glob("*.safetensors"))}
