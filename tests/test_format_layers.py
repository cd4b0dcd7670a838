"""The section "Layers" of FORMAT.md, as a program: a decoder in plain Python that knows only what the text says."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import pytest
import torch
from conftest import render

from hcodec import container, models
from hcodec.codec import decode, encode
from hcodec.models.photo.agreed import IntegerPrior
from hcodec.models.photo.prefix import Prefix
from hcodec.pixels import picture as to_pixels


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


def pop_post_filter(stack: Stack, table: list[int]) -> np.ndarray | None:
    """Returns weights by band, color and pair."""
    groups = [[], [(0, 1, 2, 3)], [(0, 1), (2, 3)], [(0,), (1,), (2,), (3,)]][stack.pop(table)]
    if not groups:
        return None
    weights, coarseness = np.zeros((4, 3, 14)), stack.pop(table)
    for group in groups:
        each = [stack.pop(table) for _ in range(42)]
        weights[list(group)] = np.reshape(each, (3, 14)) * 2.0 ** (coarseness - 4 - group[-1])
    return weights


def pop_offsets(stack: Stack, index: np.ndarray, num_silent: int) -> np.ndarray:
    """Returns scale indices moved by scale offsets."""
    powers = [2 ** (21 - abs(d)) for d in range(-12, 13)]
    powers[12] = 2**24 - (sum(powers) - 2**21)
    if not stack.pop(powers):
        return index
    offsets = [stack.pop(powers) for _ in range(index.shape[3])]
    return np.where(index < num_silent, index, np.clip(index + np.array(offsets), num_silent, 79))


def pop_latent(
    stack: Stack, tables: list[list[int]], num_silent: int, fitted: bool, latent: Any, state: torch.Tensor, prior: IntegerPrior
) -> torch.Tensor:
    """Returns the symbols of a latent."""
    index = prior.index.numpy().astype(int)
    if fitted:
        index = pop_offsets(stack, index, num_silent)
    symbols = np.zeros(index.shape, dtype=np.int32)
    for i in range(79, num_silent - 1, -1):
        for place in np.argwhere(index == i):
            symbols[tuple(place)] = stack.pop(tables[i])
    return torch.from_numpy(symbols)


def filtered(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns samples (H, W, 3), 0..255, not rounded."""
    height, width = x.shape[:2]
    padded = np.pad(np.clip(x, 0, 255), ((3, 3), (3, 3), (0, 0)), mode="edge")

    def at(row: int, column: int) -> np.ndarray:
        return padded[3 + row : 3 + row + height, 3 + column : 3 + column + width]

    gray = padded.mean(2)
    rough = abs(4 * gray[1:-1, 1:-1] - gray[1:-1, :-2] - gray[1:-1, 2:] - gray[:-2, 1:-1] - gray[2:, 1:-1])
    activity = np.mean([rough[i : i + height, j : j + width] for i in range(5) for j in range(5)], 0)
    t = np.clip(np.log(np.maximum(activity, 1e-9) / 0.6) / np.log(4), 0, 3)
    pairs = [(0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (2, 0), (1, 2), (2, 1), (1, -2), (2, -1)]
    y = at(0, 0).copy()
    for band in range(4):
        lacks = [(at(r, c) + at(-r, -c)) / 2 - at(0, 0) for r, c in pairs]
        change = sum(weights[band, :, k] * lacks[k] for k in range(10))
        for color in range(3):
            for k, other in enumerate(each for each in range(3) if each != color):
                for pair in range(2):
                    change[..., color] += weights[band, color, 10 + 2 * k + pair] * lacks[pair][..., other]
        y += np.maximum(0, 1 - abs(t - band))[..., None] * change
    return y


@pytest.mark.parametrize(("name", "height", "width"), [("tiny", 70, 90), ("photo", 70, 90), ("tiny", 150, 160)])
def test_plain_python_reads_the_same_symbols(name: str, height: int, width: int) -> None:
    data = encode(render(height, width), model=name)
    reader = container.Reader()
    reader.feed(data)
    assert reader.num_levels == models.summary(name).num_levels
    model = models.load(name)
    num_silent, tables = frequencies(model.tables)
    prefix, post_filter = Prefix.empty(model.network, model.agreed, height, width), None
    for layer in reader.pieces[0]:
        stack = Stack(layer)
        if data[8] & 32:
            post_filter = pop_post_filter(stack, tables[49])
        prefix = prefix.extended(functools.partial(pop_latent, stack, tables, num_silent, bool(data[8] & 32)))
        assert stack.state == 0
        assert stack.left == 0
    if post_filter is None:
        assert (to_pixels.from_tensor(prefix.render()) == np.asarray(decode(data))).all()
    else:
        samples = prefix.render()[0].permute(1, 2, 0).double().numpy() * 255
        pixels = np.clip(np.rint(filtered(samples, post_filter)), 0, 255)
        assert abs(pixels - np.asarray(decode(data), dtype=float)).max() <= 1
        assert (pixels == np.asarray(decode(data))).mean() > 0.999
    assert (post_filter is None) == (height * width < 128**2)
