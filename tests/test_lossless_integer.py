"""The integers of the lossless layer: their certificate, and finding and loading their weights."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from hcodec import models
from hcodec.errors import ModelError
from hcodec.models import registry, weights_file
from hcodec.models.integer.certificate import STATE_LIMIT
from hcodec.models.lossless import model
from hcodec.models.lossless.integer import IntegerLossless
from hcodec.models.runtime.backend import ANY


@pytest.fixture
def weights(tiny):
    """The tiny lossless layer's file."""
    return tiny.parent / "lossless" / tiny.name


@pytest.fixture
def folder(tmp_path, monkeypatch, tiny):
    """A folder whose lossless layers are found before the tiny one."""
    (tmp_path / "lossless").mkdir()
    monkeypatch.setenv("HCODEC_MODELS", f"{tmp_path}:{tiny.parent}")
    return tmp_path / "lossless"


def base():
    return models.load("tiny").fingerprint


def full(tensor):
    tensor[0] = 32767


def beyond(tensor):
    tensor[0] = STATE_LIMIT + 1


def not_a_number(tensor):
    tensor[-1] = float("nan")


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        ("embed", beyond),
        ("block.fc1.weight", full),
        ("show.gain", not_a_number),
        ("enter.gain", not_a_number),
        ("stages.4.phases.0.refine.fc2.weight", full),
        ("stages.4.phases.3.predict.gain", not_a_number),
        ("stages.4.phases.1.predict.kernel.weight", full),
        ("stages.2.up.gain", not_a_number),
        ("stages.2.base.weight", full),
        ("stages.1.known.gain", not_a_number),
        ("stages.1.phases.2.feed.gain", not_a_number),
        ("stages.1.phases.2.heads.2.fc1.weight", full),
        ("stages.1.phases.2.heads.0.head.gain", not_a_number),
    ],
)
def test_weights_that_are_not_certified_do_not_load(weights, tmp_path, name, harm):
    about, tensors, _ = weights_file.read_exact(weights)
    path = tmp_path / "harmed.safetensors"
    weights_file.save_exact(path, about, tensors)
    assert model.load(path, ANY).starts == (2, 3)
    harm(tensors[name])
    weights_file.save_exact(path, about, tensors)
    with pytest.raises(ModelError, match="exactness certificate") as error:
        model.load(path, ANY)
    assert "\n" not in str(error.value)


def test_a_missing_tensor_is_named(weights):
    _, tensors, _ = weights_file.read_exact(weights)
    del tensors["stages.2.phases.1.feed.bias"]
    with pytest.raises(ModelError, match=r"stages\.2\.phases\.1\.feed\.bias"):
        IntegerLossless({name: torch.from_numpy(tensor) for name, tensor in tensors.items()})


def test_what_is_found_is_described(weights):
    found = registry.load_lossless(base())
    assert (found.starts, len(found.embed)) == ((2, 3), 2)
    assert registry.load_lossless(base(), found.fingerprint) is found
    assert weights_file.read_exact(weights)[2] == found.fingerprint
    for unknown in ((b"none",), (base(), b"none")):
        with pytest.raises(ModelError, match="no lossless layer"):
            registry.load_lossless(*unknown)


def test_files_that_are_damaged_or_of_others_hide_nothing(weights, folder):
    found = registry.load_lossless(base()).fingerprint
    about, tensors, _ = weights_file.read_exact(weights)
    (folder / "a.safetensors").write_bytes(b"nothing")
    shutil.copy(weights, folder / "b.safetensors")
    with (folder / "b.safetensors").open("r+b") as file:
        file.seek(-5, 2)
        file.write(b"\x55")
    weights_file.save_exact(folder / "c.safetensors", about | {"base": "00010203"}, tensors)
    weights_file.save_exact(folder / "d.safetensors", {"base": about["base"]}, tensors)
    broken = {**tensors, "likelihood.weights": tensors["likelihood.weights"] + 1}
    weights_file.save_exact(folder / "e.safetensors", about, broken)
    wrong = {**tensors, "embed": np.zeros((2, 3), dtype=np.int32)}
    weights_file.save_exact(folder / "f.safetensors", about, wrong)
    weights_file.save_exact(folder / "ff.safetensors", about | {"starts": [1, 2, 3]}, tensors)
    assert registry.load_lossless(base()).fingerprint == found
    # one of one's own that is whole comes before those that are shipped, and files name theirs
    mine = weights_file.save_exact(folder / "g.safetensors", about | {"description": "mine"}, tensors)
    assert registry.load_lossless(base()).fingerprint == mine != found
    assert registry.load_lossless(base(), found).fingerprint == found
