"""A model of small pictures ready to code, from its weights file. torch is imported only where it is to run the model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hcodec.errors import ModelError
from hcodec.models import weights_file
from hcodec.models.integer.certificate import certify, certify_vector
from hcodec.models.runtime.backend import Backend
from hcodec.models.small.config import SmallConfig, config_from
from hcodec.models.small.walk import LIMITS, Walk
from hcodec.models.tables import likelihood

if TYPE_CHECKING:
    from hcodec.models.runtime.torch_steps import TorchStep
    from hcodec.models.small.integer import IntegerSmall

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)  # == of arrays is no bool
class SmallModel:
    """A chain model ready to code: its walk, coding tables (int32), fingerprint."""

    walk: Walk
    tables: NDArray[np.int32]
    fingerprint: bytes


def load(path: Path, backend: Backend) -> SmallModel:
    """Returns the chain model in a weights file, verified: fingerprint, exactness certificate, tables."""
    about, integers, fingerprint = weights_file.read_exact(path)
    try:
        config, tables = config_from(about), integers["likelihood.weights"]
        likelihood.split(tables)
        certify(integers, LIMITS)
        certify_vector(integers, "start")
        steps = backend.steps(path, integers, lambda: torch_steps(config, integers))
        walk = Walk(config, steps, integers["start"].astype(np.float32))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:  # RuntimeError: torch on tensors of wrong shapes
        line = " ".join(str(error).split())
        raise ModelError(f"{path.name} does not fit together: {line}") from None
    return SmallModel(walk, tables, fingerprint)


def torch_steps(config: SmallConfig, integers: Arrays) -> dict[str, TorchStep]:
    """Returns the steps of a model as torch runs them."""
    from hcodec.models.small.steps import steps

    return steps(_network(config, integers))


def torch_network(path: Path) -> IntegerSmall:
    """Returns the integer network in a weights file, for those who compute on batches."""
    about, integers, _ = weights_file.read_exact(path)
    return _network(config_from(about), integers)


def _network(config: SmallConfig, integers: Arrays) -> IntegerSmall:
    import torch

    from hcodec.models.small.integer import IntegerSmall

    return IntegerSmall(config, {name: torch.from_numpy(tensor) for name, tensor in integers.items()})
