"""The section "Layers" of FORMAT.md, as a program: a decoder that knows only what the text says, against the one that codes.

Bytes are those of `test_format.Parser`, the agreed path that of `test_format_network.AgreedText`.
"""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from conftest import render
from test_format import Parser
from test_format_network import AgreedText

from hcodec import codec, container, models
from hcodec.container import window
from hcodec.models import registry, weights_file
from hcodec.mosaic import Mosaic
from hcodec.session import Decoder

MARGIN = 32


def frequencies(flat):
    """Returns the number of silent indices, and the cumulated frequencies of each table."""
    tables, position = [], 1
    for index in range(80):
        k = min(1023, 2 + math.ceil(14 * 0.03 * (64 / 0.03) ** (index / 79)))
        tables.append(np.cumsum([0, *(int(w) + 1 for w in flat[position : position + 2 * k + 1])]))
        position += 2 * k + 1
    powers = [2 ** (21 - abs(d)) for d in range(-12, 13)]
    powers[12] = 2**24 - (sum(powers) - 2**21)
    assert position == len(flat)
    return int(flat[0]), tables, np.cumsum([0, *powers])


class Stack:
    """The ANS stack of a piece, or of the beginning of one."""

    def __init__(self, piece, whole=True):
        self.words = [int.from_bytes(piece[i : i + 4], "little") for i in range(0, len(piece) - 3, 4)][::-1]
        self.whole, self.known, self.state = whole, whole or len(piece) >= 8, 0
        assert not self.words or self.words[-1]
        for _ in range(min(2, len(self.words))):
            self.state = self.state * 2**32 + self.words.pop()

    def pop(self, below):
        """Returns one symbol, 0 where it is unknown."""
        if not self.known:
            return 0
        q = self.state % 2**24
        position = int(np.searchsorted(below, q, side="right")) - 1
        self.state = int(below[position + 1] - below[position]) * (self.state // 2**24) + q - int(below[position])
        if self.state < 2**32:
            if self.words:
                self.state = self.state * 2**32 + self.words.pop()
            else:
                self.known = self.whole
        return position - (len(below) - 1) // 2

    def close(self):
        assert not self.whole or (self.state == 0 and not self.words)


class Text:
    """What the text says of a file: the symbols of its pieces, and the states of its windows, (H/8, W/8, width).

    after: for each window the state that a level leaves, for the last coarse level and all fine ones, counted from 1.
    """

    def __init__(self, data):
        self.file, self.offsets, self.symbols = Parser(data), bool(data[8] & 32), []
        self.layers = self.file.layers[: len(self.file.layers) - bool(data[8] & 16)]
        path = registry.PHOTO.path(self.file.model)
        self.config = json.loads(weights_file.header(path)["config"])
        _, self.tensors, _, _ = weights_file.read(path)
        self.num_silent, self.tables, self.of_offsets = frequencies(self.tensors["tables.weights"])
        whole = AgreedText(self.config, self.tensors, self.file.height, self.file.width)
        count = self.file.num_coarse
        for level in range(count):
            self.level(whole, level, self.piece(level, 0), np.s_[:, :])
        self.after = [self.window(whole.state, place) for place in enumerate(self.file.windows)]
        self.states = [states[len(self.config["levels"])] for states in self.after]

    def piece(self, level, place):
        """Returns the stack of a piece, an empty one that says nothing where there is none."""
        layers = self.layers
        if level >= len(layers) or place >= len(layers[level]):
            return Stack(b"", whole=False)
        return Stack(layers[level][place], not (self.file.cut and (level, place) == (len(layers) - 1, len(layers[-1]) - 1)))

    def window(self, coarse, place):
        """Returns the states of a window, given that of the picture at stride 16."""
        number, (x, y, width, height) = place
        left, top = max(x - MARGIN, 0), max(y - MARGIN, 0)
        right, bottom = min(x + width + MARGIN, self.file.width), min(y + height + MARGIN, self.file.height)
        cells = coarse[top // 16 : math.ceil(bottom / 16), left // 16 : math.ceil(right / 16)]
        text = AgreedText(self.config, self.tensors, bottom - top, right - left, cells, 16)
        row, column = (y - top) // 8, (x - left) // 8
        inside = np.s_[row : row + math.ceil(height / 8), column : column + math.ceil(width / 8)]
        text.ascend(8)
        found = {self.file.num_coarse: text.state[inside]}
        for level in range(self.file.num_coarse, len(self.config["levels"])):
            self.level(text, level, self.piece(level, number), inside)
            found[level + 1] = text.state[inside]
        return found

    def level(self, text, level, stack, inside):
        """Leads a state through the latents of a level."""
        first = sum(map(len, self.config["levels"][:level]))
        for i in range(first, first + len(self.config["levels"][level])):
            mean, index = text.prior(i)
            symbols = np.zeros(mean.shape, dtype=np.int64)
            symbols[inside] = self.latent(stack, index[inside])
            text.advance(i, mean, symbols)
        stack.close()

    def latent(self, stack, index):
        """Returns the symbols of a latent."""
        if self.offsets and stack.pop(self.of_offsets):
            offsets = np.array([stack.pop(self.of_offsets) for _ in range(index.shape[2])])
            index = np.where(index < self.num_silent, index, np.clip(index + offsets, self.num_silent, 79))
        symbols = np.zeros(index.shape, dtype=np.int64)
        for i in range(79, self.num_silent - 1, -1):
            for place in np.argwhere(index == i):
                symbols[tuple(place)] = stack.pop(self.tables[i])
        self.symbols.append(symbols)
        return symbols


def decoded(data):
    """Returns the states of all windows as the codec finds them, symbols that are missing being 0."""
    decoder = Decoder(models.load(Parser(data).model), container.read_all(data)[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Mosaic, "render", lambda self, _, state, *rest: [state(i)[0][0] for i in range(len(self.places))])
        return decoder.pixels()


def agree(data):
    """Compares the states of a file by the text and by the codec; returns what the text says."""
    text = Text(data)
    for ours, theirs in zip(text.states, decoded(data), strict=True):
        assert (ours == theirs).all()
    assert any(symbols.any() for symbols in text.symbols)
    return text


@pytest.fixture
def small_windows(monkeypatch):
    """Windows of 128 pixels at most, in the codec and in the text."""

    def parts(edge):
        n = math.ceil(edge / 128)
        length = math.ceil(edge / (64 * n)) * 64
        return [(i * length, length if i < n - 1 else edge - i * length) for i in range(n)]

    monkeypatch.setattr(window, "EDGE", 128)
    monkeypatch.setattr(Parser, "parts", staticmethod(parts))
    window.windows.cache_clear()
    yield
    window.windows.cache_clear()


@pytest.mark.parametrize(("name", "height", "width"), [("tiny", 70, 90), ("photo-1", 70, 90), ("tiny", 150, 160)])
def test_the_text_decodes_the_same(name, height, width):
    text = agree(codec.encode(render(height, width), model=name))
    assert len(text.states) == 1 and text.offsets == (height * width >= 128**2)


@pytest.mark.parametrize(("name", "height", "width"), [("tiny", 1100, 20), ("photo-1", 18, 1030)])
def test_the_text_decodes_the_same_windows(name, height, width):
    assert len(agree(codec.encode(render(height, width), model=name)).states) == 2


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("size", [(150, 280), (129, 70)])
def test_the_text_decodes_the_same_windows_in_rows_and_columns(size):
    text = agree(codec.encode(render(*size), model="tiny"))
    assert len(text.states) == {150: 6, 129: 2}[size[0]]
    assert text.states[-1].shape[:2] == {150: (3, 3), 129: (1, 9)}[size[0]]


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("share", [0.9, 0.7, 0.4, 0.2])
def test_the_text_decodes_the_same_of_cut_files(share):
    data = codec.encode(render(150, 280), model="tiny")
    cut = container.truncate(data, num_bytes=round(share * len(data)))
    text = agree(cut)
    assert text.file.cut and len(text.states) == 6


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("levels", [1, 2])
def test_the_text_decodes_the_same_of_the_first_levels(levels):
    agree(codec.encode(render(150, 280), model="tiny", levels=levels))
