"""The section "Layers" of FORMAT.md, as a program: a decoder in plain Python that knows only what the text says."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from hcodec import container, models
from hcodec import picture as to_pixels
from hcodec.codec import decode, encode
from hcodec.models.walk import Walk


def frequencies(flat: np.ndarray) -> tuple[int, list[list[int]]]:
    """Returns the number of silent indices and the table of each index."""
    tables, position = [], 1
    for index in range(80):
        k = min(1023, 2 + math.ceil(14 * 0.03 * (64 / 0.03) ** (index / 79)))
        tables.append([int(w) + 1 for w in flat[position : position + 2 * k + 1]])
        position += 2 * k + 1
    return int(flat[0]), tables


class Stack:
    """The ANS stack of a layer."""

    def __init__(self, layer: bytes) -> None:
        words = [int.from_bytes(layer[i : i + 4], "little") for i in range(0, len(layer), 4)]
        self.words = iter(words)
        self.left = len(words)
        self.state = 0
        for _ in range(min(2, len(words))):
            self.refill()

    def refill(self) -> None:
        """Takes one word."""
        self.state = self.state * 2**32 + next(self.words)
        self.left -= 1

    def pop(self, table: list[int]) -> int:
        """Returns one symbol."""
        q, c, position = self.state % 2**24, 0, 0
        while q >= c + table[position]:
            c += table[position]
            position += 1
        self.state = table[position] * (self.state // 2**24) + q - c
        if self.state < 2**32 and self.left:
            self.refill()
        return position - len(table) // 2


@pytest.mark.parametrize("name", ["tiny", "photo"])
def test_plain_python_reads_the_same_symbols(name: str, picture: np.ndarray) -> None:
    data = encode(picture[:70, :90], model=name)
    reader = container.Reader()
    reader.feed(data)
    assert len(reader.layers) == models.summary(name).num_levels
    model = models.load(name)
    num_silent, tables = frequencies(model.tables)
    walk = Walk(model.network, model.agreed, 70, 90)
    for level, layer in enumerate(reader.layers, 1):
        stack = Stack(layer)
        while not walk.done and walk.latent.level == level:
            index = walk.predict()[1].numpy()
            symbols = np.zeros(index.shape, dtype=np.int32)
            for i in range(79, num_silent - 1, -1):
                for place in np.argwhere(index == i):
                    symbols[tuple(place)] = stack.pop(tables[i])
            walk.advance(torch.from_numpy(symbols))
        assert stack.state == 0
        assert stack.left == 0
    pixels = to_pixels.from_tensor(walk.render(len(reader.layers)))
    assert (pixels == np.asarray(decode(data))).all()
