"""A lossless layer ready to code, from its weights file. torch is imported only where it is to run it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hcodec.errors import ModelError
from hcodec.models import weights_file
from hcodec.models.integer.certificate import certify, certify_vector
from hcodec.models.lossless.walk import LIMITS, Floats, Sites, walk
from hcodec.models.runtime.backend import Backend
from hcodec.models.runtime.steps import Steps
from hcodec.models.tables import likelihood

if TYPE_CHECKING:
    from hcodec.models.runtime.torch_steps import TorchStep


@dataclass(frozen=True, eq=False)  # == of arrays is no bool
class LosslessModel:
    """The lossless layer of a model: its steps, tables of the likelihood (int32), fingerprint, levels it may start from.

    embed (num_starts, width): what is added to the state of each of these levels.
    """

    steps: Steps
    embed: Floats
    tables: NDArray[np.int32]
    fingerprint: bytes
    starts: tuple[int, ...]

    def walk(self, state: Floats, start: int) -> Sites:
        """Yields the sites of a tile, from the exact state (1, H/8, W/8, width) of the level `start`, and takes their values."""
        return walk(self.steps, self.embed[self.starts.index(start)], state)


def load(path: Path, backend: Backend) -> LosslessModel:
    """Returns the lossless layer in a weights file, verified: fingerprint, exactness certificate, tables, shapes."""
    about, tensors, fingerprint = weights_file.read_exact(path)
    try:
        likelihood.split(tensors["likelihood.weights"])
        certify(tensors, LIMITS)
        certify_vector(tensors, "embed")
        embed, starts = tensors["embed"].astype(np.float32), tuple(int(level) for level in about["starts"])
        steps = backend.steps(path, tensors, lambda: torch_steps(tensors, backend.device))
        if embed.shape != (len(starts), len(tensors["block.gain"])):
            raise ValueError(f"{len(starts)} starts have embeddings of the shape {embed.shape}")
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(f"{path.name} does not fit together: {' '.join(str(error).split())}") from None
    return LosslessModel(steps, embed, tensors["likelihood.weights"], fingerprint, starts)


def torch_steps(tensors: dict[str, NDArray[Any]], device: str = "cpu") -> dict[str, TorchStep]:
    """Returns the steps of a lossless layer as torch runs them."""
    import torch

    from hcodec.models.lossless.integer import IntegerLossless
    from hcodec.models.lossless.steps import steps

    return steps(IntegerLossless({name: torch.from_numpy(tensor).to(device) for name, tensor in tensors.items()}))
