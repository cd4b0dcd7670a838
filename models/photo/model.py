"""A photo model ready to code, from its weights file. torch is imported only when a file is really loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hcodec.errors import ModelError
from hcodec.models import weights_file

if TYPE_CHECKING:
    import numpy as np
    import torch

    from hcodec.models.photo.agreed import Agreed
    from hcodec.models.photo.config import Config
    from hcodec.models.photo.network import Network


@dataclass(frozen=True, eq=False)  # == of arrays is no bool
class Model:
    """A model ready to code: float network, integer agreed path, table weights (int32), fingerprint, device."""

    network: Network
    agreed: Agreed
    tables: np.ndarray
    fingerprint: bytes
    device: torch.device


def load(path: Path, device: str) -> Model:
    """Returns the model in a weights file, verified: fingerprint, exactness certificate, tables, shapes."""
    import torch

    from hcodec.models.integer.kernels import check_device
    from hcodec.models.photo.agreed import Agreed

    config, integers, floats, fingerprint = weights_file.read(path)
    where = torch.device(device)
    check_device(where)
    try:
        flat = _checked_tables(integers)
        network = _float_network(config, floats)
        agreed = Agreed(config, {name: tensor.to(where) for name, tensor in integers.items()})
    except (KeyError, ValueError, RuntimeError) as error:  # RuntimeError: torch on tensors of wrong shapes
        line = " ".join(str(error).split())
        raise ModelError(f"{path.name} does not fit together: {line}") from None
    return Model(network.to(where), agreed, flat, fingerprint, where)


def _checked_tables(integers: dict[str, torch.Tensor]) -> np.ndarray:
    from hcodec.models.tables import symbol_tables

    flat = integers["tables.weights"].numpy()
    symbol_tables.split(flat)
    return flat


def _float_network(config: Config, floats: dict[str, torch.Tensor]) -> Network:
    """Returns the network without its agreed parts, which only `Agreed` computes."""
    import torch

    from hcodec.models.photo.network import Network

    # on the meta device this would take no memory, but a second more, for torch then loads its compiler
    with torch.random.fork_rng(devices=[]):
        network = Network(config).requires_grad_(False)
    del network.start, network.up
    for latent in network.ordered_latents():
        del latent.refine, latent.block, latent.head, latent.project
    values = {name: tensor.float() for name, tensor in floats.items()}
    missing = network.load_state_dict(values, strict=False, assign=True).missing_keys
    if missing:
        raise ValueError(f"the tensor {missing[0]} is missing")
    return network
