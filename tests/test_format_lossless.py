"""The section "The lossless layer" of FORMAT.md, as a program: what it says of bytes, tiles, tables, stack and order."""

from __future__ import annotations

import math
import zlib
from itertools import pairwise

import numpy as np
import pytest
import torch
from conftest import render
from test_lossless import encode_forced, last_model, source_of

from hcodec import container
from hcodec.models.integer.kernels import exact_products
from hcodec.models.lossless.integer import Site, TileWalk

SCALES = [0.04 * 1200 ** (i / 47) for i in range(48)]
STEPS = [8 if s < 0.6 else 4 if s < 1.6 else 2 if s < 4 else 1 for s in SCALES]


def frequencies(flat: np.ndarray) -> list[np.ndarray]:
    """Returns the cumulated frequencies of each table, 512 long."""
    found, position = [], 0
    for _ in range(4):
        for s, n in zip(SCALES, STEPS, strict=True):
            k = min(255, 2 + math.ceil(49 * s))
            for _ in range(n):
                table = np.ones(511, dtype=np.int64)
                table[255 - k : 256 + k] += flat[position : position + 2 * k + 1]
                position += 2 * k + 1
                found.append(np.concatenate([[0], table.cumsum()]))
    table = np.array([2 ** (21 - abs(d)) if abs(d) <= 12 else 1 for d in range(-255, 256)])
    table[255] = 2**24 - (table.sum() - table[255])
    found.append(np.concatenate([[0], table.cumsum()]))
    assert position == len(flat) and all(table[-1] == 2**24 for table in found)
    return found


class Stack:
    """The words of a stack, in plain Python."""

    def __init__(self, data: bytes, tables: list[np.ndarray]) -> None:
        self.words = [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4)][::-1]
        self.tables = tables
        self.state = self.words.pop()
        self.state = self.state * 2**32 + self.words.pop()

    def pop(self, table: int) -> int:
        """Returns one symbol."""
        below = self.tables[table]
        q = self.state % 2**24
        symbol = int(np.searchsorted(below, q, side="right")) - 1
        f, c = int(below[symbol + 1] - below[symbol]), int(below[symbol])
        self.state = f * (self.state // 2**24) + q - c
        if self.state < 2**32 and self.words:
            self.state = self.state * 2**32 + self.words.pop()
        return symbol - 255

    def push(self, table: int, symbol: int) -> None:
        """Puts one symbol back."""
        below = self.tables[table]
        f, c = int(below[symbol + 256] - below[symbol + 255]), int(below[symbol + 255])
        if self.state >= f * 2**40:
            self.words.append(self.state % 2**32)
            self.state //= 2**32
        self.state = self.state // f * 2**24 + self.state % f + c


def place(mean: int, scale: int, shape: int) -> tuple[int, int]:
    """Returns the whole part and the table."""
    n = STEPS[scale]
    m = (2 * mean * n + 8) // 16
    return m // n, shape * sum(STEPS) + sum(STEPS[:scale]) + m - m // n * n


def places(mean, scale, shape):
    """Returns positions with whole part and table, in coding order."""
    found = [(i, *place(int(mean[i]), int(scale[i]), int(shape[i]))) for i in np.ndindex(*mean.shape)]
    return sorted(found, key=lambda entry: entry[2])  # stable: raster order within a table


def with_offsets(stack: Stack, site: Site, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Returns mean, scale and shape index of a site's samples, and how many classes its offsets have."""
    mean, scale, shape = (t.numpy().astype(int) for t in (site.mean, site.scale, site.shape))
    if inside.sum() < 256 or not (k := stack.pop(4 * sum(STEPS))):
        return mean, scale, shape, 0
    ordered, terms = sorted(scale[inside]), site.terms.double().numpy()
    classes = sum((ordered[len(ordered) * j // k] < scale).astype(int) for j in range(1, k)) + 0 * scale
    moved = [values.copy() for values in (mean, scale, shape)]
    for own in range(k):
        offsets = [stack.pop(4 * sum(STEPS)) for _ in range(2)]
        weights = [stack.pop(3 * sum(STEPS) + sum(STEPS[:35])) for _ in terms]
        add = np.floor((4 * sum(w * term for w, term in zip(weights, terms, strict=True)) + 128) / 256).astype(int)
        for values, of, change, most in zip(moved, (mean, scale, shape), (add, *offsets), (2040, 47, 3), strict=True):
            values[classes == own] = np.clip(of + change, 0, most)[classes == own]
    return *moved, k


def wrap(v: int) -> int:
    return (v + 255) % 511 - 255


def cuts(edge: int) -> list[int]:
    n = max(1, (2 * edge + 256) // 512)
    return [8 * (-(-edge // 8) * i // n) for i in range(n)] + [edge]


def pop_tile(stack: Stack, walk: TileWalk, height: int, width: int, gray: bool, has_latents: bool, seen: list[int]) -> np.ndarray:
    """Returns one tile (height, width, 3), green, red, blue; notes how many classes its offsets have."""
    before, z = walk.copy(), None
    if has_latents:
        mean, scale = walk.prior()
        z = torch.zeros_like(mean)
        for i, whole, table in places(mean, scale, torch.zeros_like(mean)):
            z[i] = wrap(whole + stack.pop(table))
    walk.enter(z)
    rows, columns = (8 * edge for edge in walk.state.shape[1:3])
    tile, steps = np.full((rows, columns, 3), -1.0, dtype=np.float32), walk.pixels()
    site = next(steps)
    while site is not None:
        values = ((site.mean + 4) // 8).clamp(0, 255)
        inside = np.zeros((rows, columns), dtype=bool)
        inside[:height, :width] = True
        inside = inside[site.where[:2]]
        if gray and site.channel:
            values[torch.from_numpy(inside)] = torch.from_numpy(tile[..., 0][site.where[:2]][inside])
        else:
            *parameters, num_classes = with_offsets(stack, site, inside)
            seen.append(num_classes)
            for i, whole, table in places(*parameters):
                if inside[i]:
                    values[i] = whole + stack.pop(table)
        tile[site.where] = values.numpy()
        try:
            site = steps.send(values)
        except StopIteration:
            site = None
    if z is not None:
        x, mask = torch.zeros(1, rows, columns, 3), torch.zeros(1, rows, columns, 1)
        x[0, :height, :width], mask[0, :height, :width] = torch.from_numpy(tile[:height, :width]), 1
        mean, scale = before.posterior(x, mask)
        for i, whole, table in reversed(places(mean, scale, torch.zeros_like(mean))):
            stack.push(table, wrap(int(z[i]) - whole))
    return tile[:height, :width].astype(np.uint8)


@pytest.mark.parametrize(("with_latents", "gray"), [(False, False), (True, False), (True, True)])
def test_plain_python_reads_the_same_pixels(with_latents, gray):
    height, width = 11, 389
    pixels = render(height, width)
    if gray:
        pixels = np.repeat(pixels[..., :1], 3, 2)
    file, _ = encode_forced(pixels[..., 0] if gray else pixels, with_latents)
    reader, model = container.Reader(), last_model()
    reader.feed(file)
    data, columns = reader.lossless[0], cuts(width)
    assert len(columns) == 3 and cuts(height) == [0, 11]
    assert data[0] == 1 + with_latents and data[1] == 2 and data[2:6] == model.fingerprint
    crcs = [int.from_bytes(data[i : i + 4], "little") for i in (6, 10)]
    flags = data[14] if with_latents else 0
    assert flags == (1 if with_latents else 0)
    stack = Stack(data[14 + with_latents :], frequencies(model.tables))
    state, seen = source_of(pixels, 2).state, list[int]()
    with exact_products():
        for i, (left, right) in enumerate(pairwise(columns)):
            walk = TileWalk(model.network, state[:, :, left // 8 : -(-right // 8)].contiguous(), 0)
            tile = pop_tile(stack, walk, height, right - left, gray, bool(flags >> i & 1), seen)[..., [1, 0, 2]]
            assert (tile == pixels[:, left:right]).all()
            assert zlib.crc32(tile.tobytes()) == crcs[i]
    assert stack.state == 0 and not stack.words and 0 in seen and max(seen) > 0
