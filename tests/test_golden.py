"""Files written once by the shipped model still decode to the very same symbols, means, scale indices and states.

`python tests/test_golden.py` writes them anew, `python tests/test_golden.py lossless` those with a lossless layer: only when
the shipped weights change, which is a new fingerprint.
"""

from __future__ import annotations

import functools
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import render
from PIL import Image
from test_lossless import encode_forced

from hcodec import codec, container, models
from hcodec.coders import post_filter, scale_offsets
from hcodec.coding.stack import Stack
from hcodec.coding.tables import SymbolTables
from hcodec.models.photo.agreed import IntegerLatent, IntegerPrior
from hcodec.models.photo.prefix import Prefix
from hcodec.pixels import picture

LOSSLESS = {"coded": (24, 400)}
FOLDER = Path(__file__).parent / "golden"
SIZES = ((96, 128), (65, 65), (1, 1), (37, 200), (130, 150))  # the last one has a post filter


def path_of(size: tuple[int, int]) -> Path:
    """Returns where the golden file of a size lies."""
    return FOLDER / f"photo-{size[0]}x{size[1]}.hcodec"


def popped(
    tables: SymbolTables, stack: Stack, fitted: bool, sha: Any, latent: IntegerLatent, state: torch.Tensor, prior: IntegerPrior
) -> torch.Tensor:
    """Returns the symbols of a latent; the hash takes them, and prior mean, scale index and moved scale index."""
    mean, index = prior.mean.numpy(), prior.index.numpy()
    moved = [scale_offsets.pop(tables, stack, index)] if fitted else []
    symbols = stack.pop(tables, *(moved or [index]))
    for values in (mean.astype("<i4"), index, symbols.astype("<i4"), *moved):
        sha.update(np.ascontiguousarray(values).tobytes())
    return torch.from_numpy(symbols)


def digest(data: bytes) -> str:
    """Returns the SHA-256 of every post filter, prior mean, scale index, offset and symbol on the way, and of the last state."""
    reader = container.Reader()
    reader.feed(data)
    assert reader.header is not None
    model = models.load("photo")
    tables, fitted = SymbolTables(model.tables), reader.header.fitted
    prefix = Prefix.empty(model.network, model.agreed, reader.header.height, reader.header.width)
    sha = hashlib.sha256()
    for layer in reader.pieces[0]:
        stack = Stack(layer)
        weights = post_filter.pop(tables, stack) if fitted else None
        sha.update(b"" if weights is None else weights.numpy().astype("<f4").tobytes())
        prefix = prefix.extended(functools.partial(popped, tables, stack, fitted, sha))
    sha.update(np.ascontiguousarray(prefix.position.state.numpy().astype("<i4")).tobytes())
    return sha.hexdigest()


@pytest.mark.parametrize("size", SIZES)
def test_golden_files_decode_to_the_same_integers(size: tuple[int, int]) -> None:
    expected = json.loads((FOLDER / "digests.json").read_text())
    assert digest(path_of(size).read_bytes()) == expected[path_of(size).name]


@pytest.mark.parametrize("size", SIZES)
def test_golden_files_decode_to_the_same_picture(size: tuple[int, int]) -> None:
    """The synthesis is float, so a sample may move by one."""
    decoded = np.asarray(codec.decode(path_of(size))).astype(int)
    kept = np.asarray(picture.read(path_of(size).with_suffix(".png")).pixels).astype(int)
    assert np.abs(decoded - kept).max() <= 1


@pytest.mark.parametrize("path", sorted(FOLDER.glob("lossless-*.hcodec")), ids=lambda path: path.stem)
def test_golden_lossless_files_decode_to_the_same_pixels(path: Path) -> None:
    info = container.info(path).lossless
    assert info is not None and info.method in path.name
    decoded = np.asarray(codec.decode(path, strict=True))
    assert (decoded == np.asarray(picture.read(path.with_suffix(".png")).pixels)).all()


def write_lossless() -> None:
    """Writes one file for each method, with the picture beside it."""
    for method, edges in LOSSLESS.items():
        file = FOLDER / f"lossless-{method}-{edges[0]}x{edges[1]}.hcodec"
        file.write_bytes(encode_forced(render(*edges), model="photo-1")[0])
        Image.fromarray(render(*edges)).save(file.with_suffix(".png"))


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    if sys.argv[1:] == ["lossless"]:
        write_lossless()
        sys.exit()
    digests = {}
    for edges in SIZES:
        file = path_of(edges)
        file.write_bytes(codec.encode(render(*edges)))
        codec.decode(file).save(file.with_suffix(".png"))
        digests[file.name] = digest(file.read_bytes())
    (FOLDER / "digests.json").write_text(json.dumps(digests, indent=1) + "\n")
