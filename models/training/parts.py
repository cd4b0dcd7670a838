"""Averaged weights in several small files, for where only small files can be brought back from.

Room: training.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

Weights = dict[str, Tensor]


def write(weights: Weights, folder: Path, megabytes: float) -> None:
    """Writes part_0.pt, part_1.pt ... of at most so many megabytes each, but for a tensor that is larger by itself."""
    for number, part in enumerate(_split(weights, megabytes)):
        path = folder / f"part_{number}.pt"
        torch.save(part, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)


def read(folder: Path) -> Weights:
    """Returns the weights that `write` has written into a folder."""
    weights: Weights = {}
    for path in folder.glob("part_*.pt"):
        weights |= torch.load(path, map_location="cpu", weights_only=True)
    return weights


def _split(weights: Weights, megabytes: float) -> Iterator[Weights]:
    part: Weights = {}
    for name, tensor in weights.items():
        if part and sum(each.nbytes for each in part.values()) + tensor.nbytes > 1e6 * megabytes:
            yield part
            part = {}
        part[name] = tensor.detach().cpu().clone()
    yield part
