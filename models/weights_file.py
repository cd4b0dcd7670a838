"""Weights files: safetensors with the configuration, a description and the fingerprint in its metadata.

Room: models. Tensors named `agreed/...` are the integers that encoder and decoder share, `float/...` the rest; see
`photo/export.py`. `summary` reads the header alone, without numpy.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hcodec.errors import ModelError
from hcodec.models.photo.config import Config

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

FINGERPRINT_BYTES = 4  # format


@dataclass(frozen=True)
class ModelSummary:
    """What is known of a model without loading it; fingerprint in hex, num_bytes of the weights file."""

    name: str
    fingerprint: str
    num_levels: int
    num_bytes: int
    description: str


def config_from(values: Mapping[str, Any]) -> Config:
    """Returns the Config that `dataclasses.asdict` and JSON made of it; TypeError on an unknown field."""
    fields = {key: _restored(value) for key, value in values.items()}
    return Config(**fields)


def _restored(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {int(key): _restored(item) for key, item in value.items()}
    return tuple(_restored(item) for item in value) if isinstance(value, list | tuple) else value


def fingerprint(about: Mapping[str, Any], agreed: Mapping[str, Array]) -> bytes:
    """Returns the first bytes of the SHA-256 of what JSON can hold about a model and of every integer tensor, by name."""
    import numpy as np

    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name in sorted(agreed):
        tensor = np.asarray(agreed[name])
        digest.update(f"\n{name} torch.{tensor.dtype} {tensor.shape}\n".encode())  # types by torch's names, as it was begun
        digest.update(tensor.tobytes())
    return digest.digest()[:FINGERPRINT_BYTES]


def save(path: Path, config: Config, agreed: Mapping[str, Array], floats: Mapping[str, Array], description: str) -> None:
    """Writes a weights file, whole or not at all: a running program may have the old one mapped into its memory."""
    tensors = {f"agreed/{name}": tensor for name, tensor in agreed.items()}
    tensors |= {f"float/{name}": tensor for name, tensor in floats.items()}
    metadata = {
        "config": json.dumps(asdict(config)),
        "description": description,
        "fingerprint": fingerprint(asdict(config), agreed).hex(),
    }
    _write(path, tensors, metadata)


def save_exact(path: Path, about: Mapping[str, Any], tensors: Mapping[str, Array]) -> bytes:
    """Writes a file of integer tensors alone, whole or not at all, and returns its fingerprint. about: as JSON takes it."""
    found = fingerprint(about, tensors)
    metadata = {"about": json.dumps(about), "fingerprint": found.hex()}
    _write(path, tensors, metadata)
    return found


def read_exact(path: Path) -> tuple[dict[str, Any], dict[str, Array], bytes]:
    """Returns what `save_exact` wrote and the fingerprint; ModelError unless they belong together."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    head = header(path)
    try:
        tensors = load_file(str(path))
        about = json.loads(head["about"])
        found = fingerprint(about, tensors)
    except (SafetensorError, OSError, TypeError, ValueError, KeyError) as error:
        raise ModelError(f"{path.name} cannot be read: {error}") from None
    if found.hex() != head.get("fingerprint"):
        raise ModelError(f"{path.name} is damaged: its fingerprint is {found.hex()}, not {head.get('fingerprint')}")
    return about, tensors, found


def save_floats(path: Path, about: Mapping[str, str], tensors: Mapping[str, Array]) -> None:
    """Writes a file of tensors that nothing decoded depends on, whole or not at all."""
    _write(path, tensors, dict(about))


def read_floats(path: Path) -> dict[str, Array]:
    """Returns the tensors that `save_floats` wrote; ModelError if they cannot be read."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(str(path))
    except (SafetensorError, OSError, TypeError, ValueError, KeyError) as error:
        raise ModelError(f"{path.name} cannot be read: {error}") from None


def _write(path: Path, tensors: Mapping[str, Array], metadata: dict[str, str]) -> None:
    import numpy as np
    from safetensors.numpy import save as pack

    unfinished = path.with_suffix(".unfinished")
    unfinished.write_bytes(pack({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, metadata=metadata))
    unfinished.replace(path)


def read(path: Path) -> tuple[Config, dict[str, Array], dict[str, Array], bytes]:
    """Returns configuration, integer tensors, float tensors (float16, float32), fingerprint; ModelError unless they fit."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    head = header(path)
    try:
        tensors = load_file(str(path))
        config = config_from(json.loads(head["config"]))
        agreed = {name.removeprefix("agreed/"): t for name, t in tensors.items() if name.startswith("agreed/")}
        floats = {name.removeprefix("float/"): t for name, t in tensors.items() if name.startswith("float/")}
        found = fingerprint(asdict(config), agreed)
    except (SafetensorError, OSError, AttributeError, TypeError, ValueError, KeyError) as error:
        raise ModelError(f"{path.name} cannot be read: {error}") from None
    if found.hex() != head.get("fingerprint"):
        raise ModelError(f"{path.name} is damaged: its fingerprint is {found.hex()}, not {head.get('fingerprint')}")
    return config, agreed, floats, found


def summary(path: Path) -> ModelSummary:
    """Returns what the header of a weights file says, without torch."""
    head = header(path)
    try:
        levels = len(json.loads(head["config"])["levels"])
        bytes.fromhex(head["fingerprint"])
        return ModelSummary(path.stem, head["fingerprint"], levels, path.stat().st_size, head["description"])
    except (KeyError, TypeError, ValueError):
        raise ModelError(f"{path.name} is no weights file of this program") from None


def header(path: Path) -> dict[str, str]:
    """Returns what stands before the tensors of a weights file, without reading them; ModelError if it is none of ours."""
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if size > 10_000_000:
                raise ValueError("too long a header")
            metadata = json.loads(file.read(size))["__metadata__"]
            return dict(metadata)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path.name} is no weights file of this program: {error}") from None
