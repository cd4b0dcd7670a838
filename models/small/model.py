"""A model of small pictures ready to code, from its weights file. torch is imported only when a file is really loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hcodec.errors import ModelError
from hcodec.models import weights_file

if TYPE_CHECKING:
    import numpy as np

    from hcodec.models.small.integer import IntegerSmall


@dataclass(frozen=True, eq=False)  # == of arrays is no bool
class SmallModel:
    """A chain model ready to code: integer network, coding tables (int32), fingerprint."""

    network: IntegerSmall
    tables: np.ndarray
    fingerprint: bytes


def load(path: Path, backend: object) -> SmallModel:
    """Returns the chain model in a weights file, verified: fingerprint, exactness certificate, tables, shapes."""
    import torch

    from hcodec.models.integer.kernels import check_device
    from hcodec.models.small.config import config_from
    from hcodec.models.small.integer import IntegerSmall
    from hcodec.models.tables import likelihood

    about, tensors, fingerprint = weights_file.read_exact(path)
    check_device(torch.device(device))
    try:
        tables = tensors["likelihood.weights"].numpy()
        likelihood.split(tables)
        network = IntegerSmall(config_from(about), tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:  # RuntimeError: torch on tensors of wrong shapes
        line = " ".join(str(error).split())
        raise ModelError(f"{path.name} does not fit together: {line}") from None
    return SmallModel(network, tables, fingerprint)
