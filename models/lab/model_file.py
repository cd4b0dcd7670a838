"""Networks of the lab in files: weights as safetensors, with family, configuration and facts of training in the metadata.

Room: files of the lab.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import nn

from hcodec.errors import ModelError
from hcodec.models.lab.families import entry
from hcodec.models.lab.protocol import Family

_NUM_DIGITS = 16  # of a digest


@dataclass(frozen=True)
class Trained:
    """A trained network: its family, configuration, what is known of its training, and the digest of its file."""

    family: str
    config: Any
    network: Family
    facts: dict[str, Any]
    digest: str


def save(path: Path, family: str, config: Any, network: nn.Module, facts: Mapping[str, Any]) -> None:
    """Writes a network, atomically."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    about = {"family": family, "config": json.dumps(asdict(config)), "facts": json.dumps(dict(facts))}
    path.parent.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(tensors, path.with_suffix(".part"), about)
    path.with_suffix(".part").replace(path)


def load(path: Path) -> Trained:
    """Returns the network of a file, ready to be measured; ModelError if there is none or it does not fit its family."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            about = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        found = entry(about["family"])
        config = found.config(**{key: _restored(value) for key, value in json.loads(about["config"]).items()})
        network = found.network(config).requires_grad_(False).eval()
        network.load_state_dict(tensors)
        facts = json.loads(about["facts"])
    except FileNotFoundError as error:
        raise ModelError(f"no trained model {path}; `hcodec lab train` makes one, `--models mnist` is installed") from error
    except (safetensors.SafetensorError, OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise ModelError(f"{path} is not a model of the lab: {str(error).splitlines()[0]}") from error
    return Trained(about["family"], config, network, facts, digest(path))


def digest(path: Path) -> str:
    """Returns the digest of a file, by which files of pictures name the model that wrote them."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:_NUM_DIGITS]


def _restored(value: Any) -> Any:
    """Returns lists as the tuples that they were before JSON."""
    return tuple(map(_restored, value)) if isinstance(value, list) else value
