"""Fixtures: a tiny model and its lossless layer with fixed weights, made in a few seconds, and pictures drawn by numpy."""

from __future__ import annotations

import itertools
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from hcodec import container
from hcodec.container import window

if TYPE_CHECKING:
    import torch

    from hcodec.models.photo.network import Network

TINY = "tiny"
TINY_STARTS = (2, 3)  # levels that its lossless layer may start from


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

    from hcodec.models.photo.config import CONFIGS
    from hcodec.models.photo.initialize import initialize
    from hcodec.models.photo.network import Network
    from hcodec.models.training import data

    torch.manual_seed(0)
    network = Network(CONFIGS[TINY]).requires_grad_(False)
    batch = data.to_float(torch.from_numpy(np.stack([render(128, 128, seed) for seed in range(6)])))
    initialize(network, batch)
    for latent in network.ordered_latents():
        latent.head.weight.normal_(std=0.1)
        for block in (*latent.refine, latent.block):
            block.fc2.weight.normal_(std=0.005)
    return network, batch


def make_tiny(folder: Path) -> Path:
    """Writes the tiny model, `tiny.safetensors`, into the folder and returns its path."""
    import torch

    from hcodec.models import weights_file
    from hcodec.models.photo.agreed import Agreed
    from hcodec.models.photo.config import CONFIGS
    from hcodec.models.photo.export import count_symbols, export_agreed, export_float
    from hcodec.models.tables import symbol_tables

    network, batch = make_network()
    integers = export_agreed(network, batch)
    agreed = Agreed(CONFIGS[TINY], integers)
    pictures = [render(128, 128, seed) for seed in range(6)]
    integers["tables.weights"] = torch.from_numpy(symbol_tables.make(count_symbols(network, agreed, pictures, lambda _: None)))
    path = folder / f"{TINY}.safetensors"
    weights_file.save(path, CONFIGS[TINY], integers, export_float(network), "for tests")
    return path


def make_tiny_last(base: Path) -> Path:
    """Writes an untrained lossless layer for the tiny model into the folder `lossless` beside it and returns its path."""
    import torch

    from hcodec.models import registry, weights_file
    from hcodec.models.lossless import export
    from hcodec.models.lossless.network import LosslessNetwork
    from hcodec.models.lossless.samples import samples
    from hcodec.models.lossless.task import initialize
    from hcodec.models.photo.model import torch_networks
    from hcodec.models.tables import likelihood

    model = registry.load_file(base, registry.PHOTO)
    torch.manual_seed(0)
    network = LosslessNetwork(model.config.width[8], model.config.hidden[8], len(TINY_STARTS)).requires_grad_(False)
    initialize(network, torch_networks(base)[0], TINY_STARTS)
    for name, weight in network.named_parameters():
        if "head" in name and name.endswith("weight"):
            weight.normal_(std=0.02)  # so that what is predicted depends on what is seen
    pool = samples(model, [render(64, 64, seed) for seed in range(4)], 0, TINY_STARTS)
    starts = torch.tensor([0, 0, 1, 1])
    states = torch.stack([sample.states[start] for sample, start in zip(pool, starts, strict=True)])
    tensors = export.export_exact(network, states, torch.stack([sample.pixels for sample in pool]).float(), starts)
    tensors["likelihood.weights"] = torch.from_numpy(likelihood.make())
    path = base.parent / "lossless" / base.name
    path.parent.mkdir()
    weights_file.save_exact(path, {"base": model.fingerprint.hex(), "starts": TINY_STARTS, "description": "for tests"}, tensors)
    return path


@pytest.fixture(scope="session", autouse=True)
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The weights file of the tiny model, installed for the whole run (also in child processes) as model `tiny`."""
    import torch

    torch.set_num_threads(1)  # for pictures this small, threads that wait for each other cost more than they bring
    folder = tmp_path_factory.mktemp("models")
    path = make_tiny(folder)
    make_tiny_last(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HCODEC_MODELS", str(folder))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield path


@pytest.fixture(scope="session")
def picture() -> np.ndarray:
    """A 96 x 128 picture."""
    return render(96, 128)


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Windows of at most 64 x 64 pixels, so that small pictures have several."""
    monkeypatch.setattr(window, "EDGE", 64)
    window.windows.cache_clear()
    yield
    window.windows.cache_clear()


def layers_of(data: bytes) -> list[list[bytes]]:
    """Returns the pieces of each whole level of a file."""
    reader, _ = container.read_all(data)
    return [[piece] for piece in reader.coarse] + [list(layer) for layer in zip(*reader.pieces, strict=True)]


def rewritten(data: bytes, layers: Sequence[Sequence[bytes]], **changes: Any) -> bytes:
    """Returns a file with other layers and right checksums, as an attacker would write it; of a Frame or `write`, changes."""
    header = container.read_all(data)[1]
    names = {field.name for field in fields(container.Frame)}
    own = {name: changes.pop(name, getattr(header, name)) for name in names}
    return container.write(container.Frame(**own), layers, **changes)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes on by one second whenever it is looked at: learning rates depend on the time that was spent."""
    ticks = itertools.count()
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(ticks)))


@pytest.fixture
def normal_denormals() -> Iterator[None]:
    """Undoes what training scripts set for their process."""
    import torch

    yield
    torch.set_flush_denormal(False)


def interruptible():
    """Lets a child process be ended by Ctrl-C, which is ignored where a shell has started the tests in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
