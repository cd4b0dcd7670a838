"""The alpha channel: without loss, in few bytes, refused when it does not fit."""

from __future__ import annotations

import contextlib
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from test_picture import as_file

from hcodec.errors import FormatError, HcodecError
from hcodec.pixels.alpha import decode_alpha, encode_alpha


@settings(max_examples=60, deadline=None)
@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20))))
def test_alpha_is_lossless(alpha):
    data = encode_alpha(alpha)
    height, width = alpha.shape
    assert np.array_equal(decode_alpha(data, height, width), alpha)
    assert (len(data) == 1) == (alpha.min() == alpha.max())


def test_alpha_takes_few_bytes_and_any_size():
    disk = np.where(np.hypot(*np.mgrid[-40:40, -40:40]) < 30, 255, 0).astype(np.uint8)
    assert encode_alpha(disk).startswith(b"RIFF") and len(encode_alpha(disk)) < 200
    wide = np.arange(16_500, dtype=np.uint32).astype(np.uint8)[np.newaxis]  # wider than WebP can be
    assert encode_alpha(wide).startswith(b"\x89PNG")
    assert np.array_equal(decode_alpha(encode_alpha(wide), 1, 16_500), wide)


def test_alpha_of_another_size_or_form_is_refused_before_it_is_decoded():
    gradient = np.arange(4096, dtype=np.uint16).astype(np.uint8).reshape(64, 64)
    png = as_file(Image.fromarray(gradient), "PNG")
    webp = as_file(Image.fromarray(gradient), "WEBP", lossless=True)
    for data in (png, webp):
        assert np.array_equal(decode_alpha(data, 64, 64), gradient)
        for size in ((64, 63), (63, 64), (1, 1), (1 << 20, 1 << 10)):
            with pytest.raises(FormatError):
                decode_alpha(data, *size)
    color = Image.fromarray(gradient).convert("RGB")
    strangers = [as_file(color, "PNG"), as_file(color, "WEBP"), as_file(color, "JPEG"), b"", b"ab", png[:40], webp[:40]]
    for data in strangers:
        with pytest.raises(FormatError):
            decode_alpha(data, 64, 64)


def test_damaged_alpha_is_refused_or_read():
    rng = random.Random(4)
    gradient = np.arange(4096, dtype=np.uint16).astype(np.uint8).reshape(64, 64)
    forms = [as_file(Image.fromarray(gradient), "PNG"), as_file(Image.fromarray(gradient), "WEBP", lossless=True)]
    for whole in forms:
        for _ in range(300):
            data = bytearray(whole)
            for _ in range(rng.randint(1, 4)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            with contextlib.suppress(HcodecError):
                assert decode_alpha(bytes(data), 64, 64).shape == (64, 64)
