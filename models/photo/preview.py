"""Previews: pictures of streams that still arrive, by drafts of the next latents and trained shortcuts to pixels.

Room: photo. Both lie in a file in a folder beside the weights of their model; a model without one has previews that take longer.
torch only where it is to run them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hcodec.errors import ModelError
from hcodec.models import weights_file
from hcodec.models.descend import Answer
from hcodec.models.photo.config import FINEST, Config
from hcodec.models.photo.prefix import EVERYTHING, Cells, Prefix, closer, place_of
from hcodec.models.photo.walk import LatentSteps, Prior, Walk
from hcodec.models.runtime.backend import Backend
from hcodec.models.runtime.narrow import SCALE, narrowed, widened
from hcodec.models.runtime.steps import Array, Overlaid, Steps

if TYPE_CHECKING:
    from hcodec.models.runtime.torch_steps import TorchStep

_FOLDER = "preview"  # beside the weights files of models
_SMALL = 10_000  # numbers: what is no larger is kept as it is
_MISSING = 2  # latents that a shortcut goes without, at most
_FIRST_MISSING = 3  # the same of level 1, which says so little of them that no more are worth their time
SHORTCUT = "shortcut."  # how names of shortcuts in the file begin
_BASE = "base"  # in the file: the fingerprint of the model, in hexadecimal digits
_PRODUCTS = tuple(f"{name}.weight" for name in ("fc1", "fc2", "across", "along", "near", "beside"))  # on int8
_ADDED = Prior(np.zeros((1, 0, 0, 0), np.float32), np.zeros((1, 0, 0, 0), np.uint8))  # of a latent that is in the state already
Arrays = dict[str, NDArray[Any]]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class _Expected(LatentSteps):
    """A latent that takes its mean: by its drafts, where it has some, and else as its prior says."""

    def prior(self, state: Array) -> tuple[Array, Prior]:
        """Returns the state with the mean added and _ADDED, or what `LatentSteps` returns."""
        if f"expected.{self.index}" not in self.steps:
            return super().prior(state)
        for name in (*(f"{self.index}.{k}" for k in range(self.num_refining)), f"{self.index}"):
            (state,) = self.steps(f"expected.{name}", state)
        return state, _ADDED

    def advance(self, state: Array, prior: Prior, symbols: Array) -> Array:
        """Returns the state with the mean added, whatever the symbols."""
        if prior is _ADDED:
            return state
        if f"added.{self.index}" not in self.steps:
            return super().advance(state, prior, np.zeros_like(prior.mean))
        return self.steps(f"added.{self.index}", state, prior.mean, into=state)[0]


@dataclass(frozen=True, eq=False)  # as models are
class Preview:
    """What shows a model's pictures quicker. walk: where each latent takes its mean; levels: those with a shortcut."""

    walk: Walk
    levels: tuple[int, ...]

    def level(self, levels: float) -> int | None:
        """Returns the level whose shortcut shows so many, the last of which may be there in part; None if there is none."""
        level = math.ceil(levels)
        return level if level in self.levels else None

    def of(self, prefix: Prefix) -> Prefix:
        """Returns a prefix whose next latents will be drafts; what it foresees stays."""
        return replace(prefix, walk=self.walk)

    def shown(self, level: int, state: Array, inside: Cells = EVERYTHING) -> Pixels:
        """Returns the pixels (8 rows, 8 columns, 3) of the cells `inside` of what `state_of` gives of a level."""
        name, steps = f"preview.{level}", self.walk.steps
        state, (rows, columns) = closer(state, place_of(inside, state), steps.reach(name).radius)
        cells = steps(name, state)[0][0, rows, columns]
        high, wide = cells.shape[:2]
        return cells.reshape(high, wide, FINEST, FINEST, 3).transpose(0, 2, 1, 3, 4).reshape(high * FINEST, wide * FINEST, 3)


def drafted(config: Config) -> Config:
    """Returns what shapes a network whose synthesis is a draft: the tail lacks its last blocks."""
    return replace(config, tail_float_blocks=0)


def expected(config: Config, level: int) -> range:
    """Returns the latents that a level's preview takes at their means; those after them it goes without."""
    first, missing = config.num_latents(level), _FIRST_MISSING if level == 1 else _MISSING
    return range(first, max(first + 1, config.num_latents(config.num_levels) - missing))


def state_of(prefix: Prefix, level: int, answer: Answer) -> Array:
    """Returns the finest state (1, rows, columns, width) that a level's shortcut takes; answer: for what is to come."""
    return prefix.expected(answer, expected(prefix.walk.config, level).stop)


def path_of(model: Path) -> Path:
    """Returns where a model's file for previews lies, by its weights file."""
    return model.parent / _FOLDER / model.name


def load(path: Path, backend: Backend, base: bytes, walk: Walk) -> Preview | None:
    """Returns what a file holds for previews; None if it is not there, or was made for a model of another fingerprint.

    base, walk: the model's.
    """
    if not path.exists() or weights_file.header(path).get(_BASE) != base.hex():
        return None
    tensors = weights_file.read_floats(path)
    try:
        steps = backend.steps(path, tensors, lambda: torch_steps(tensors, walk.config, backend.device))
        return over(walk, steps, _levels(tensors))
    except (KeyError, ValueError, IndexError, RuntimeError) as error:  # RuntimeError: torch on tensors of wrong shapes
        raise ModelError(f"{path.name} does not fit together: {' '.join(str(error).split())}") from None


def over(walk: Walk, steps: Steps, levels: tuple[int, ...] = ()) -> Preview:
    """Returns what makes previews of a model, from its walk and the steps of a file; levels: those with a shortcut."""
    return Preview(Walk(drafted(walk.config), Overlaid(steps, walk.steps), walk.start, _Expected), levels)


def save(path: Path, base: bytes, tensors: Arrays) -> None:
    """Writes the file of a shortcut, from what `packed` returns. base: the fingerprint of its model."""
    weights_file.save_floats(path, {_BASE: base.hex()}, tensors)


def torch_steps(tensors: Arrays, config: Config, device: str = "cpu") -> dict[str, TorchStep]:
    """Returns the steps of a file as torch runs them, from its tensors. config: of its model."""
    import torch

    from hcodec.models.photo import draft, shortcut

    groups = {name: {key: torch.from_numpy(x).to(device) for key, x in own.items()} for name, own in _unpacked(tensors).items()}
    shortcuts = [groups.pop(name) for name in sorted(groups) if name.startswith(SHORTCUT)]
    return draft.steps(drafted(config), groups) | {name: step for own in shortcuts for name, step in shortcut.restored(own)}


def _levels(tensors: Arrays) -> tuple[int, ...]:
    """Returns the levels that shortcuts are for."""
    return tuple(sorted({int(level) for name in tensors for level in re.findall(r"outputs\.(\d+)\.", name)}))


def packed(groups: Mapping[str, Mapping[str, Array]]) -> Arrays:
    """Returns tensors as their file holds them, GROUP/NAME: large products in int8, other matrices in half precision."""
    found: Arrays = {}
    for group, tensors in groups.items():
        for key, tensor in tensors.items():
            name = f"{group}/{key}"
            if name.endswith(_PRODUCTS):
                found[name], found[name + SCALE] = narrowed(tensor)
            else:
                found[name] = tensor.astype(np.float16 if tensor.size > _SMALL else np.float32)
    return found


def _unpacked(tensors: Arrays) -> dict[str, dict[str, Array]]:
    """Returns the tensors of a file in float32, by their groups."""
    found: dict[str, dict[str, Array]] = {}
    for name, tensor in tensors.items():
        group, _, key = name.partition("/")
        if not name.endswith(SCALE):
            wide = widened(tensor, tensors[name + SCALE]) if name + SCALE in tensors else tensor.astype(np.float32)
            found.setdefault(group, {})[key] = wide
    return found
