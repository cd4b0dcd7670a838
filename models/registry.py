"""Loading models: name or fingerprint -> network, agreed path and tables, kept for the next call.

Room: network (step 4 of encoding, 3 of decoding). torch is imported only when a model is really loaded.
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
from hcodec.models.weights_file import ModelSummary

if TYPE_CHECKING:
    import numpy as np
    import torch

    from hcodec.models.lossless.integer import IntegerLossless
    from hcodec.models.photo.agreed import Agreed
    from hcodec.models.photo.config import Config
    from hcodec.models.photo.network import Network

_SHIPPED = Path(__file__).parent / "weights"
_VARIABLE = "HCODEC_MODELS"  # environment: further folders with weights files, for models of one's own


@dataclass(frozen=True, eq=False)  # == of arrays is no bool
class Model:
    """A model ready to code: float network, integer agreed path, table weights (int32), fingerprint, device."""

    network: Network
    agreed: Agreed
    tables: np.ndarray
    fingerprint: bytes
    device: torch.device


@dataclass(frozen=True, eq=False)
class LosslessModel:
    """the lossless layer of a model: integer network, tables of the likelihood (int32), fingerprint, levels it may start from.

    order: of the colors in coding; num_latents: fine latents in a cell of stride 8.
    """

    network: IntegerLossless
    tables: np.ndarray
    fingerprint: bytes
    starts: tuple[int, ...]
    order: tuple[int, ...]
    num_latents: int


def names() -> list[str]:
    """Returns the names of the models that are installed."""
    return sorted(_files())


def summary(name: str) -> ModelSummary:
    """Returns what is known of a model without loading it; ModelError if there is none of that name."""
    return weights_file.summary(_path(name))


def card(name: str) -> str:
    """Returns the model card, in Markdown; ModelError if there is none."""
    path = _path(name).with_suffix(".md")
    if not path.exists():
        raise ModelError(f"model {name!r} has no card")
    return path.read_text(encoding="utf-8")


def find(fingerprint: bytes) -> str:
    """Returns the name of the installed model with this fingerprint; ModelError if there is none."""
    for name in names():
        with contextlib.suppress(ModelError):  # a file that is damaged or none of ours must not hide the others
            if summary(name).fingerprint == fingerprint.hex():
                return name
    raise ModelError(f"no installed model has the fingerprint {fingerprint.hex()}; a newer version may bring it")


def load(name: str, device: str = "cpu") -> Model:
    """Returns a model on a device ("auto", "cpu", "cuda"); ModelError if unknown, damaged or without that device."""
    return load_file(_path(name), _device(device))


@functools.cache
def load_file(path: Path, device: str = "cpu") -> Model:
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


def load_lossless(base: bytes, fingerprint: bytes | None = None) -> LosslessModel:
    """Returns the last layer for the model with the fingerprint `base`: the one asked for, or that which is installed."""
    for path in _lossless_files():
        with contextlib.suppress(ModelError):  # a file that is damaged or none of ours must not hide the others
            model, found = _load_lossless_file(path)
            if found == base and fingerprint in (None, model.fingerprint):
                return model
    wanted = "" if fingerprint is None else f" with the fingerprint {fingerprint.hex()}"
    raise ModelError(f"no lossless layer{wanted} is installed for the model {base.hex()}")


@functools.cache
def _load_lossless_file(path: Path) -> tuple[LosslessModel, bytes]:
    """Returns a last layer, verified, and the fingerprint of its base."""
    import torch

    from hcodec.models.integer.kernels import check_device
    from hcodec.models.lossless.config import LATENT, ORDER
    from hcodec.models.lossless.integer import IntegerLossless, try_out
    from hcodec.models.tables import likelihood

    about, tensors, fingerprint = weights_file.read_exact(path)
    check_device(torch.device("cpu"))
    try:
        flat = tensors["likelihood.weights"].numpy()
        likelihood.split(flat)
        network, starts = IntegerLossless(tensors), tuple(int(level) for level in about["starts"])
        try_out(network, len(starts))
        return LosslessModel(network, flat, fingerprint, starts, ORDER, LATENT), bytes.fromhex(about["base"])
    except (IndexError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(f"{path.name} does not fit together: {' '.join(str(error).split())}") from None


def _lossless_files() -> list[Path]:
    return [path for folder in (*_own_folders(), _SHIPPED) for path in sorted((folder / "lossless").glob("*.safetensors"))]


def _own_folders() -> list[Path]:
    return [Path(folder) for folder in os.environ.get(_VARIABLE, "").split(os.pathsep) if folder]


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
    missing = [name for name in missing if ".overlap." not in name]  # files of the first five releases have none: it stays zero
    if missing:
        raise ValueError(f"the tensor {missing[0]} is missing")
    return network


def _files() -> dict[str, Path]:
    """Returns the weights file of each model; those that are shipped cannot be replaced."""
    return {path.stem: path for folder in (*_own_folders(), _SHIPPED) for path in sorted(folder.glob("*.safetensors"))}


def _path(name: str) -> Path:
    files = _files()
    if name not in files:
        raise ModelError(f"unknown model {name!r}; installed: {', '.join(sorted(files)) or 'none'}")
    return files[name]


def _device(name: str) -> str:
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ModelError("no CUDA device is available; use --device cpu")
    if name not in ("cpu", "cuda"):
        raise ModelError(f"unknown device {name!r}; use auto, cpu or cuda")
    return name
