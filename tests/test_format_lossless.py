"""The section "The lossless layer" of FORMAT.md, as a program: what it says of bytes, tiles, tables, stack and order."""

from __future__ import annotations

import math
import zlib
from itertools import pairwise

import numpy as np
import pytest
from conftest import render
from test_format_layers import Text, small_windows  # noqa: F401 (a fixture)
from test_lossless import encode_forced
from test_tiles import last_model, layer_of, source_of

from hcodec.models.lossless.walk import Site, Sites, following

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
    mean, scale, shape = (t.astype(int) for t in (site.mean, site.scale, site.shape))
    if inside.sum() < 256 or not (k := stack.pop(4 * sum(STEPS))):
        return mean, scale, shape, 0
    ordered, terms = sorted(scale[inside]), site.terms.astype(np.float64).transpose(2, 0, 1)
    classes = sum((ordered[len(ordered) * j // k] < scale).astype(int) for j in range(1, k)) + 0 * scale
    moved = [values.copy() for values in (mean, scale, shape)]
    for own in range(k):
        offsets = [stack.pop(4 * sum(STEPS)) for _ in range(2)]
        weights = [stack.pop(3 * sum(STEPS) + sum(STEPS[:35])) for _ in terms]
        add = np.floor((4 * sum(w * term for w, term in zip(weights, terms, strict=True)) + 128) / 256).astype(int)
        for values, of, change, most in zip(moved, (mean, scale, shape), (add, *offsets), (2040, 47, 3), strict=True):
            values[classes == own] = np.clip(of + change, 0, most)[classes == own]
    return *moved, k


def cuts(edge: int) -> list[int]:
    n = max(1, (2 * edge + 256) // 512)
    return [8 * (-(-edge // 8) * i // n) for i in range(n)] + [edge]


def varint(data: bytes, at: int) -> tuple[int, int]:
    """Returns a number and where it ends."""
    value, shift = 0, 0
    while True:
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 128:
            return value, at


def pop_tile(stack: Stack, sites: Sites, height: int, width: int, gray: bool, seen: list[int]) -> np.ndarray:
    """Returns one tile (height, width, 3), green, red, blue; notes how many classes its offsets have."""
    rows, columns = (-(-edge // 8) * 8 for edge in (height, width))
    tile = np.full((rows, columns, 3), -1.0, dtype=np.float32)
    site = next(sites, None)
    while site is not None:
        values = np.clip((site.mean + 4) // 8, 0, 255)
        inside = np.zeros((rows, columns), dtype=bool)
        inside[:height, :width] = True
        inside = inside[site.where[:2]]
        if gray and site.channel:
            values[inside] = tile[..., 0][site.where[:2]][inside]
        else:
            *parameters, num_classes = with_offsets(stack, site, inside)
            seen.append(num_classes)
            for i, whole, table in places(*parameters):
                if inside[i]:
                    values[i] = whole + stack.pop(table)
        tile[site.where] = values
        site = following(sites, values)
    return tile[:height, :width].astype(np.uint8)


def pop_piece(data, state, height, width, gray):
    """Returns a window's pixels (height, width, 3), the level it builds on, and how many classes the offsets of its sites have.

    state: a level -> the state that it left in the window, int64 (H/8, W/8, width).
    """
    model, columns, rows, seen = last_model(), cuts(width), cuts(height), list[int]()
    assert data[0] == 1 and data[2:6] == model.fingerprint
    start, at, entries, tables = data[1], 6, list[tuple[int, bytes]](), frequencies(model.tables)
    places = [np.s_[top:bottom, left:right] for top, bottom in pairwise(rows) for left, right in pairwise(columns)]
    for _ in places:
        length, at = varint(data, at)
        entries.append((length, data[at : at + 4]))
        at += 4
    pixels = np.empty((height, width, 3), np.uint8)
    for (length, crc), place in zip(entries, places, strict=True):
        stack, at = Stack(data[at : at + length], tables), at + length
        down, across = (slice(part.start // 8, -(-part.stop // 8)) for part in place)
        sites = model.walk(state(start)[None, down, across].astype(np.float32), start)
        edges = (part.stop - part.start for part in place)
        pixels[place] = tile = pop_tile(stack, sites, *edges, gray, seen)[..., [1, 0, 2]]
        assert zlib.crc32(tile.tobytes()) == int.from_bytes(crc, "little")
        assert stack.state == 0 and not stack.words
    assert at == len(data)
    return pixels, start, seen


@pytest.mark.parametrize("gray", [False, True])
def test_plain_python_reads_the_same_pixels(gray):
    height, width = 11, 389
    pixels = render(height, width)
    if gray:
        pixels = np.repeat(pixels[..., :1], 3, 2)
    layer, state = layer_of(pixels, gray=gray)[0], source_of(pixels, 2).state[0]
    assert len(cuts(width)) == 3 and cuts(height) == [0, 11]
    found, start, seen = pop_piece(layer.pack(), {2: state}.__getitem__, height, width, gray)
    assert (found == pixels).all() and start == 2 and 0 in seen and max(seen) > 0


@pytest.mark.usefixtures("small_windows")
def test_plain_python_reads_the_same_pixels_of_every_window():
    """From the bytes of a file to its samples, states included."""
    pixels = render(140, 150)
    text = Text(encode_forced(pixels)[0])
    assert len(text.file.windows) == len(text.file.layers[-1]) == 4
    for piece, (x, y, width, height), states in zip(text.file.layers[-1], text.file.windows, text.after, strict=True):
        found, start, _ = pop_piece(piece, states.__getitem__, height, width, False)
        assert (found == pixels[y : y + height, x : x + width]).all() and start in (2, 3)
