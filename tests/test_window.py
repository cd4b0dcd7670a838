"""Windows: they cover the picture, each pixel once; none is too large or empty; and how they are predicted."""

import functools
import math

import numpy as np
import pytest
from conftest import render
from hypothesis import given, settings
from hypothesis import strategies as st

from hcodec import container, memory, models
from hcodec.codec import decode, encode
from hcodec.coders import levels, scale_offsets
from hcodec.coding.stack import Stack
from hcodec.container import Window, count_windows, windows
from hcodec.container.window import EDGE
from hcodec.errors import PictureError
from hcodec.models.photo.prefix import Prefix
from hcodec.session import Decoder
from hcodec.stream import StreamDecoder


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5000), st.integers(1, 5000))
def test_every_pixel_is_in_one_window(height, width):
    covered = np.zeros((height, width), np.uint8)
    for window in windows(height, width):
        assert 1 <= window.height <= EDGE and 1 <= window.width <= EDGE
        assert covered[window.inside].shape == (window.height, window.width)
        covered[window.inside] += 1
    assert (covered == 1).all() and len(windows(height, width)) == count_windows(height, width)


@given(st.integers(1, 1 << 24))
def test_windows_begin_at_cells_of_the_coarsest_stride_and_all_but_the_last_are_alike(edge):
    lefts, widths = zip(*((each.left, each.width) for each in windows(1, edge)), strict=True)
    assert all(left % 64 == 0 for left in lefts) and len(set(widths[:-1])) <= 1 and widths[-1] <= widths[0]
    assert len(widths) == count_windows(1, edge) == -(-edge // 1024) and sum(widths) == edge


@pytest.mark.parametrize("size", [(1, 1), (1024, 1024), (1, 1024)])
def test_a_small_picture_is_one_window(size):
    assert windows(*size) == (Window(0, 0, *size),) and count_windows(*size) == 1


def test_windows_come_row_by_row():
    found = windows(1100, 2100)
    assert [(each.top, each.left) for each in found] == [(0, 0), (0, 704), (0, 1408), (576, 0), (576, 704), (576, 1408)]
    assert found[-1] == Window(576, 1408, 524, 692) and found[-1].place == "the window at 1408,576"


# How they are predicted: the steps of FORMAT.md, taken here with plain numbers

MARGIN = 32
SIZES = [(150, 1030), (1030, 70), (1030, 1030)]  # a last window of odd size; below and beside each other; with corners


@functools.cache
def reader_of(size, num_levels=None):
    data = encode(render(*size), model="tiny")
    if num_levels:
        data = container.truncate(data, levels=num_levels)
    return container.read_all(data)[0]


def whole_state(model, reader):
    """The state of the picture at stride 16 after the coarse levels; those that are missing have symbols of 0."""
    prefix = Prefix.empty(model.walk, reader.header.height, reader.header.width)
    for piece in reader.coarse:
        prefix = levels.decoded(levels.tables_of(model), prefix, piece, reader.header.offsets)
    return prefix.filled(lambda latent, state, prior: np.zeros(prior.index.shape, np.float32)).position.state


def fine_state(model, reader, index):
    """The state of a window at stride 8 after the fine levels, from the text alone."""
    height, width = reader.header.height, reader.header.width
    window, whole, tables = windows(height, width)[index], whole_state(model, reader), levels.tables_of(model)
    top, left = max(window.top - MARGIN, 0), max(window.left - MARGIN, 0)
    bottom, right = (min(start + size + MARGIN, end) for start, size, end in
                     ((window.top, window.height, height), (window.left, window.width, width)))  # fmt: skip
    assert top % MARGIN == 0 == left % MARGIN
    state = np.ascontiguousarray(whole[:, top // 16 : math.ceil(bottom / 16), left // 16 : math.ceil(right / 16)])
    state = model.walk.ascend(state, 8, bottom - top, right - left)
    row, column = (window.top - top) // 8, (window.left - left) // 8
    own = slice(None), slice(row, row + math.ceil(window.height / 8)), slice(column, column + math.ceil(window.width / 8))
    pieces = iter(reader.pieces[index])
    for latent in model.walk.latents[model.config.num_latents(model.config.num_coarse) :]:
        state, prior = latent.prior(state)
        symbols = np.zeros(prior.index.shape, np.float32)
        if piece := next(pieces, b""):
            stack, scales = Stack(piece), np.ascontiguousarray(prior.index[own])
            if reader.header.offsets:
                scales = scale_offsets.pop(tables, stack, scales)
            symbols[own] = stack.pop(tables, scales)
            stack.close()
        state = latent.advance(state, prior, symbols)
    return state[own]


def decoded_state(model, reader, index):
    """The same, as a decoder finds it."""
    return Decoder(model, reader).prefix(index).completed(lambda latent, state, prior: np.zeros(prior.index.shape, np.float32))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("num_levels", [None, 2])
def test_windows_are_predicted_as_the_text_says(size, num_levels):
    model, reader = models.load("tiny"), reader_of(size, num_levels)
    assert reader.header.num_coarse == len(reader.coarse) == 2 and len(reader.pieces) == count_windows(*size) > 1
    for index in range(len(reader.pieces)):
        expected = fine_state(model, reader, index)
        assert expected.any() and np.array_equal(decoded_state(model, reader, index), expected)


def test_a_window_is_predicted_from_what_is_around_it():
    """Without the margin, cells at its edge would have another state."""
    model, reader = models.load("tiny"), reader_of(SIZES[0], 2)
    state = whole_state(model, reader)
    alone = model.walk.ascend(np.ascontiguousarray(state[:, :, :36]), 8, 150, 576)
    for latent in model.walk.latents[model.config.num_latents(2) :]:
        alone, prior = latent.prior(alone)
        alone = latent.advance(alone, prior, np.zeros(prior.index.shape, np.float32))
    found = decoded_state(model, reader, 0)
    assert found.shape == alone.shape and not np.array_equal(found[:, :, -1], alone[:, :, -1])
    assert np.array_equal(found[:, :, :-4], alone[:, :, :-4])


@pytest.mark.parametrize("size", [(128, 1 << 24), (46_340, 46_340), (1, 1 << 24)])
def test_few_bytes_cannot_take_the_memory_of_a_huge_coarse_layer(size, monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda: 1 << 30)
    model = models.load("tiny")
    frame = container.Frame(height=size[0], width=size[1], model="tiny", fingerprint=model.fingerprint, num_coarse=2)
    data = container.write(frame, [[b""]])
    assert len(data) <= 50
    with pytest.raises(PictureError, match="megapixels need"):
        decode(data)
    with pytest.raises(PictureError, match="megapixels need"):
        StreamDecoder().feed(data)


def test_windows_do_not_need_each_other():
    """A piece of one window that is damaged changes no state of another."""
    model, reader = models.load("tiny"), reader_of(SIZES[0])
    layers = [[piece] for piece in reader.coarse] + [list(layer) for layer in zip(*reader.pieces, strict=True)]
    data = bytearray(container.write(reader.header, layers))
    data[reader.header.piece_range(3, 0)[0]] ^= 1
    broken = container.read_all(bytes(data))[0]
    assert broken.damaged == {0: 3} and np.array_equal(decoded_state(model, broken, 1), decoded_state(model, reader, 1))
    assert not np.array_equal(decoded_state(model, broken, 0), decoded_state(model, reader, 0))
