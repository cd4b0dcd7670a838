"""A lossless layer ready to code, from its weights file. torch is imported only when a file is really loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hcodec.errors import ModelError
from hcodec.models import weights_file

if TYPE_CHECKING:
    import numpy as np

    from hcodec.models.lossless.integer import IntegerLossless


@dataclass(frozen=True, eq=False)
class LosslessModel:
    """The lossless layer of a model: integer network, tables of the likelihood (int32), fingerprint, levels it may start from.

    order: of the colors in coding; num_latents: fine latents in a cell of stride 8.
    """

    network: IntegerLossless
    tables: np.ndarray
    fingerprint: bytes
    starts: tuple[int, ...]
    order: tuple[int, ...]
    num_latents: int


def load(path: Path, backend: object) -> LosslessModel:
    """Returns the lossless layer in a weights file, verified: fingerprint, exactness certificate, tables, shapes."""
    import torch

    from hcodec.models.integer.kernels import check_device
    from hcodec.models.lossless.config import LATENT, ORDER
    from hcodec.models.lossless.integer import IntegerLossless, try_out
    from hcodec.models.tables import likelihood

    about, tensors, fingerprint = weights_file.read_exact(path)
    check_device(torch.device(device))
    try:
        flat = tensors["likelihood.weights"].numpy()
        likelihood.split(flat)
        network, starts = IntegerLossless(tensors), tuple(int(level) for level in about["starts"])
        try_out(network, len(starts))
        return LosslessModel(network, flat, fingerprint, starts, ORDER, LATENT)
    except (IndexError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(f"{path.name} does not fit together: {' '.join(str(error).split())}") from None
