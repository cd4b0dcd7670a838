"""Fixtures: a tiny model with fixed weights, made here in a few seconds, and pictures rendered by numpy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    import torch

    from hcodec.models.hvae import Network

TINY = "tiny"


def render(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Returns a picture with smooth parts, edges and texture, uint8 (height, width, 3)."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(float)
    planes = []
    for _ in range(3):
        a, b, c, d = random.uniform(0.01, 0.12, 4)
        plane = 90 * np.sin(a * x + b * y) + 60 * np.sign(np.sin(c * x - d * y)) + 8 * random.standard_normal(x.shape)
        planes.append(plane)
    mixed = np.stack(planes, -1) * 0.4 + planes[0][..., None] * 0.5 + 128
    return np.clip(mixed, 0, 255).astype(np.uint8)


def make_network() -> tuple[Network, torch.Tensor]:
    """Returns the tiny network as training finds it, but with priors that depend on what they see, and its pictures."""
    import torch

    from hcodec.models import data
    from hcodec.models.configs import CONFIGS
    from hcodec.models.hvae import Network
    from hcodec.models.skeleton import initialize

    torch.manual_seed(0)
    network = Network(CONFIGS[TINY]).requires_grad_(False)
    batch = data.to_float(torch.from_numpy(np.stack([render(128, 128, seed) for seed in range(6)])))
    initialize(network, batch)
    for latent in network.ordered_latents():
        latent.head.weight.normal_(std=0.1)
        for block in (latent.refine, latent.block):
            block.fc2.weight.normal_(std=0.005)
    return network, batch


def make_tiny(folder: Path) -> Path:
    """Writes the tiny model, `tiny.safetensors`, into the folder and returns its path."""
    import torch

    from hcodec.models import storage, tables
    from hcodec.models.configs import CONFIGS
    from hcodec.models.exact import Agreed
    from hcodec.models.export import count_symbols, export_agreed, export_float

    network, batch = make_network()
    integers = export_agreed(network, batch)
    agreed = Agreed(CONFIGS[TINY], integers)
    pictures = [render(128, 128, seed) for seed in range(6)]
    integers["tables.weights"] = torch.from_numpy(tables.make(count_symbols(network, agreed, pictures, lambda _: None)))
    path = folder / f"{TINY}.safetensors"
    storage.save(path, CONFIGS[TINY], integers, export_float(network), "for tests")
    return path


@pytest.fixture(scope="session", autouse=True)
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The weights file of the tiny model, installed for the whole run (also in child processes) as model `tiny`."""
    import torch

    torch.set_num_threads(1)  # for pictures this small, threads that wait for each other cost more than they bring
    folder = tmp_path_factory.mktemp("models")
    path = make_tiny(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HCODEC_MODELS", str(folder))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield path


@pytest.fixture(scope="session")
def picture() -> np.ndarray:
    """A 96 x 128 picture."""
    return render(96, 128)
