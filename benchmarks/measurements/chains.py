"""What bits back is worth: small pictures chained on one stack, against the bound, against no refund, and against peers.

MNIST's test pictures and 32x32 tiles of held-out photographs are chained, and the chains decoded. All figures are bits per
sub-pixel over all pictures; those of chains and files are of real bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import numpy as np
import torch

from benchmarks import peers, results
from benchmarks.images import Pixels
from hcodec.coders import small_chain
from hcodec.models import registry
from hcodec.models.small import thumbnails
from hcodec.models.small.bound import lower_bound_bits
from hcodec.models.small.model import torch_network
from hcodec.models.training import data

NUM_DIGITS = 1000
_BELOW_WORDS = 1 << 17  # of random bits, beneath the chain that stands for a very long one
_BATCH = 50
_COLUMNS = 32  # of a sheet
_TOLERANCE = 0.01


def run(mnist_folder: Path, color_folder: Path, target: Path) -> bool:
    """Measures both sets and writes `bits-back.json`; returns whether a chain was found wrong or beyond its bound."""
    found = {}
    for title, model, pictures in _sets(mnist_folder, color_folder):
        click.echo(f"{len(pictures)} pictures of {title}", err=True)
        found[title] = {"model": model, **measure(pictures, model)}
    results.write(found, target / results.CHAINS)
    return not all(entry["sound"] for entry in found.values())


def _sets(mnist_folder: Path, color_folder: Path) -> Iterator[tuple[str, str, list[Pixels]]]:
    yield "MNIST test", "mnist-1", list(thumbnails.mnist(mnist_folder, "t10k")[:NUM_DIGITS])
    yield "photographs, 32x32", "small-1", thumbnails.tiles(data.load([color_folder]))


def measure(pictures: Sequence[Pixels], model: str) -> dict[str, object]:
    """Counts and rates of a set of pictures of one size, and whether its chain decodes and meets its bound."""
    chain, report = small_chain.encode_with_report(pictures, model)
    decoded = small_chain.decode_chain(chain, [(len(picture), picture.shape[1]) for picture in pictures], model)
    exact = all(np.array_equal(*pair) for pair in zip(pictures, decoded, strict=True))
    bits = {"chain, bits back (net)": report.net_bits} | _model_bits(pictures, model) | peer_bits(pictures)
    num_values = sum(picture.size for picture in pictures)
    return {
        "pictures": len(pictures),
        "pictures coded directly": report.num_direct,
        "exact": exact,
        "sound": exact and report.net_bits <= (1 + _TOLERANCE) * bits[results.BOUND],
        "bits per sub-pixel": {name: round(value / num_values, 4) for name, value in bits.items()},
    }


def _model_bits(pictures: Sequence[Pixels], model: str) -> dict[str, float]:
    """What the model could do at best, and what it does without a refund, or without latents."""
    below = np.random.default_rng(0).integers(1, 1 << 32, _BELOW_WORDS, dtype=np.uint32).astype("<u4").tobytes()
    _, middle = small_chain.encode_with_report(pictures, model, below=below)
    _, direct = small_chain.encode_with_report(pictures, model, borrow=False)
    return {
        results.BOUND: bound_bits(pictures, model),
        "negative ELBO, in bins and tables": middle.gross_bits - middle.refunded_bits,
        "same latents, no refund (gross)": middle.gross_bits,
        "no latents (direct)": direct.net_bits,
    }


def bound_bits(pictures: Sequence[Pixels], model: str, seed: int = 0) -> float:
    """One sample of the continuous negative bound of all pictures, in bits."""
    torch.manual_seed(seed)
    network, stacked = torch_network(registry.SMALL.path(model)), np.stack(pictures)
    batches = (stacked[i : i + _BATCH] for i in range(0, len(stacked), _BATCH))
    return sum(lower_bound_bits(network, batch).sum().item() for batch in batches)


def peer_bits(pictures: Sequence[Pixels]) -> dict[str, float]:
    """The bits of other codecs' files, one a picture, and one of all pictures side by side."""
    rates = {}
    for peer in peers.lossless():
        if isinstance(peer, peers.Peer) and not peer.name.startswith("hcodec"):
            rates[f"{peer.label}, a file each"] = 8.0 * sum(len(peer.encode(picture, 0)) for picture in pictures)
            rates[f"{peer.label}, one sheet"] = 8.0 * len(peer.encode(sheet(pictures), 0))
    return rates


def sheet(pictures: Sequence[Pixels]) -> Pixels:
    """All pictures side by side, the last row filled up with zeros."""
    blank = [np.zeros_like(pictures[0])] * (-len(pictures) % _COLUMNS)
    padded = [*pictures, *blank]
    rows = [np.concatenate(padded[i : i + _COLUMNS], axis=1) for i in range(0, len(padded), _COLUMNS)]
    return np.concatenate(rows)
