"""Chains of small pictures: every pixel comes back, bits are lent and returned, and whatever is wrong is refused."""

from __future__ import annotations

import gzip
import itertools
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from conftest import render
from PIL import Image

from hcodec.coders import small_chain
from hcodec.coding.stack import Stack
from hcodec.errors import FormatError, ModelError, PictureError
from hcodec.models import registry, weights_file
from hcodec.models.runtime import graphs
from hcodec.models.runtime.backend import ANY, Backend
from hcodec.models.runtime.onnx_steps import OnnxSteps
from hcodec.models.runtime.torch_steps import TorchSteps
from hcodec.models.small import export, task, thumbnails, train
from hcodec.models.small.bound import lower_bound_bits
from hcodec.models.small.config import CONFIGS
from hcodec.models.small.model import torch_network, torch_steps
from hcodec.models.small.network import SmallNetwork
from hcodec.models.small.planes import Colors, Grays
from hcodec.models.small.walk import Visit
from hcodec.models.training.loop import Recipe, Trainer
from hcodec.pixels import picture

NAMES = ("tiny", "tiny-gray")
SIZES = ((1, 1), (1, 9), (7, 13), (28, 28), (32, 32), (64, 3))


def make_network(name):
    """A network as training finds it, but with heads that depend on what they see."""
    torch.manual_seed(0)
    network = SmallNetwork(CONFIGS[name]).requires_grad_(False)
    heads = [head for latent in network.ordered_latents() for head in (latent.head, latent.inference_head)]
    for head in (*heads, network.last_head):
        head.weight.normal_(std=0.02)
    return network


def make(count, height, width, gray):
    pixels = [render(height, width, seed) for seed in range(count)]
    return [p[..., 0].copy() for p in pixels] if gray else pixels


@pytest.fixture(scope="module", autouse=True)
def folder(tiny):
    """The folder of the chain models that are made here; all models of the tests lie in its parent."""
    chain = tiny.parent / "chain"
    chain.mkdir(exist_ok=True)
    for name in NAMES:
        tensors = export.export(make_network(name), np.stack(make(8, 32, 32, name != "tiny")))
        weights_file.save_exact(chain / f"{name}.safetensors", asdict(CONFIGS[name]), tensors)
    return chain


def round_trip(pixels, model):
    data, report = small_chain.encode_with_report(pixels, model)
    found = small_chain.decode_chain(data, [p.shape[:2] for p in pixels], model)
    assert all(np.array_equal(*pair) and pair[1].dtype == np.uint8 for pair in zip(pixels, found, strict=True))
    return report


@pytest.mark.parametrize("model", NAMES)
def test_every_size_comes_back(model):
    pixels = [p for size in SIZES for p in make(2, *size, model != "tiny")]
    report = round_trip(pixels, model)
    assert 1 <= report.num_direct < len(pixels)
    assert report.refunded_bits > 0
    assert abs(report.gross_bits - report.refunded_bits - report.net_bits) < 128  # all but the checksum and the last word


@pytest.mark.parametrize("model", NAMES)
def test_flat_pictures_and_noise_come_back(model):
    shape = (16, 16) if model != "tiny" else (16, 16, 3)
    noise = np.random.default_rng(0).integers(0, 256, (3, *shape), dtype=np.uint8)
    flat = [np.full(shape, value, np.uint8) for value in (0, 1, 128, 251, 252, 255)]
    round_trip([*noise, *flat], model)


@pytest.mark.parametrize("model", NAMES)
def test_nothing_makes_a_chain_of_nothing(model):
    assert small_chain.decode_chain(small_chain.encode_chain([], model), [], model) == []


def test_push_and_pop_are_mirror_images():
    below = np.random.default_rng(0).integers(1, 1 << 32, 4000, dtype=np.uint32).astype("<u4").tobytes()
    chain = small_chain._Chain(registry.load_small("tiny"), Stack(below))
    pixels = make(3, 24, 20, gray=False)
    for one in pixels:
        chain.push(one, borrow=True)
    assert chain.num_direct == 0
    assert all(np.array_equal(chain.pop(24, 20), one) for one in reversed(pixels))
    assert chain.stack.to_bytes() == below


def test_a_stack_that_holds_too_little_is_left_as_it_was():
    below = np.arange(1, 30, dtype="<u4").tobytes()
    chain = small_chain._Chain(registry.load_small("tiny"), Stack(below))
    assert chain._pop_posterior(chain.walk.planes.split(render(32, 32))) is None
    assert chain.stack.to_bytes() == below


def test_no_pop_finds_the_stack_dry(monkeypatch):
    low = []
    pop = Stack.pop
    monkeypatch.setattr(Stack, "pop", lambda self, *a: (pop(self, *a), low.append(self.num_bits))[0])
    small_chain.encode_chain(make(6, 16, 16, gray=False), "tiny")
    assert low and min(low) >= small_chain._STATE_BITS


@pytest.mark.parametrize("model", NAMES)
def test_the_net_rate_is_the_lower_bound(model):
    pixels = make(30, 32, 32, model != "tiny")
    below = np.random.default_rng(0).integers(1, 1 << 32, 1 << 16, dtype=np.uint32).astype("<u4").tobytes()
    _, report = small_chain.encode_with_report(pixels, model, below=below)
    torch.manual_seed(0)
    bound = lower_bound_bits(torch_network(registry.SMALL.path(model)), np.stack(pixels)).sum().item()
    assert report.num_direct == 0
    assert report.net_bits == pytest.approx(bound, rel=0.01)


@pytest.mark.parametrize("model", NAMES)
def test_integers_do_what_floats_do(model):
    pixels = np.stack(make(30, 32, 32, model != "tiny"))
    torch.manual_seed(0)
    exact = lower_bound_bits(torch_network(registry.SMALL.path(model)), pixels).mean().item() / pixels[0].size
    assert sum(task.lower_bound(make_network(model), pixels)) == pytest.approx(exact, rel=0.02)


def test_a_posterior_off_by_one_unit_is_noticed(monkeypatch):
    pixels = make(4, 32, 32, gray=False)
    data = small_chain.encode_chain(pixels, "tiny")
    posterior, calls = Visit.posterior, itertools.count()

    def off_by_one(self, features):
        whole, table = posterior(self, features)
        if next(calls) == 0:
            whole[0, 0, 0, 0] += 1
        return whole, table

    monkeypatch.setattr(Visit, "posterior", off_by_one)
    with pytest.raises(FormatError):
        small_chain.decode_chain(data, [(32, 32)] * 4, "tiny")


@pytest.mark.parametrize("model", NAMES)
def test_a_cut_chain_is_refused(model):
    pixels = make(3, 12, 12, model != "tiny")
    data = small_chain.encode_chain(pixels, model)
    for length in [*range(9), *range(9, len(data), len(data) // 12)]:
        with pytest.raises(FormatError):
            small_chain.decode_chain(data[:length], [(12, 12)] * 3, model)


@pytest.mark.parametrize("model", NAMES)
def test_a_damaged_chain_is_refused(model):
    data = small_chain.encode_chain(make(3, 12, 12, model != "tiny"), model)
    for position in range(0, len(data), len(data) // 24):
        damaged = bytearray(data)
        damaged[position] ^= 1 << position % 8
        with pytest.raises(FormatError):
            small_chain.decode_chain(bytes(damaged), [(12, 12)] * 3, model)


@pytest.mark.parametrize("model", NAMES)
def test_junk_is_refused(model):
    random = np.random.default_rng(0)
    for length in (0, 3, 4, 8, 400, 4000):
        with pytest.raises(FormatError):
            small_chain.decode_chain(random.bytes(length), [(9, 9)] * 3, model)


@pytest.mark.parametrize("sizes", [[(12, 12)] * 2, [(12, 12)] * 4, [(12, 11)] * 3, [(0, 12)] * 3, [(12, 1 << 30)] * 3])
def test_wrong_sizes_are_refused(sizes):
    data = small_chain.encode_chain(make(3, 12, 12, gray=False), "tiny")
    with pytest.raises(FormatError):
        small_chain.decode_chain(data, sizes, "tiny")


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 1), (4, 4, 4), (0, 4, 3), (65, 4, 3)])
def test_what_is_no_small_picture_is_refused(shape):
    with pytest.raises(PictureError):
        small_chain.encode_chain([np.zeros(shape, np.uint8)], "tiny")


def test_models_are_known_by_name_and_fingerprint():
    assert set(NAMES) <= set(registry.names(registry.SMALL))
    assert small_chain.find(small_chain.fingerprint("tiny")) == "tiny"
    with pytest.raises(ModelError):
        small_chain.find(b"nope")
    with pytest.raises(ModelError):
        small_chain.encode_chain([], "no such model")


def test_damaged_weights_are_refused(folder, tmp_path):
    about, tensors, _ = weights_file.read_exact(folder / "tiny.safetensors")
    broken = {
        "loud": tensors | {"latents.0.select.weight": tensors["latents.0.select.weight"] * 1e12},
        "lost": {name: tensor for name, tensor in tensors.items() if name != "last.head.gain"},
        "unsure": tensors | {"likelihood.weights": tensors["likelihood.weights"] + 1},
    }
    for name, values in broken.items():
        weights_file.save_exact(tmp_path / f"{name}.safetensors", about, values)
        with pytest.raises(ModelError):
            registry.SMALL.load(tmp_path / f"{name}.safetensors", ANY)
    (tmp_path / "cut.safetensors").write_bytes((folder / "tiny.safetensors").read_bytes()[:-9])
    with pytest.raises(ModelError):
        registry.SMALL.load(tmp_path / "cut.safetensors", ANY)


def test_batches_and_layouts_do_not_matter():
    network, walk = torch_network(registry.SMALL.path("tiny")), registry.load_small("tiny").walk
    planes = np.stack([walk.planes.split(p) for p in make(5, 21, 30, gray=False)])
    together, turned = network.analyze(planes), network.analyze(np.asfortranarray(planes))
    for i in range(len(planes)):
        for stride, feature in walk.analyze(planes[i]).items():
            assert np.array_equal(feature[0], together[stride][i])
            assert np.array_equal(feature[0], turned[stride][i])


def test_graphs_compute_what_torch_computes(folder, tmp_path):
    _, tensors, _ = weights_file.read_exact(folder / "tiny.safetensors")
    pieces = {name: step for name, step in torch_steps(CONFIGS["tiny"], tensors).items() if name in ("analysis.2", "posterior.0")}
    graphs.write(tmp_path / "tiny.graphs", pieces, tensors)
    backends = OnnxSteps(tmp_path / "tiny.graphs", tensors), TorchSteps(pieces, torch.device("cpu"))
    random = np.random.default_rng(0)
    for rows, columns in ((1, 1), (1, 3), (8, 8), (33, 2), (70, 5)):
        planes = random.integers(-255, 256, (1, 2 * rows, 2 * columns, 3)).astype(np.float32)
        state, feature = random.integers(-9999, 9999, (2, 1, rows, columns, 16)).astype(np.float32)
        scale = random.integers(16, 48, (1, rows, columns, 2), dtype=np.int32)
        for name, arrays in (("analysis.2", (planes,)), ("posterior.0", (state, feature, scale))):
            found = [steps(name, *arrays) for steps in backends]
            assert all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(*found, strict=True))
    with pytest.raises(ModelError):
        OnnxSteps(tmp_path / "tiny.graphs", {})
    with pytest.raises(ModelError):
        OnnxSteps(tmp_path / "tiny.graphs", tensors | {"down.2.weight": tensors["down.2.weight"][1:]})("analysis.2", planes)


SCRIPT = """
import sys, numpy as np, torch
from hcodec.coders import small_chain as small
torch.set_num_threads(int(sys.argv[2]))
sys.stdout.write(small.encode_chain(list(np.load(sys.argv[1])), "tiny").hex())
"""


@pytest.mark.parametrize("threads, limits", [(2, {}), (1, {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"})])
def test_threads_and_instruction_sets_do_not_matter(threads, limits, tmp_path):
    pixels = make(4, 32, 32, gray=False)
    np.save(tmp_path / "pixels.npy", np.stack(pixels))
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "pixels.npy"), str(threads)]
    done = subprocess.run(command, env=os.environ | limits, capture_output=True, text=True, timeout=120, check=True)
    assert bytes.fromhex(done.stdout) == small_chain.encode_chain(pixels, "tiny")


@pytest.mark.parametrize("planes, shape", [(Colors(), (9, 9, 3)), (Grays(), (9, 9))])
def test_planes_hold_every_pixel(planes, shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    found = planes.split(pixels)
    assert found.dtype == np.int32
    assert np.array_equal(planes.merge(found), pixels)
    for plane in range(3):
        assert found[..., plane].min() >= planes.low[plane]
        assert found[..., plane].max() <= planes.high[plane]


def test_planes_of_no_picture_are_refused():
    with pytest.raises(FormatError):
        Colors().merge(np.full((1, 1, 3), 256, np.int32))
    with pytest.raises(FormatError):
        Grays().merge(np.array([[[1, 252, 252]]], np.int32))


def test_a_picture_whose_latents_are_zero_needs_no_values():
    given = registry.load_small("tiny").walk.descend((5, 5), lambda visit: np.zeros_like(visit.prior.scale), [])
    whole, table = given.given(np.zeros((5, 5, 3), np.int32), 0)
    assert whole.shape == table.shape == (5, 5)


def test_which_model_fits(monkeypatch):
    monkeypatch.setattr(registry, "names", lambda family: ["mnist-1", "small-1"])
    digit, thumbnail = picture.read(np.zeros((28, 28), np.uint8)), picture.read(np.zeros((32, 20, 3), np.uint8))
    assert small_chain.fits([digit, digit]) == "mnist-1"
    assert small_chain.fits([thumbnail, picture.read(np.zeros((64, 64, 3), np.uint8))]) == "small-1"
    large, gray = picture.read(np.zeros((65, 2, 3), np.uint8)), picture.read(np.zeros((9, 9), np.uint8))
    for others in ([], [digit, thumbnail], [large], [gray]):
        assert small_chain.fits(others) is None
    monkeypatch.setattr(registry, "names", lambda family: [])
    assert small_chain.fits([digit]) is None


@pytest.mark.parametrize("model", ["mnist-1", "small-1"])
def test_shipped_models(model, monkeypatch):
    path = registry.SMALL.files().get(model)
    if path is None:
        pytest.skip("not shipped")
    assert path.stat().st_size < 1 << 20
    assert path.with_suffix(".md").exists()
    gray, edge = model == "mnist-1", 28 if model == "mnist-1" else 32
    noise = np.random.default_rng(0).integers(0, 256, (edge, edge) if gray else (edge, edge, 3), dtype=np.uint8)
    pixels = [*make(6, edge, edge, gray), np.zeros_like(noise), noise, np.full_like(noise, 255), noise[:1, :1]]
    assert round_trip(pixels, model).num_direct < 8
    chains = {}
    for backend in ("onnx", "torch"):
        loaded = registry.load_file(path, registry.SMALL, Backend.chosen(backend, "cpu"))
        monkeypatch.setattr(registry, "load_small", lambda _, loaded=loaded: loaded)
        chains[backend] = small_chain.encode_chain(pixels, model)
    assert chains["onnx"] == chains["torch"]


def write_mnist(path, count):
    pixels = np.stack(make(count, 28, 28, gray=True))
    header = np.array([2051, count, 28, 28], dtype=">u4").tobytes()
    (path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + pixels.tobytes()))
    return pixels


def test_mnist_is_read(tmp_path):
    pixels = write_mnist(tmp_path, 3)
    assert np.array_equal(thumbnails.mnist(tmp_path, "train"), pixels)


def test_tiles_are_downscaled_parts():
    found = thumbnails.tiles([render(256, 260)])
    assert len(found) == 16 + 4 + 1
    assert {tile.shape for tile in found} == {(32, 32, 3)}


def test_training_and_export_run(tmp_path, monkeypatch):
    source = tmp_path / "picture.png"
    Image.fromarray(render(256, 256)).save(source)
    out, weights = tmp_path / "run", tmp_path / "chain" / "mine.safetensors"
    weights.parent.mkdir()
    arguments = ["--config", "tiny", "--data", str(source), "--out", str(out), "--minutes", "0.005", "--batch", "4"]
    done = CliRunner().invoke(train.main, [*arguments, "--valid", str(source)], catch_exceptions=False)
    assert done.exit_code == 0 and "validation" in done.output
    again = CliRunner().invoke(train.main, [*arguments, "--start", str(out / "checkpoint.pt")], catch_exceptions=False)
    assert again.exit_code == 0
    arguments = [str(out / "checkpoint.pt"), "--data", str(source), "--out", str(weights), "--count", "8"]
    monkeypatch.setattr(export, "torch_steps", lambda *model: {"check": torch_steps(*model)["check"]})  # a graph takes a second
    done = CliRunner().invoke(export.main, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    assert registry.SMALL.load(weights, Backend.chosen("onnx", "cpu")).walk.config == CONFIGS["tiny"]


def test_training_lowers_the_bound():
    torch.manual_seed(0)
    pixels = np.stack(make(16, 32, 32, gray=True))
    training = task.SmallTask(SmallNetwork(CONFIGS["tiny-gray"]), thumbnails.Digits(pixels, 0))
    trainer = Trainer(training, Recipe(minutes=1.0, batch=16, rate=3e-3, clip=2.0))
    before = sum(task.lower_bound(trainer.network, pixels))
    for _ in range(30):
        trainer.advance()
    assert sum(task.lower_bound(trainer.network, pixels)) < before
    assert trainer.skipped == 0


def test_the_benchmark_measures_a_chain(monkeypatch, tmp_path):
    pytest.importorskip("bjontegaard", reason="needs the extra `bench`")
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    from benchmarks.measurements import chains
    from benchmarks.reports import chains as report

    pixels = make(6, 32, 32, gray=False)
    monkeypatch.setattr(chains, "_sets", lambda *_: [("tests", "tiny", pixels)])
    monkeypatch.setattr(chains, "peer_bits", lambda _: {"raw": 8 * sum(p.size for p in pixels)})
    chains.run(tmp_path, tmp_path, tmp_path / "results")
    lines = report.parts(tmp_path / "results")[1].splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]][-1] == "raw"
    assert chains.sheet(pixels).shape == (32, 32 * 32, 3)
