"""Weights files: what is read, what is refused, what is found."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from hcodec import models
from hcodec.errors import ModelError
from hcodec.models import registry, weights_file
from hcodec.models.photo.config import CONFIGS
from hcodec.models.runtime import backend
from hcodec.models.runtime.backend import ANY


def test_a_file_comes_back(tiny, tmp_path):
    config, integers, floats, fingerprint = weights_file.read(tiny)
    weights_file.save(tmp_path / "again.safetensors", config, integers, floats, "a copy")
    again = weights_file.read(tmp_path / "again.safetensors")
    assert again[0] == config and again[3] == fingerprint
    for found, wanted in zip(again[1:3], (integers, floats), strict=True):
        assert found.keys() == wanted.keys() and all(np.array_equal(found[name], wanted[name]) for name in wanted)
    assert weights_file.summary(tmp_path / "again.safetensors").description == "a copy"


def test_the_fingerprint_covers_integers_and_config_and_nothing_else(tiny):
    config, integers, _, fingerprint = weights_file.read(tiny)
    assert weights_file.fingerprint(asdict(config), dict(reversed(integers.items()))) == fingerprint
    assert weights_file.fingerprint(asdict(replace(config, lmbda=(1.0, 2.0, 3.0))), integers) != fingerprint
    for name in ("start", "latents.0.refine.1.gain", "tables.weights"):
        changed = integers[name].copy()
        changed.flat[0] += 1
        assert weights_file.fingerprint(asdict(config), {**integers, name: changed}) != fingerprint
    without = {name: tensor for name, tensor in integers.items() if name != "start"}
    assert weights_file.fingerprint(asdict(config), {**without, "begin": integers["start"]}) != fingerprint


def refused(path, match):
    with pytest.raises(ModelError, match=match) as error:
        registry.PHOTO.load(path, ANY)
    assert "\n" not in str(error.value) and path.name in str(error.value)


def test_a_damaged_file_is_refused(tiny, tmp_path):
    path, whole = tmp_path / "broken.safetensors", tiny.read_bytes()
    cuts = (b"", whole[:4], whole[:1000], whole[:-1], whole[:-5000])
    for data in (*cuts, b"\xff" * 100, whole + b"1", b"\x02" + bytes(7) + b"[]"):
        path.write_bytes(data)
        refused(path, "cannot be read|no weights file")
    (tmp_path / "folder.safetensors").mkdir()
    refused(tmp_path / "folder.safetensors", "no weights file")
    refused(tmp_path / "missing.safetensors", "no weights file")


def test_a_changed_integer_is_refused_and_a_changed_float_is_not(tiny, tmp_path):
    path = tmp_path / "broken.safetensors"
    data = bytearray(tiny.read_bytes())
    size = int.from_bytes(data[:8], "little")
    offsets = {name: value["data_offsets"] for name, value in json.loads(data[8 : 8 + size]).items() if name != "__metadata__"}
    begin, _ = offsets["agreed/latents.2.block.fc1.weight"]
    data[8 + size + begin] ^= 1
    path.write_bytes(data)
    refused(path, "is damaged: its fingerprint is")
    data[8 + size + begin] ^= 1
    data[8 + size + offsets["float/synthesis.embed"][0]] ^= 1
    path.write_bytes(data)
    registry.PHOTO.load(path, ANY)


def test_a_wrong_fingerprint_in_the_header_is_refused(tiny, tmp_path):
    path = tmp_path / "broken.safetensors"
    fingerprint = weights_file.summary(tiny).fingerprint.encode()
    path.write_bytes(tiny.read_bytes().replace(fingerprint, b"12345678"))
    refused(path, "its fingerprint is .*, not 12345678")
    path.write_bytes(tiny.read_bytes().replace(b'"fingerprint"', b'"fingerqrint"'))
    refused(path, "not None")


def test_unknown_config_fields_and_strange_configs_are_refused(tiny, tmp_path):
    path = tmp_path / "broken.safetensors"
    for text in (json.dumps({**asdict(CONFIGS["tiny"]), "flavor": 1}), "{}", "[]", "1", "null", "{"):
        save_file(load_file(tiny), path, metadata={"config": text, "fingerprint": "00000000", "description": ""})
        refused(path, "cannot be read")
    save_file(load_file(tiny), path, metadata={"fingerprint": "00000000", "description": ""})
    refused(path, "config")
    save_file(load_file(tiny), path)
    refused(path, "no weights file")


@pytest.mark.parametrize(
    "name",
    [
        "agreed/tables.weights",
        "agreed/up.8.bias",
        "agreed/start",
        "float/dct",
        "float/synthesis.overlap.along.weight",
        "float/latents.2.posterior.correct.value.bias",
    ],
)
def test_a_missing_tensor_is_named_in_the_error(tiny, tmp_path, name):
    config, integers, floats, _ = weights_file.read(tiny)
    kind, _, short = name.partition("/")
    del {"agreed": integers, "float": floats}[kind][short]
    path = tmp_path / "broken.safetensors"
    weights_file.save(path, config, integers, floats, "")
    with pytest.raises(ModelError, match=short.replace(".", r"\.")) as error:
        registry.PHOTO.load(path, ANY)
    assert "\n" not in str(error.value)


def test_a_tensor_of_a_wrong_shape_and_bad_tables_are_refused(tiny, tmp_path):
    path = tmp_path / "broken.safetensors"
    config, integers, floats, _ = weights_file.read(tiny)
    weights_file.save(path, config, integers, {**floats, "synthesis.embed": np.zeros((3, 5), np.float32)}, "")
    refused(path, "size mismatch for synthesis.embed")
    weights_file.save(path, config, {**integers, "tables.weights": integers["tables.weights"][:-1]}, floats, "")
    refused(path, "does not add up")
    weights_file.save(path, replace(config, width={64: 192}), integers, floats, "")
    refused(path, "does not fit together")


def test_summary_says_what_the_file_says_without_torch(tiny):
    found = models.summary("tiny")
    assert (found.name, found.num_levels, found.description, found.num_bytes) == ("tiny", 3, "for tests", tiny.stat().st_size)
    assert found.fingerprint == models.load("tiny").fingerprint.hex()
    code = "import sys; from hcodec import models as m; print(m.summary('tiny').fingerprint, *m.names(), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, timeout=60)
    assert done.stdout.split()[0] == found.fingerprint and "tiny" in done.stdout and done.stdout.split()[-1] == "False"


def test_unknown_names_fingerprints_and_devices():
    with pytest.raises(ModelError, match=r"unknown model 'nobody'; installed: .*tiny"):
        models.load("nobody")
    with pytest.raises(ModelError, match="unknown model"):
        models.summary("../tiny")
    with pytest.raises(ModelError, match="no installed model has the fingerprint 00010203"):
        models.find(bytes(range(4)))
    with pytest.raises(ModelError, match="unknown device 'tpu'"):
        models.load("tiny", "tpu")
    if not backend._has_cuda():
        with pytest.raises(ModelError, match="no CUDA device"):
            models.load("tiny", "cuda")
    assert models.find(models.load("tiny").fingerprint) == "tiny" and models.load("tiny") is models.load("tiny")
    assert models.load("tiny", "auto").fingerprint == models.load("tiny").fingerprint


def test_cards(tiny):
    with pytest.raises(ModelError, match="has no card"):
        models.card("tiny")
    card = tiny.with_suffix(".md")
    try:
        card.write_text("# tiny\n", encoding="utf-8")
        assert models.card("tiny") == "# tiny\n"
    finally:
        card.unlink()


def test_a_stranger_in_the_folder_hides_no_model(tiny, tmp_path, monkeypatch):
    shutil.copy(tiny, tmp_path / "mine.safetensors")
    (tmp_path / "alien.safetensors").write_bytes(b"not ours")
    monkeypatch.setenv("HCODEC_MODELS", os.pathsep.join(["", str(tmp_path), "/nowhere"]))
    assert {"alien", "mine"} <= set(models.names())
    assert models.find(bytes.fromhex(weights_file.summary(tiny).fingerprint)) == "mine"
    with pytest.raises(ModelError, match=r"alien\.safetensors is no weights file"):
        models.summary("alien")


def test_shipped_models_cannot_be_replaced(tiny, tmp_path, monkeypatch):
    shutil.copy(tiny, tmp_path / "photo-1.safetensors")
    monkeypatch.setenv("HCODEC_MODELS", str(tmp_path))
    if "photo-1" in models.names() and models.summary("photo-1").num_levels != 3:
        assert models.summary("photo-1").fingerprint != weights_file.summary(tiny).fingerprint
