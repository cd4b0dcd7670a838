"""Training pictures: tar shards, folders or single files -> uint8 arrays in memory -> random crops.

Room: network, training only. Everything is decoded once; a crop is then one copy.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".avif", ".bmp", ".tif", ".tiff"}


def load(sources: Iterable[str | Path]) -> list[np.ndarray]:
    """Returns every picture under the sources (tar shards, folders, files) as uint8 (H, W, 3)."""
    return [picture for source in sources for picture in _read(Path(source))]


def _read(source: Path) -> Iterator[np.ndarray]:
    if source.is_dir():
        for path in sorted(source.rglob("*")):
            if path.suffix.lower() in _SUFFIXES | {".tar"}:
                yield from _read(path)
    elif source.suffix == ".tar":
        with tarfile.open(source) as shard:
            for member in shard:
                file = shard.extractfile(member) if Path(member.name).suffix.lower() in _SUFFIXES else None
                if file is not None:
                    yield _decode(io.BytesIO(file.read()))
    else:
        yield _decode(source)


def _decode(file: Path | io.BytesIO) -> np.ndarray:
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))


class Crops:
    """Random square crops, each picture drawn in proportion to its area, mirrored and turned at random.

    coarse: pictures whose own compression hides what the last levels have to say. The first third of a batch, which is to
    keep most levels, holds others as far as there are some.
    """

    def __init__(self, pictures: Sequence[np.ndarray], size: int, seed: int, coarse: Sequence[np.ndarray] = ()) -> None:
        fine = [p for p in pictures if min(p.shape[:2]) >= size]
        self.num_fine = len(fine)
        self.pictures = fine + [p for p in coarse if min(p.shape[:2]) >= size]
        if not self.pictures:
            raise ValueError(f"no training picture is at least {size} pixels high and wide")
        self.size = size
        self.random = np.random.default_rng(seed)
        area = np.array([p.shape[0] * p.shape[1] for p in self.pictures], dtype=float)
        self.weights = area / area.sum()

    def batch(self, count: int) -> Tensor:
        """Returns uint8 (count, size, size, 3)."""
        chosen = self.random.choice(len(self.pictures), count, p=self.weights)
        first = self.random.permutation(np.flatnonzero(chosen < self.num_fine))[: -(-count // 3)]
        chosen = np.concatenate([chosen[first], np.delete(chosen, first)])
        return torch.from_numpy(np.stack([self._crop(self.pictures[i]) for i in chosen]))

    def _crop(self, picture: np.ndarray) -> np.ndarray:
        y, x = (int(self.random.integers(edge - self.size + 1)) for edge in picture.shape[:2])
        crop = picture[y : y + self.size, x : x + self.size]
        if self.random.random() < 0.5:
            crop = crop[:, ::-1]
        return crop.swapaxes(0, 1) if self.random.random() < 0.5 else crop


def to_float(batch: Tensor, device: torch.device | str = "cpu") -> Tensor:
    """Returns float32 (B, 3, H, W) in [0, 1] from uint8 (B, H, W, 3)."""
    return batch.to(device).permute(0, 3, 1, 2).float() / 255
