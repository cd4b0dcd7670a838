"""What bits back is worth: small pictures chained on one stack, against the bound, against no refund, and against peers.

`run` chains MNIST's test pictures and 32x32 tiles of held-out photographs, decodes both chains, and writes `bits-back.json` and
`bits-back.md`. All figures are bits per sub-pixel over all pictures; those of chains and files are of real bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import numpy as np
import torch

from benchmarks import peers, tables
from benchmarks.images import Pixels
from hcodec.coders import small_chain
from hcodec.models.small import registry, thumbnails
from hcodec.models.small.bound import lower_bound_bits
from hcodec.models.training import data

NUM_DIGITS = 1000
_BELOW_WORDS = 1 << 17  # of random bits, beneath the chain that stands for a very long one
_BATCH = 50
_COLUMNS = 32  # of a sheet
_TOLERANCE = 0.01
CHAIN, BOUND, BINNED = "chain, bits back (net)", "negative ELBO, continuous", "negative ELBO, in bins and tables"
GROSS, DIRECT = "same latents, no refund (gross)", "no latents (direct)"
Rates = dict[str, float]


def run(mnist_folder: Path, color_folder: Path, target: Path) -> bool:
    """Measures both sets, writes results under `target`; returns whether a chain was found wrong or beyond its bound."""
    found = {}
    for title, model, pictures in _sets(mnist_folder, color_folder):
        click.echo(f"{len(pictures)} pictures of {title}")
        found[title] = {"model": model, **measure(pictures, model)}
    target.mkdir(parents=True, exist_ok=True)
    (target / "bits-back.json").write_text(json.dumps(found, indent=1) + "\n")
    (target / "bits-back.md").write_text(table(found) + "\n")
    click.echo(table(found))
    return not all(entry["sound"] for entry in found.values())


def _sets(mnist_folder: Path, color_folder: Path) -> Iterator[tuple[str, str, list[Pixels]]]:
    yield "MNIST test", "mnist", list(thumbnails.mnist(mnist_folder, "t10k")[:NUM_DIGITS])
    yield "photographs, 32x32", "small", thumbnails.tiles(data.load([color_folder]))


def measure(pictures: Sequence[Pixels], model: str) -> dict[str, object]:
    """Returns counts and rates of a set of pictures of one size, and whether its chain decodes and meets its bound."""
    num_values = sum(picture.size for picture in pictures)
    chain, report = small_chain.encode_with_report(pictures, model)
    decoded = small_chain.decode_chain(chain, [(len(picture), picture.shape[1]) for picture in pictures], model)
    exact = all(np.array_equal(*pair) for pair in zip(pictures, decoded, strict=True))
    below = np.random.default_rng(0).integers(1, 1 << 32, _BELOW_WORDS, dtype=np.uint32).astype("<u4").tobytes()
    _, middle = small_chain.encode_with_report(pictures, model, below=below)
    _, direct = small_chain.encode_with_report(pictures, model, borrow=False)
    rates = {CHAIN: report.net_bits, BOUND: bound_bits(pictures, model), BINNED: middle.gross_bits - middle.refunded_bits,
             GROSS: middle.gross_bits, DIRECT: direct.net_bits}  # fmt: skip
    rates |= peer_bits(pictures)
    return {
        "pictures": len(pictures),
        "pictures coded directly": report.num_direct,
        "exact": exact,
        "sound": exact and report.net_bits <= (1 + _TOLERANCE) * rates[BOUND],
        "bits per sub-pixel": {name: round(bits / num_values, 4) for name, bits in rates.items()},
    }


def bound_bits(pictures: Sequence[Pixels], model: str, seed: int = 0) -> float:
    """Returns one sample of the continuous negative bound of all pictures, in bits."""
    torch.manual_seed(seed)
    network, stacked = registry.load(model).network, np.stack(pictures)
    batches = (stacked[i : i + _BATCH] for i in range(0, len(stacked), _BATCH))
    return sum(lower_bound_bits(network, batch).sum().item() for batch in batches)


def peer_bits(pictures: Sequence[Pixels]) -> Rates:
    """Returns the bits of other codecs' files, one a picture, and one of all pictures side by side."""
    rates = {}
    for peer in peers.lossless():
        if isinstance(peer, peers.Peer) and not peer.name.startswith("hcodec"):
            rates[f"{peer.label}, a file each"] = 8.0 * sum(len(peer.encode(picture, 0)) for picture in pictures)
            rates[f"{peer.label}, one sheet"] = 8.0 * len(peer.encode(sheet(pictures), 0))
    return rates


def sheet(pictures: Sequence[Pixels]) -> Pixels:
    """Returns all pictures side by side, the last row filled up with zeros."""
    blank = [np.zeros_like(pictures[0])] * (-len(pictures) % _COLUMNS)
    padded = [*pictures, *blank]
    rows = [np.concatenate(padded[i : i + _COLUMNS], axis=1) for i in range(0, len(padded), _COLUMNS)]
    return np.concatenate(rows)


def table(found: dict[str, dict[str, object]]) -> str:
    """Returns the rates of all sets as a Markdown table, with what they are above the continuous bound."""
    columns: list[Rates] = [entry["bits per sub-pixel"] for entry in found.values()]  # type: ignore[misc]
    head = ["bits per sub-pixel", *(f"{title} ({entry['pictures']})" for title, entry in found.items())]
    names = list(dict.fromkeys(name for rates in columns for name in rates))
    return tables.markdown(head, [[name, *(_cell(rates, name) for rates in columns)] for name in names])


def _cell(rates: Rates, name: str) -> str:
    if name not in rates:
        return "–"
    above = f"{100 * (rates[name] / rates[BOUND] - 1):+.1f} %".replace("-", "−")
    return f"{rates[name]:.3f}" if name == BOUND else f"{rates[name]:.3f} ({above})"
