"""Few colors: exact at any size, prefixes show what is known, and the bytes are those that FORMAT.md describes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hcodec.coders import colors
from hcodec.errors import FormatError

_FACTOR, _MASK = 0x9E3779B97F4A7C15, (1 << 64) - 1
_NEAR = [
    (0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0), (-1, 2), (-1, -2), (0, -3), (-2, 1), (-2, -1),
    (0, -4), (-2, 2), (-2, -2), (-3, 0), (-1, -3), (0, -5), (-3, 1), (-3, -1), (-2, 3), (-2, -3), (-1, -4),
]  # fmt: skip


def letters(height, width, num_colors, seed=0):
    """Numbers of colors that repeat, as those of a page do, with a little noise."""
    random = np.random.default_rng(seed)
    glyphs = random.integers(0, num_colors, (4, 5, 4)) * (random.random((4, 5, 4)) < 0.4)
    plan = random.integers(0, 4, (height // 5 + 1, width // 4 + 1))
    picture = glyphs[plan].transpose(0, 2, 1, 3).reshape(5 * plan.shape[0], -1)[:height, :width]
    noisy = np.where(random.random(picture.shape) < 0.02, random.integers(0, num_colors, picture.shape), picture)
    return noisy.astype(np.uint16)


class Reference:
    """Decodes as FORMAT.md says, pixel by pixel, in plain numbers."""

    def __init__(self, data, height, width, num_colors):
        words = [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4)]
        self.words, self.state = words[2:], words[0] * 2**32 + words[1] if len(words) > 1 else sum(words)
        self.counts = [{}, {}, {}, {}]
        self.size, self.num_colors, self.picture = (height, width), num_colors, {}

    def pop(self, p):
        q = self.state % 2**24
        bit, f, c = (1, p, 2**24 - p) if q >= 2**24 - p else (0, 2**24 - p, 0)
        self.state = f * (self.state >> 24) + q - c
        if self.state < 2**32 and self.words:
            self.state = (self.state << 32) + self.words.pop(0)
        return bit

    def bit(self, row, column, node):
        p, places = None, []
        for table, (end, bits) in enumerate(((2, 16), (4, 18), (11, 22), (22, 22))):
            near = (self.picture.get((row + dy, column + dx), 0) for dy, dx in _NEAR[:end])
            h = (
                sum(number * pow(_FACTOR, k, 1 << 64) for k, number in enumerate(near, 1)) + node * pow(_FACTOR, 23, 1 << 64)
            ) & _MASK
            place = ((h ^ (h >> 32)) * _FACTOR & _MASK) >> (64 - bits)
            n0, n1 = self.counts[table].get(place, (0, 0))
            p = ((8 * n1 + 1) << 24) // (8 * (n0 + n1) + 2) if p is None else ((n1 << 24) + p) // (n0 + n1 + 1)
            places.append(place)
        return self.pop(min(max(p, 1), 2**24 - 1)), places

    def bits(self, pixels, nodes):
        found = [self.bit(*pixel, node) for pixel, node in zip(pixels, nodes, strict=True)]
        for bit, places in found:
            for table, place in zip(self.counts, places, strict=True):
                n = list(table.get(place, (0, 0)))
                n[bit] += 1
                table[place] = tuple(n)
        return [bit for bit, _ in found]

    def decoded(self):
        height, width = self.size
        for wave in range(width + 3 * (height - 1)):
            pixels = [(row, wave - 3 * row) for row in range(height) if 0 <= wave - 3 * row < width]
            left = {pixel: self.picture.get((pixel[0], pixel[1] - 1), 0) for pixel in pixels}
            same = self.bits(pixels, [0] * len(pixels))
            others = [pixel for pixel, bit in zip(pixels, same, strict=True) if not bit]
            values = self.others(others, left) if others else []
            self.picture.update(left | dict(zip(others, values, strict=True)))
        assert self.state == 0 and not self.words
        return [[self.picture[row, column] for column in range(width)] for row in range(height)]

    def others(self, pixels, left):
        if self.num_colors == 2:
            return [1 - left[pixel] for pixel in pixels]
        nodes = [1] * len(pixels)
        depth = (self.num_colors - 1).bit_length()
        for _ in range(depth):
            nodes = [2 * node + bit for node, bit in zip(nodes, self.bits(pixels, nodes), strict=True)]
        return [node - (1 << depth) for node in nodes]


@pytest.mark.parametrize("num_colors", [2, 3, 5, 300])
def test_the_bytes_are_those_of_the_format(num_colors):
    picture = letters(14, 23, num_colors)
    data = colors.encode(picture, num_colors)
    assert Reference(data, 14, 23, num_colors).decoded() == picture.tolist()


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(2, 4096), st.integers(0, 9))
def test_round_trip_at_any_size(height, width, num_colors, seed):
    picture = letters(height, width, num_colors, seed)
    found, known = colors.decode(colors.encode(picture, num_colors), height, width, num_colors, cut=False)
    assert (found == picture).all() and known.all()


def test_a_page_costs_less_than_a_bit_for_five_pixels():
    page = np.tile(letters(50, 80, 2), (8, 8))
    assert 8 * len(colors.encode(page, 2)) < page.size / 5


def test_every_prefix_shows_what_is_known():
    picture = letters(60, 90, 6)
    data = colors.encode(picture, 6)
    shares = []
    for end in range(0, len(data), 41):
        found, known = colors.decode(data[:end], 60, 90, 6, cut=True)
        assert (found == picture)[known].all()
        shares.append(known.mean())
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] > 0.9


def test_damage_is_an_error_or_another_picture():
    picture = letters(30, 40, 6)
    data = colors.encode(picture, 6)
    for at in range(0, len(data), 23):
        harmed = bytearray(data)
        harmed[at] ^= 0x55
        try:
            found, _ = colors.decode(bytes(harmed), 30, 40, 6, cut=False)
        except FormatError:
            continue
        assert (found != picture).any()


@pytest.mark.parametrize("harm", [lambda data: data + b"\1\0\0\0", lambda data: data[:-4], lambda data: data[:-1]])
def test_a_stack_ends_with_its_picture(harm):
    picture = letters(30, 40, 2)
    try:
        found, _ = colors.decode(harm(colors.encode(picture, 2)), 30, 40, 2, cut=False)
    except FormatError:
        return
    assert (found != picture).any()
