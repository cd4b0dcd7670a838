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
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hcodec import codec, container, models
from hcodec.coders import scale_offsets, tiles
from hcodec.coding.stack import EntropyModel, LayerDecoder, Stack, encode_layer
from hcodec.container import lossless_layer
from hcodec.encoder import LevelEncoder
from hcodec.models import registry
from hcodec.models.integer.kernels import exact_products
from hcodec.models.photo.config import CONFIGS
from hcodec.models.photo.network import Network
from hcodec.models.photo.walk import Walk

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
            state, mean, index = latent.prior(layout(state))
            drawn = torch.cat([symbols((1, *mean.shape[1:]), position + 100 * i) for i in range(batch)])
            state = latent.advance(state, mean + 256 * drawn)
            yield from (mean[:1], index[:1], state[:1])


@torch.no_grad()
def float_path(network: Network) -> Iterator[torch.Tensor]:
    """Yields the means of the float network on the same symbols."""
    state, stride = network.begin(1, HEIGHT, WIDTH), 64
    for position, latent in enumerate(network.ordered_latents()):
        while stride > latent.stride:
            stride //= 2
            state = network.ascend(state, stride, HEIGHT, WIDTH)
        state, mean, _ = latent.prior(state)
        state = latent.advance(state, mean + symbols(tuple(mean.shape), position))
        yield mean


def decoded(data: bytes, device: str = "cpu") -> Iterator[torch.Tensor]:
    """Yields symbols, means, scale indices and states that a file decodes to."""
    reader = container.Reader()
    reader.feed(data)
    model = models.load("tiny", device)
    tables, walk = EntropyModel(model.tables), Walk(model.network, model.agreed, HEIGHT, WIDTH)
    for level, layer in enumerate(reader.layers, 1):
        decoder = LayerDecoder(tables, layer, whole=True)
        if reader.known_header().fitted:
            post_filter = scale_offsets.read_post_filter(decoder)
            yield torch.zeros(0) if post_filter is None else post_filter
        while not walk.done and walk.latent.level == level:
            mean, index = walk.predict()
            with_offsets = (
                scale_offsets.read_offsets(decoder, index.cpu().numpy()) if reader.known_header().fitted else index.cpu().numpy()
            )
            found = torch.from_numpy(decoder.decode(with_offsets)).to(device)
            walk.advance(found)
            yield from (found, mean, index, walk.state)
        decoder.close()


def lossless_file(pixels: np.ndarray, layout: Layout) -> bytes:
    """Returns the lossless file of a picture, with fine latents."""
    model = models.load("tiny")
    encoder, last = LevelEncoder(model, pixels), registry.load_lossless(model.fingerprint)
    layers = [encode_layer(encoder.tables, encoder.next_level()) for _ in range(2)]
    stack, source = Stack(), tiles.Source(layout(encoder.walk.at_finest()), 2, False)
    pushed = tiles.push_picture(last, stack, source, pixels, True)
    parts = lossless_layer.LosslessLayer(
        lossless_layer.BITS_BACK, stack.to_bytes(), 2, last.fingerprint, pushed.flags, pushed.crcs
    )
    height, width = pixels.shape[:2]
    frame = container.Frame(width=width, height=height, fingerprint=model.fingerprint)
    return container.write(frame, layers, lossless=parts.pack())


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
