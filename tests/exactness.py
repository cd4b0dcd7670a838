"""Walks the agreed path under one setting of the processor after another; a script for test_exact.py.

    python exactness.py FOLDER SETTINGS_JSON

Instruction sets are chosen by environment variables that libraries read once, at their first use. So everything is imported
first, which uses none of them, and each setting gets a fork of this process. FOLDER holds the float network of the model
`tiny` (float.pt), a picture (picture.npy) and one of two tiles (wide.npy); a report on each setting is printed as JSON.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hcodec import codec, container, models
from hcodec.coders import levels, post_filter, scale_offsets, tiles
from hcodec.coding.stack import Stack, stacked
from hcodec.coding.tables import SymbolTables
from hcodec.container import lossless_layer
from hcodec.models import registry
from hcodec.models.descend import descend
from hcodec.models.integer.kernels import exact_products
from hcodec.models.photo.agreed import IntegerLatent, IntegerPrior
from hcodec.models.photo.config import CONFIGS
from hcodec.models.photo.network import Latent, Network
from hcodec.pixels.picture import to_tensor

THREADS = (1, 2, 4)
BATCHES = (1, 3, 1)
HEIGHT, WIDTH = 150, 190  # enough cells for every thread to get some
Layout = Callable[[torch.Tensor], torch.Tensor]


def channels_last(state: torch.Tensor) -> torch.Tensor:
    """Returns the state (B, H, W, C) as it is made."""
    return state


def channels_first(state: torch.Tensor) -> torch.Tensor:
    """Returns the state (B, H, W, C) with the channels outermost in memory."""
    return state.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)


LAYOUTS = (channels_last, channels_last, channels_first)


def digest(tensors: Iterable[torch.Tensor]) -> str:
    """Returns one digest of all tensors; zeros count without their sign."""
    sha = hashlib.sha256()
    for tensor in tensors:
        sha.update((tensor.cpu() + 0.0).contiguous().numpy().tobytes())
    return sha.hexdigest()[:16]


def symbols(shape: tuple[int, ...], position: int) -> torch.Tensor:
    """Returns symbols of the latent at that position, the same for each call, other ones for each picture of a batch."""
    random = np.random.default_rng(position)
    drawn = random.integers(-40, 41, shape) * (random.random(shape) < 0.3)
    return torch.from_numpy(drawn.astype(np.float32))


def agreed_path(agreed: Any, batch: int, layout: Layout) -> Iterator[torch.Tensor]:
    """Yields means, scale indices and states of the first picture of a batch, latent after latent."""
    with exact_products():
        state, stride = agreed.start.expand(batch, -(-HEIGHT // 64), -(-WIDTH // 64), -1), 64
        for position, latent in enumerate(agreed.latents):
            while stride > latent.stride:
                stride //= 2
                state = layout(agreed.ascend(state, stride, HEIGHT, WIDTH))
            state, prior = latent.prior(layout(state))
            drawn = torch.cat([symbols((1, *prior.mean.shape[1:]), position + 100 * i) for i in range(batch)])
            state = latent.advance(state, prior, drawn)
            yield from (prior.mean[:1], prior.index[:1], state[:1])


@torch.no_grad()
def float_path(network: Network) -> list[torch.Tensor]:
    """Returns the means of the float network on the same symbols."""
    means: list[torch.Tensor] = []

    def answer(latent: Latent, state: torch.Tensor, prior: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Returns the symbols of a latent and keeps its mean."""
        means.append(prior[0])
        return symbols(tuple(prior[0].shape), len(means) - 1)

    descend(network, network.begin(1, HEIGHT, WIDTH), answer)
    return means


def decoded(data: bytes, device: str = "cpu") -> list[torch.Tensor]:
    """Returns symbols, means, scale indices and states that a file decodes to, and the weights of its post filters."""
    reader = container.Reader()
    reader.feed(data)
    model, fitted = models.load("tiny", device), reader.known_header().fitted
    tables, found = SymbolTables(model.tables), list[torch.Tensor]()
    position = model.agreed.begin(HEIGHT, WIDTH)
    for level, layer in enumerate(reader.pieces[0], 1):
        stack = Stack(layer)
        if fitted:
            weights = post_filter.pop(tables, stack)
            found.append(torch.zeros(0) if weights is None else weights)
        for latent in (latent for latent in model.agreed.latents if latent.level == level):
            with exact_products():
                position = descend(model.agreed, position, partial(popped, tables, stack, fitted, found), latent.index + 1)
            found.append(position.state)
        stack.close()
    return found


def popped(
    tables: SymbolTables, stack: Stack, fitted: bool, found: list[torch.Tensor], latent: IntegerLatent, state: torch.Tensor,
    prior: IntegerPrior,
) -> torch.Tensor:  # fmt: skip
    """Returns the symbols of a latent; keeps them with mean, scale index and the state before them."""
    index = prior.index.cpu().numpy()
    symbols = torch.from_numpy(stack.pop(tables, scale_offsets.pop(tables, stack, index) if fitted else index)).to(state.device)
    found += [symbols, prior.mean, prior.index, state]
    return symbols


def lossless_file(pixels: np.ndarray, layout: Layout) -> bytes:
    """Returns the lossless file of a picture, with fine latents."""
    model = models.load("tiny")
    coded, last = list(islice(levels.each_level(model, to_tensor(pixels)), 2)), registry.load_lossless(model.fingerprint)
    layers = [stacked(levels.tables_of(model), parts) for parts, _ in coded]
    stack, source = Stack(), tiles.Source(layout(coded[-1][1].at_finest()), 2, False)
    pushed = tiles.push_picture(last, stack, source, pixels, True)
    parts = lossless_layer.LosslessLayer(
        lossless_layer.BITS_BACK, stack.to_bytes(), 2, last.fingerprint, pushed.flags, pushed.crcs
    )
    height, width = pixels.shape[:2]
    frame = container.Frame(width=width, height=height, model="tiny", fingerprint=model.fingerprint)
    return container.write(frame, [[layer] for layer in layers], lossless=[parts.pack()])


def exact(data: bytes) -> str:
    """Returns the digest of a lossless file's pixels."""
    return hashlib.sha256(codec.decode_picture(data, strict=True).pixels.tobytes()).hexdigest()[:16]


def first_half(folder: Path) -> dict[str, Any]:
    """Returns digests of both paths, and a file encoded, under each number of threads."""
    agreed = models.load("tiny").agreed
    network = Network(CONFIGS["tiny"])
    network.load_state_dict(torch.load(folder / "float.pt", weights_only=True))
    report: dict[str, Any] = {name: [] for name in ("agreed", "float", "streams", "lossless")}
    report["cpu"] = torch.backends.cpu.get_cpu_capability()
    for threads, batch, layout in zip(THREADS, BATCHES, LAYOUTS, strict=True):
        torch.set_num_threads(threads)
        report["agreed"].append(digest(agreed_path(agreed, batch, layout)))
        report["float"].append(digest(float_path(network)))
        report["streams"].append(codec.encode(np.load(folder / "picture.npy"), model="tiny").hex())
        report["lossless"].append(lossless_file(np.load(folder / "wide.npy"), layout).hex())
    return report


def second_half(streams: list[str], files: list[str]) -> dict[str, Any]:
    """Returns what every file decodes to under each number of threads, and every lossless file."""
    found, pixels = [], []
    for threads in THREADS:
        torch.set_num_threads(threads)
        found.append([digest(decoded(bytes.fromhex(stream))) for stream in streams])
        pixels += [exact(bytes.fromhex(file)) for file in files]
    return {"decoded": found, "pixels": pixels}


def forked(job: Callable[[], dict[str, Any]], environment: dict[str, str]) -> dict[str, Any]:
    """Returns what the job returns in a fork of this process with these environment variables."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.environ.update(environment)
        with os.fdopen(writing, "w") as pipe:
            json.dump(job(), pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    os.wait()
    return json.loads(text)


def main(folder: Path, settings: list[dict[str, str]]) -> None:
    """Prints a list of reports, one for each setting."""
    reports = [forked(lambda: first_half(folder), setting) for setting in settings]
    streams = sorted({stream for report in reports for stream in report["streams"]})
    files = sorted({file for report in reports for file in report["lossless"]})
    for report, setting in zip(reports, settings, strict=True):
        report |= forked(lambda: second_half(streams, files), setting)
    print(json.dumps(reports))  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
