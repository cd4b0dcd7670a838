"""Previews: pixels of a state whose latents are still missing, by a trained shortcut. torch only where it is to run it.

Room: photo. Shortcuts lie in a folder beside the weights of their models; a model without one has previews that take longer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hcodec.errors import ModelError
from hcodec.models import weights_file
from hcodec.models.descend import Answer
from hcodec.models.photo.config import FINEST
from hcodec.models.photo.prefix import EVERYTHING, Cells, Prefix, closer, place_of
from hcodec.models.runtime.backend import SCALE, Backend
from hcodec.models.runtime.steps import Array, Steps

if TYPE_CHECKING:
    from hcodec.models.runtime.torch_steps import TorchStep

_FOLDER = "preview"  # beside the weights files of models
_SMALL = 10_000  # numbers: what is no larger is kept as it is
_MISSING = 2  # latents that a shortcut goes without, at most
_FIRST_MISSING = 3  # the same of level 1, which says so little of them that no more are worth their time
_BASE = "base"  # in the file: the fingerprint of the model, in hexadecimal digits
_PRODUCTS = ("fc1.weight", "fc2.weight")  # which are computed on int8
_LIMIT = 63  # of int8 weights: sums of two products must fit into 16 bits on processors that add them there
Arrays = dict[str, NDArray[Any]]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)  # as models are
class Preview:
    """The shortcut of a model. levels: those after which it can show a picture."""

    steps: Steps
    levels: tuple[int, ...]

    def level(self, levels: float) -> int | None:
        """Returns the level whose shortcut shows so many, the last of which may be there in part; None if there is none."""
        level = math.ceil(levels)
        return level if level in self.levels else None

    def shown(self, level: int, state: Array, inside: Cells = EVERYTHING) -> Pixels:
        """Returns the pixels (8 rows, 8 columns, 3) of the cells `inside` of what `state_of` gives of a level."""
        name = f"preview.{level}"
        state, (rows, columns) = closer(state, place_of(inside, state), self.steps.reach(name).radius)
        cells = self.steps(name, state)[0][0, rows, columns]
        high, wide = cells.shape[:2]
        return cells.reshape(high, wide, FINEST, FINEST, 3).transpose(0, 2, 1, 3, 4).reshape(high * FINEST, wide * FINEST, 3)


def state_of(prefix: Prefix, level: int, answer: Answer) -> Array:
    """Returns the finest state (1, rows, columns, width) that a level's shortcut takes; answer: for what is to come."""
    return prefix.expected(answer, _FIRST_MISSING if level == 1 else _MISSING)


def path_of(model: Path) -> Path:
    """Returns where the shortcuts of a model lie, by its weights file."""
    return model.parent / _FOLDER / model.name


def load(path: Path, backend: Backend, base: bytes) -> Preview | None:
    """Returns the shortcut in a file; None if it is not there, or was trained for a model of another fingerprint."""
    if not path.exists() or weights_file.header(path).get(_BASE) != base.hex():
        return None
    tensors = weights_file.read_floats(path)
    try:
        steps = backend.steps(path, tensors, lambda: torch_steps(tensors, backend.device))
        return Preview(steps, _levels(tensors))
    except (KeyError, ValueError, IndexError, RuntimeError) as error:  # RuntimeError: torch on tensors of wrong shapes
        raise ModelError(f"{path.name} does not fit together: {' '.join(str(error).split())}") from None


def save(path: Path, base: bytes, tensors: Arrays) -> None:
    """Writes the file of a shortcut, from what `packed` returns. base: the fingerprint of its model."""
    weights_file.save_floats(path, {_BASE: base.hex()}, tensors)


def torch_steps(tensors: Arrays, device: str = "cpu") -> dict[str, TorchStep]:
    """Returns the steps of all shortcuts as torch runs them, from the tensors of their file."""
    import torch

    from hcodec.models.photo.shortcut import Shape, Shortcut, steps

    found: dict[str, TorchStep] = {}
    for own in _unpacked(tensors):
        (near, width), hidden = own["near.weight"].shape, len(own["fc1.weight"])
        shortcut = Shortcut(Shape(_levels(own), width, hidden, near)).requires_grad_(False)
        shortcut.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in own.items()})
        found |= steps(shortcut.to(device))
    return found


def _levels(tensors: Arrays) -> tuple[int, ...]:
    """Returns the levels that shortcuts are for."""
    return tuple(sorted({int(level) for name in tensors for level in re.findall(r"outputs\.(\d+)\.", name)}))


def narrowed(weight: Array) -> tuple[NDArray[np.int8], Array]:
    """Returns a matrix (out, in) as int8 (in, out) and what its columns are to be multiplied by, float32 (out,)."""
    scale = (np.maximum(np.abs(weight).max(1), 1e-12) / _LIMIT).astype(np.float32)
    return np.ascontiguousarray(np.rint(weight.T / scale).astype(np.int8)), scale


def widened(narrow: NDArray[np.int8], scale: Array) -> Array:
    """Returns the matrix (out, in) that `narrowed` gave these of, but for rounding."""
    return np.ascontiguousarray((narrow.astype(np.float32) * scale).T)


def packed(shortcuts: Sequence[Mapping[str, Array]]) -> Arrays:
    """Returns the tensors of shortcuts as their file holds them: large products in int8, other matrices in half precision."""
    found: Arrays = {}
    for number, tensors in enumerate(shortcuts):
        for name, tensor in tensors.items():
            if name.endswith(_PRODUCTS):
                found[f"{number}.{name}"], found[f"{number}.{name}{SCALE}"] = narrowed(tensor)
            else:
                found[f"{number}.{name}"] = tensor.astype(np.float16 if tensor.size > _SMALL else np.float32)
    return found


def _unpacked(tensors: Mapping[str, Array]) -> Iterator[Arrays]:
    """Yields the tensors of each shortcut in a file, in float32."""
    for number in sorted({name.partition(".")[0] for name in tensors}):
        own = {name.removeprefix(f"{number}."): tensor for name, tensor in tensors.items() if name.startswith(f"{number}.")}
        yield {
            name: widened(tensor, own[name + SCALE]) if name + SCALE in own else tensor.astype(np.float32)
            for name, tensor in own.items()
            if not name.endswith(SCALE)
        }
