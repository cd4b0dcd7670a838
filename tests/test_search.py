"""The search for better symbols: lower cost, the same decoder, nothing changed without it."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from conftest import render
from PIL import Image

from hcodec import container, memory, models, needs
from hcodec.cli import _sample, main
from hcodec.cli._batch import _STEPS, Console
from hcodec.codec import DEFAULT_MODEL, decode_picture, encode
from hcodec.coders import levels
from hcodec.effort import PASSES, cost, encode_layers
from hcodec.errors import HcodecError, PictureError
from hcodec.models.photo import search
from hcodec.models.runtime.threads import ignore
from hcodec.pixels import picture
from hcodec.session import Decoder, Encoder


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return _sample.render()[360:424, 540:636]


@pytest.fixture(scope="module")
def searched(pixels) -> bytes:
    return encode(pixels, effort=2)


def layers_of(model: models.Model, pixels: np.ndarray, offsets: list[np.ndarray] | None, count: int) -> list[list[bytes]]:
    return Encoder(model, pixels, offsets).layers(count, ignore)


def file_of(encoder: Encoder, layers: Sequence[Sequence[bytes]]) -> bytes:
    """Returns a file without a word about the picture."""
    model, (height, width) = encoder.model, encoder.size
    frame = container.Frame(
        width=width, height=height, model=model.name, fingerprint=model.fingerprint, num_coarse=model.config.num_coarse,
        offsets=encoder.with_offsets,
    )  # fmt: skip
    return container.write(frame, layers)


def searched_cost(model: models.Model, pixels: np.ndarray, count: int, effort: int) -> float:
    encoder = Encoder(model, pixels)
    return cost(encoder, encode_layers(encoder, count, effort, file_of, ignore))


def test_effort_1_is_the_default_and_changes_nothing(pixels, searched):
    data = encode(pixels)
    assert encode(pixels, effort=1) == data != searched
    model = models.load(DEFAULT_MODEL)
    offsets = search.refine(model, pixels, 3, 0)
    assert all(offset.dtype == np.float32 and not offset.any() for offset in offsets)
    assert layers_of(model, pixels, offsets, 3) == layers_of(model, pixels, None, 3)


def test_effort_lowers_the_cost(pixels):
    costs = [searched_cost(models.load(DEFAULT_MODEL), pixels, 7, effort) for effort in (1, 2, 3)]
    assert max(costs[1:]) < 0.995 * costs[0]


def test_every_level_decodes_to_what_the_encoder_saw(pixels, searched):
    """The symbols of a searched file bring its encoder to the states that every decoder reaches."""
    model = models.load(DEFAULT_MODEL)
    encoder = Encoder(model, pixels, search.refine(model, pixels, 7, PASSES[1]))
    assert encode_layers(Encoder(model, pixels), 7, 2, file_of, ignore) == file_of(encoder, encoder.layers(7, ignore))
    coarse = encoder.coarse_pieces(7)[1]
    seen = [prefix.at_finest() for _, prefix in encoder.levels(coarse, encoder.windows[0])]
    decoder = Decoder(model, container.read_all(searched)[0])
    for level, state in enumerate(seen, model.config.num_coarse + 1):
        assert (decoder.finest(0, level) == state).all()


def test_the_same_machine_finds_the_same(pixels, searched):
    torch.manual_seed(1)
    with torch.inference_mode():
        assert encode(pixels, effort=2) == searched


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 130), (129, 1), (65, 64)])
def test_any_size(height, width):
    data = encode(render(height, width), model="tiny", effort=2)
    assert decode_picture(data).pixels.shape == (height, width, 3)


def test_several_windows():
    """Offsets of the whole picture are cut for each of them."""
    pixels, model = render(72, 1100), models.load("tiny")
    assert len(Encoder(model, pixels).windows) > 1
    costs = [searched_cost(model, pixels, 3, effort) for effort in (1, 2)]
    assert costs[1] < costs[0]


def test_only_levels_that_are_kept_are_searched_for():
    pixels, shares = render(96, 128), []
    data = encode(pixels, model="tiny", levels=2, effort=3, on_progress=shares.append)
    assert len(container.info(data).levels) == 2
    assert shares == sorted(shares) and shares[-1] == 1 and len(shares) == 2 * PASSES[2]


def test_no_level_behind_those_that_are_kept_is_computed(pixels, monkeypatch):
    """There are no offsets for it, and it would be thrown away."""
    model = models.load(DEFAULT_MODEL)
    assert len(container.info(encode(pixels, levels=4, effort=2)).levels) == 4
    computed = []
    encoded = levels.encoded
    monkeypatch.setattr(levels, "encoded", lambda *level: computed.append(1) or encoded(*level))
    assert len(layers_of(model, pixels, None, 5)) == len(computed) == 5


def test_targets_cut_searched_levels():
    pixels = render(96, 128)
    data, whole = (encode(pixels, model="tiny", effort=2, **target) for target in ({"target_size": 900}, {}))
    assert data == container.truncate(whole, num_bytes=900)
    reached = encode(pixels, model="tiny", effort=2, target_psnr=20)
    assert picture.psnr(decode_picture(reached).pixels, pixels) >= 20


def test_it_is_never_worse(monkeypatch):
    pixels, model = render(96, 128), models.load("tiny")
    bad = [offset + 3 for offset in search.refine(model, pixels, 3, 0)]
    monkeypatch.setattr(search, "refine", lambda *_: bad)
    assert encode(pixels, model="tiny", effort=4) == encode(pixels, model="tiny")


def test_tiles_cover_the_picture(monkeypatch):
    pixels, model = render(200, 150), models.load("tiny")
    whole = search.refine(model, pixels, 3, 1)
    monkeypatch.setattr(search, "TILE", 64)
    shares: list[float] = []
    tiled = search.refine(model, pixels, 3, 1, shares.append)
    assert len(shares) == 4 * 3 * 3 and shares[-1] == pytest.approx(1)
    for one, other in zip(whole, tiled, strict=True):
        assert one.shape == other.shape and bool((other != 0).any())
    ways = Encoder(model, pixels), Encoder(model, pixels, tiled)
    plain, better = (cost(way, file_of(way, way.layers(3, ignore))) for way in ways)
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
    monkeypatch.setattr(memory, "free_bytes", lambda: needs._LEAST * 64 * 64)
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
    console = Console(num_files=2)
    console.bar = bar = Bar()
    places = []
    for share in (0.25, 1.0):
        console.within(share)
        places.append(bar.pos)
    console.advance()
    console.within(0.5)
    places.append(bar.pos)
    console.advance()
    assert (places, bar.pos) == ([_STEPS // 4, _STEPS - 1, _STEPS + _STEPS // 2], 2 * _STEPS)


class Bar:
    pos = 0

    def update(self, steps):
        self.pos += steps
