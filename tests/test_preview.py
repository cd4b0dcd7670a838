"""Drafts and shortcuts: made from nothing to a preview, run by both backends, and never in the way of what is decoded."""

from __future__ import annotations

import functools
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from conftest import render
from PIL import Image

from hcodec import container, stream
from hcodec.codec import decode, encode
from hcodec.errors import HcodecWarning, ModelError
from hcodec.models import registry
from hcodec.models.descend import at_stride, descend
from hcodec.models.photo import preview
from hcodec.models.photo.draft import drafts
from hcodec.models.photo.fit_preview import Examples, fit_output
from hcodec.models.photo.model import torch_networks
from hcodec.models.photo.prefix import sampled
from hcodec.models.photo.shortcut import Shape, Shortcut
from hcodec.models.photo.train_shortcut import _prefixes, main
from hcodec.models.runtime.backend import Backend
from hcodec.models.runtime.narrow import narrowed, widened
from hcodec.models.runtime.torch_steps import TorchSteps
from hcodec.pixels.picture import psnr
from hcodec.stream import StreamDecoder

HEIGHT, WIDTH = 130, 150
REGION = (20, 50, 100, 60)


@pytest.fixture(scope="module")
def folder(tiny, tmp_path_factory) -> Iterator[Path]:
    """A folder with the tiny model and its previews, trained for a moment, that is searched before any other."""
    folder = tmp_path_factory.mktemp("with-preview")
    shutil.copy(tiny, folder)
    for seed in range(3):
        Image.fromarray(render(256, 256, seed)).save(folder / f"{seed}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HCODEC_MODELS", str(folder))
        export_quickly(patch)
        options = ["--data", str(folder), "--count", "3", "--minutes", "0.002", "--hidden", "24", "--near", "8"]
        result = CliRunner().invoke(main, ["tiny", *options])
        assert result.exit_code == 0, result.output
        yield folder


def export_quickly(patch):
    """Has torch make its table of operators once: it makes it for every graph, which takes half of an export."""
    try:
        from torch.onnx._internal.exporter._registration import ONNXRegistry
    except ImportError:  # elsewhere in other versions
        return
    patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(functools.cache(ONNXRegistry.from_torchlib)))


@pytest.fixture(autouse=True)
def every_picture_is_slow(folder, monkeypatch):
    monkeypatch.setattr(stream, "_SLOW", 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", HcodecWarning)
        yield


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return render(HEIGHT, WIDTH, 5)


def data_of(picture) -> tuple[bytes, list[int]]:
    data = encode(picture, model="tiny", lossless=False)
    return data, [level.prefix_bytes for level in container.info(data).levels]


def shown(data, end, region=None, **options) -> np.ndarray:
    decoder = StreamDecoder(**options)
    decoder.feed(data[:end])
    return np.asarray(decoder.image(region))


def test_the_script_writes_a_small_file_beside_the_model(folder):
    path = preview.path_of(folder / "tiny.safetensors")
    found = registry.load("tiny").preview
    assert path.exists() and path.with_suffix(".graphs").exists()
    assert found is not None and found.levels == (1,)
    assert {levels: found.level(levels) for levels in (0.3, 1.0, 1.1, 2.0, 3.0)} == {
        0.3: 1,
        1.0: 1,
        1.1: None,
        2.0: None,
        3.0: None,
    }


@pytest.mark.parametrize("backend", [None, "torch"])
def test_early_levels_are_drafts_and_the_last_goes_the_long_way(picture, backend):
    data, ends = data_of(picture)
    for level, end in enumerate(ends, 1):
        quick, long = shown(data, end, backend=backend), np.asarray(decode(data, levels=level, backend=backend))
        assert quick.shape == long.shape and (quick == long).all() == (level == len(ends))
        assert psnr(quick, picture) > psnr(long, picture) - 0.5


@pytest.mark.parametrize("level", [1, 2])
def test_both_backends_show_the_same(picture, level):
    data, ends = data_of(picture)
    one, other = (shown(data, ends[level - 1], backend=backend).astype(int) for backend in (None, "torch"))
    assert np.abs(one - other).max() <= 2 and (one != other).mean() < 0.2


def test_a_draft_of_a_latent_is_nearly_its_mean():
    """In floats next to nothing but rounding is lost; on int8 the change that a latent makes is off by a few hundredths."""
    model = registry.load("tiny")
    network, agreed = torch_networks(model.path)
    tensors = preview.packed({name: as_arrays(x) for name, x in drafts(network, agreed, [range(1, 4)]).items()})
    draft = preview.over(model.walk, TorchSteps(preview.torch_steps(tensors, model.config), torch.device("cpu"))).walk
    for _, prefix in _prefixes(model, render(128, 96))[:1]:
        for index in (2, 3):
            position = at_stride(
                model.walk, descend(model.walk, prefix.position, sampled(), index), model.walk.latents[index].stride
            )
            exact = descend(model.walk, position, sampled(), index + 1).state
            found = descend(draft, position, sampled(), index + 1).state
            change = np.square(exact - position.state).mean()
            assert change > 0 and np.square(found - exact).mean() < 0.05**2 * change


def as_arrays(state):
    return {name: tensor.numpy() for name, tensor in state.items()}


@pytest.mark.parametrize("several", [False, True])
def test_regions_show_a_part_of_the_whole(picture, several, request):
    """Up to two gray levels: hidden units are rounded to eight bits, in steps that depend on what is shown at once."""
    if several:
        request.getfixturevalue("small_windows")
    data, ends = data_of(picture)
    x, y, wide, high = REGION
    part, whole = shown(data, ends[0], REGION).astype(int), shown(data, ends[0])[y : y + high, x : x + wide]
    assert np.abs(part - whole).max() <= 2


@pytest.mark.usefixtures("small_windows")
def test_windows_have_no_seams(picture):
    """What lies across the border of two windows is as near to the long way as what lies within them."""
    data, ends = data_of(picture)
    error = np.square(shown(data, ends[0]).astype(float) - np.asarray(decode(data, levels=1))).mean((0, 2))
    assert error[56:72].mean() < 3 * error.mean() + 1


def test_part_of_a_level_is_shown(picture):
    data, ends = data_of(picture)
    for end in (ends[0] + (ends[1] - ends[0]) // 4, ends[1] - 2, ends[1] + 20):
        decoder = StreamDecoder()
        decoder.feed(data[:end])
        first, second = np.asarray(decoder.image()), np.asarray(decoder.image())
        decoder.feed(data[end:])
        assert (first == second).all() and (np.asarray(decoder.image()) == np.asarray(decode(data))).all()


def test_the_shortcut_of_another_model_is_not_used(folder):
    path = preview.path_of(folder / "tiny.safetensors")
    walk = registry.load("tiny").walk
    assert preview.load(path, Backend(None, "cpu"), b"abcd", walk) is None
    assert preview.load(path.with_name("none.safetensors"), Backend(None, "cpu"), b"abcd", walk) is None


def test_damaged_files_are_refused(folder, tmp_path):
    model, source = registry.load("tiny"), preview.path_of(folder / "tiny.safetensors")
    path = tmp_path / "tiny.safetensors"
    shutil.copy(source.with_suffix(".graphs"), tmp_path)
    for name in ("torch", None):
        path.write_bytes(source.read_bytes()[:-10])
        with pytest.raises(ModelError, match="cannot be read"):
            preview.load(path, Backend(name, "cpu"), model.fingerprint, model.walk)
        for tensor in ("shortcut.0/center", "added.2/weight", "synthesis/dct"):
            preview.save(path, model.fingerprint, {tensor: np.zeros((3, 4), np.float32)})
            with pytest.raises(ModelError, match=r"does not fit together|lack the tensor"):
                preview.load(path, Backend(name, "cpu"), model.fingerprint, model.walk)


def test_a_stream_is_shown_the_long_way_where_the_shortcut_is_damaged(folder, tmp_path):
    shutil.copy(folder / "tiny.safetensors", tmp_path)
    path = preview.path_of(tmp_path / "tiny.safetensors")
    path.parent.mkdir()
    path.write_bytes(b"")
    model = registry.load_file(tmp_path / "tiny.safetensors", registry.PHOTO)
    with pytest.warns(HcodecWarning, match="previews are made the long way"):
        assert model.preview is None
    assert model.preview is None


def test_int8_weights_are_near_and_their_sums_fit_into_16_bits():
    weight = (
        np.random.default_rng(0).standard_normal((40, 30)).astype(np.float32) * np.logspace(-6, 2, 40, dtype=np.float32)[:, None]
    )
    weight[3] = 0
    narrow, scale = narrowed(weight)
    assert narrow.shape == (30, 40) and 2 * 255 * np.abs(narrow.astype(int)).max() < 2**15
    assert (np.abs(widened(narrow, scale) - weight) <= 0.501 * scale[:, None]).all()


def test_fitting_finds_what_pixels_depend_on_linearly():
    """Of pixels that are a linear map of a cell and its neighbors, next to nothing is left."""
    torch.manual_seed(0)
    shape = Shape((1, 2), 16, 8, 16)
    teacher, pupil = Shortcut(shape), Shortcut(shape)
    for each in (teacher, pupil):
        each.near.weight.data.copy_(torch.eye(16))
    teacher.output(2).fc2.weight.data.zero_()
    states = torch.randn(6, 10, 12, 16).half()
    with torch.no_grad():
        pixels = teacher(states.float(), 2)
        fit_output(pupil, 2, Examples(states, pixels, torch.tensor([1.0, 2, 3, 1, 1, 1])), 6)
        torch.testing.assert_close(pupil(states.float(), 2), pixels, atol=1e-3, rtol=0)
        assert (pupil(states.float(), 1) - pixels).abs().max() > 0.1


def test_shortcuts_take_what_was_foreseen():
    """The state that a shortcut starts from is the same whether the next latent was predicted before or not."""
    model = registry.load("tiny")
    for level, prefix in _prefixes(model, render(64, 96)):
        alone = type(prefix)(prefix.walk, type(prefix.position)(*_without_foreseen(prefix.position)), prefix.levels)
        assert np.array_equal(preview.state_of(prefix, level, sampled()), preview.state_of(alone, level, sampled()))


def _without_foreseen(position):
    return position.state, position.stride, position.height, position.width, position.index
