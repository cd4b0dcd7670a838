"""Windows: they cover the picture, each pixel once, and none is too large or empty."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hcodec.container import Window, count_windows, windows
from hcodec.container.window import EDGE


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
