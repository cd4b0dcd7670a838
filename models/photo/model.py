"""A photo model ready to code, from its weights file. torch is imported only where it is to run the model."""

from __future__ import annotations

import functools
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hcodec.errors import HcodecWarning, ModelError
from hcodec.models import weights_file
from hcodec.models.integer.certificate import certify, certify_vector
from hcodec.models.photo import preview
from hcodec.models.photo.preview import Preview
from hcodec.models.photo.walk import LIMITS, Walk
from hcodec.models.runtime.backend import Backend
from hcodec.models.tables import symbol_tables

if TYPE_CHECKING:
    import torch

    from hcodec.models.photo.agreed import Agreed
    from hcodec.models.photo.config import Config
    from hcodec.models.photo.network import Network
    from hcodec.models.runtime.torch_steps import TorchStep

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)  # == of arrays is no bool
class Model:
    """A model ready to code: its walk, table weights (int32), name, fingerprint, weights file, and what runs it."""

    walk: Walk
    tables: NDArray[np.int32]
    name: str
    fingerprint: bytes
    path: Path
    backend: Backend

    @property
    def config(self) -> Config:
        """What shapes it."""
        return self.walk.config

    @functools.cached_property
    def preview(self) -> Preview | None:
        """What shows pictures of streams that still arrive, read when it is asked for; None if there is nothing.

        Without it they take longer; so one that is damaged is warned of, and left out.
        """
        path = preview.path_of(self.path)
        try:
            return preview.load(path, self.backend, self.fingerprint, self.walk)
        except ModelError as error:
            warnings.warn(f"previews are made the long way, without {path}: {error}", HcodecWarning, stacklevel=3)
            return None


def load(path: Path, backend: Backend) -> Model:
    """Returns the model in a weights file, verified: fingerprint, exactness certificate, tables, shapes."""
    config, integers, floats, fingerprint = weights_file.read(path)
    try:
        symbol_tables.split(integers["tables.weights"])
        certify(integers, LIMITS)
        certify_vector(integers, "start")
        weights = graph_weights(integers, floats)
        steps = backend.steps(path, weights, lambda: torch_steps(config, integers, floats, backend.device))
        walk = Walk(config, steps, integers["start"].astype(np.float32))
    except (KeyError, ValueError, RuntimeError) as error:  # RuntimeError: torch on tensors of wrong shapes
        line = " ".join(str(error).split())
        raise ModelError(f"{path.name} does not fit together: {line}") from None
    return Model(walk, integers["tables.weights"], path.stem, fingerprint, path, backend)


def graph_weights(integers: Arrays, floats: Arrays) -> Arrays:
    """Returns all tensors of a model by the names that graphs call them."""
    return {f"agreed/{name}": tensor for name, tensor in integers.items()} | {f"float/{name}": t for name, t in floats.items()}


def torch_steps(config: Config, integers: Arrays, floats: Arrays, device: str = "cpu") -> dict[str, TorchStep]:
    """Returns the steps of a model as torch runs them."""
    from hcodec.models.photo.steps import steps

    return steps(*_networks(config, integers, floats, device))


def torch_networks(path: Path, device: torch.device | str = "cpu") -> tuple[Network, Agreed]:
    """Returns the networks in a weights file, for those who need gradients."""
    config, integers, floats, _ = weights_file.read(path)
    return _networks(config, integers, floats, device)


def _networks(config: Config, integers: Arrays, floats: Arrays, device: torch.device | str) -> tuple[Network, Agreed]:
    import torch

    from hcodec.models.photo.agreed import Agreed

    tensors = {name: torch.from_numpy(tensor).to(device) for name, tensor in integers.items()}
    network = _float_network(config, {name: torch.from_numpy(tensor) for name, tensor in floats.items()})
    return network.to(device), Agreed(config, tensors)


def _float_network(config: Config, floats: dict[str, Any]) -> Network:
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
        raise ModelError(f"the tensor {missing[0]} is missing")
    return network
