"""The search for better symbols: lower cost, the same decoder, nothing changed without it."""

from __future__ import annotations

import io
from itertools import islice

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from conftest import render
from PIL import Image

from hcodec import container, memory, models, session
from hcodec.cli import _sample, main
from hcodec.cli._batch import Console
from hcodec.codec import decode_picture, encode
from hcodec.effort import PASSES, Layers, cost, encode_layers
from hcodec.errors import HcodecError, PictureError
from hcodec.models.photo import search
from hcodec.pixels import picture
from hcodec.session import Encoder


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return _sample.render()[360:424, 540:636]


@pytest.fixture(scope="module")
def searched(pixels) -> bytes:
    return encode(pixels, effort=2)


def first(count: int, encoder: Encoder) -> Layers:
    return list(islice(encoder.layers(), count))


def test_effort_1_is_the_default_and_changes_nothing(pixels, searched):
    data = encode(pixels)
    assert encode(pixels, effort=1) == data != searched
    model = models.load("photo")
    plain = first(3, Encoder(model, pixels))
    still = first(3, Encoder(model, pixels, search.refine(model, picture.to_tensor(pixels), 3, 0)))
    assert [layer for layer, _ in still] == [layer for layer, _ in plain]


def test_effort_lowers_the_cost(pixels):
    model = models.load("photo")
    costs = [cost(model, pixels, encode_layers(model, pixels, 7, effort, None)) for effort in (1, 2, 3)]
    assert max(costs[1:]) < 0.995 * costs[0]


def test_every_level_decodes_to_what_the_encoder_saw(pixels, searched):
    layers = encode_layers(models.load("photo"), pixels, 7, 2, None)
    assert len(searched) == container.info(searched).container_bytes + sum(len(layer) for layer, _ in layers)
    for level, (_, prefix) in enumerate(layers, 1):
        found = decode_picture(searched, levels=level).pixels
        assert (found == picture.from_tensor(prefix.render())).all()


def test_the_same_machine_finds_the_same(pixels, searched):
    torch.manual_seed(1)
    with torch.inference_mode():
        assert encode(pixels, effort=2) == searched


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 130), (129, 1), (65, 64)])
def test_any_size(height, width):
    data = encode(render(height, width), model="tiny", effort=2)
    assert decode_picture(data).pixels.shape == (height, width, 3)


def test_only_levels_that_are_kept_are_searched_for():
    pixels, shares = render(96, 128), []
    data = encode(pixels, model="tiny", levels=2, effort=3, on_progress=shares.append)
    assert len(container.info(data).levels) == 2
    assert shares == sorted(shares) and shares[-1] == 1 and len(shares) == 2 * PASSES[2]


def test_targets_cut_searched_levels():
    pixels = render(96, 128)
    data, whole = (encode(pixels, model="tiny", effort=2, **target) for target in ({"target_size": 900}, {}))
    assert data == container.truncate(whole, num_bytes=900)
    reached = encode(pixels, model="tiny", effort=2, target_psnr=20)
    assert picture.psnr(decode_picture(reached).pixels, pixels) >= 20


def test_it_is_never_worse(monkeypatch):
    pixels, model = render(96, 128), models.load("tiny")
    monkeypatch.setattr(search, "refine", lambda *_: [torch.full((), 3.0)] * len(model.agreed.latents))
    assert encode(pixels, model="tiny", effort=4) == encode(pixels, model="tiny")


def test_tiles_cover_the_picture(monkeypatch):
    pixels, model = render(200, 150), models.load("tiny")
    whole = search.refine(model, picture.to_tensor(pixels), 3, 1)
    monkeypatch.setattr(search, "TILE", 64)
    shares: list[float] = []
    tiled = search.refine(model, picture.to_tensor(pixels), 3, 1, shares.append)
    assert len(shares) == 4 * 3 * 3 and shares[-1] == pytest.approx(1)
    for one, other in zip(whole, tiled, strict=True):
        assert one.shape == other.shape and bool((other != 0).any())
    plain, better = (cost(model, pixels, first(3, Encoder(model, pixels, offsets))) for offsets in (None, tiled))
    assert better < plain


def test_coarse_exits_count_more_and_every_exit_is_visited():
    weights = search.exit_weights((0.001, 0.01, 0.1), 2, search.SEARCH_EXPONENT)
    assert sum(weights) == pytest.approx(1) and weights[0] / weights[1] == pytest.approx(10**0.4)
    assert sorted(search._order(7)) == list(range(1, 8)) and search._order(1) == [1]


@pytest.mark.parametrize("effort", [0, 5, -1, 1.5, None, "2"])
def test_bad_efforts(effort):
    with pytest.raises(HcodecError, match=r"effort is .*; it must be a whole number from 1 to 4"):
        encode(render(8, 8), model="tiny", effort=effort)


def test_no_search_in_lossless_files():
    with pytest.raises(HcodecError, match="effort and lossless exclude each other"):
        encode(render(8, 8), model="tiny", effort=2, lossless=True)


def test_memory_is_asked_for_first(monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda: session._BYTES_PER_PIXEL * 64 * 64)
    pixels = render(64, 64)
    encode(pixels, model="tiny")
    with pytest.raises(PictureError, match="need"):
        encode(pixels, model="tiny", effort=2)


def test_command_line(pixels, searched, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = io.BytesIO()
    Image.fromarray(pixels).save(source, "PNG")
    (tmp_path / "img.png").write_bytes(source.getvalue())
    assert CliRunner().invoke(main, ["encode", "img.png", "--effort", "2"]).exit_code == 0
    assert (tmp_path / "img.hcodec").read_bytes() == searched
    for wrong in (["--effort", "5"], ["--effort", "x"], ["--effort", "2", "--lossless"]):
        result = CliRunner().invoke(main, ["encode", "img.png", *wrong])
        assert result.exit_code == 2 and "effort" in result.stderr.splitlines()[-1]


def test_the_progress_bar_moves_within_files():
    console = Console(parts=100)
    console.bar = bar = Bar()
    places = []
    for share in (0.25, 1.0):
        console.within(share)
        places.append(bar.pos)
    console.advance()
    console.within(0.5)
    console.advance()
    assert (places, bar.pos) == ([25, 100], 200)


class Bar:
    pos = 0

    def update(self, steps):
        self.pos += steps
