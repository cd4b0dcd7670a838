"""Training the lossless layer on a few rendered pictures: it learns, and what it exports is lossless."""

from __future__ import annotations

import json
from itertools import islice

import numpy as np
import pytest
import torch
from conftest import TINY_STARTS, render
from PIL import Image
from test_tiles import prefixes
from test_train import only, run, write_shard

import hcodec
from hcodec import models
from hcodec.coding.tables import PixelTables
from hcodec.models import registry, weights_file
from hcodec.models.blocks import depth_to_space
from hcodec.models.integer.products import STATE_UNIT
from hcodec.models.lossless import export
from hcodec.models.lossless.config import ORDER
from hcodec.models.lossless.integer import IntegerLossless
from hcodec.models.lossless.network import LosslessNetwork
from hcodec.models.lossless.samples import Crops, samples
from hcodec.models.lossless.steps import steps
from hcodec.models.lossless.task import LosslessTask, initialize, start_from
from hcodec.models.lossless.train import main
from hcodec.models.lossless.walk import following, walk
from hcodec.models.photo.model import torch_networks
from hcodec.models.runtime.onnx_steps import OnnxSteps
from hcodec.models.runtime.torch_steps import TorchSteps
from hcodec.models.tables import likelihood
from hcodec.models.training.loop import Recipe, Trainer

pytestmark = pytest.mark.usefixtures("normal_denormals")


@pytest.fixture(scope="module")
def pool():
    return samples(models.load("tiny"), [render(64, 128, i) for i in range(3)], 0, TINY_STARTS)


def make_trainer(pool, seed=0):
    torch.manual_seed(seed)
    model = models.load("tiny")
    network = LosslessNetwork(model.config.width[8], model.config.hidden[8], len(TINY_STARTS))
    initialize(network, torch_networks(model.path)[0], TINY_STARTS)
    return Trainer(LosslessTask(network, Crops(pool, 32, seed)), Recipe(1.0, batch=4, rate=2e-3, clip=1.0))


def test_training_starts_from_about_the_picture_of_the_base():
    """Its first maps are what the base's transform makes of a state, without corrections at stride 4, which it has not."""
    model, pixels = models.load("tiny"), render(64, 96, 5)
    base, _ = torch_networks(model.path)
    prefix = next(islice(prefixes(pixels), 2, None))
    torch.manual_seed(0)
    network = LosslessNetwork(model.config.width[8], model.config.hidden[8], len(TINY_STARTS)).requires_grad_(False)
    initialize(network, base, TINY_STARTS)
    assert torch.equal(network.embed, base.synthesis.embed[[1, 2]])
    for value in base.synthesis.fine_out.parameters():
        value.zero_()
    finest = torch.from_numpy(prefix.at_finest()) * STATE_UNIT
    weights = torch.tensor([[0.0, 0.0, 1.0]])
    wanted = base.synthesize(finest, weights, 64, 96).permute(0, 2, 3, 1)
    shown = (depth_to_space(network.show(network.block(finest + network.embed[1])), 8)[..., list(ORDER)] + 127.5) / 255
    assert 255 * (shown - wanted).abs().mean() < 0.1  # green and red have changed places again


def test_samples_are_turned_pictures_with_the_states_that_the_codec_has(pool):
    assert {tuple(sample.pixels.shape) for sample in pool} <= {(64, 128, 3), (128, 64, 3)}
    for sample in pool:
        height, width = sample.pixels.shape[:2]
        assert sample.states.shape == (2, height // 8, width // 8, 192)
        prefix = next(islice(prefixes(sample.pixels.numpy()[..., [1, 0, 2]]), 1, None))
        assert (prefix.at_finest()[0] / 2**12 == sample.states[0].numpy()).all()


def test_a_few_steps_lower_the_bits(pool, clock):
    trainer = make_trainer(pool)
    states, x, starts = trainer.task.batch(8)

    @torch.no_grad()
    def loss():
        torch.manual_seed(1)
        return sum(value.sum().item() for value in trainer.network(states, x, starts).values())

    before = loss()
    for _ in range(15):
        values = trainer.advance()
    assert loss() < 0.98 * before
    assert set(values) >= {"step", "norm", "4", "2", "1"} and trainer.skipped == 0


def test_the_integers_follow_the_float_network(pool):
    """Bits of whole pictures by the float network and by integers and tables."""
    trainer = make_trainer(pool)
    for _ in range(5):
        trainer.advance()
    network = trainer.network.requires_grad_(False)
    states, x, starts = Crops(pool, 64, 0).batch(4)
    tensors = export.export_exact(network, states, x, starts)
    with torch.no_grad():
        wanted = network(states[:1], x[:1], starts[:1])
    found = dict.fromkeys((4, 2, 1), 0.0)
    own = TorchSteps(steps(IntegerLossless(tensors)), torch.device("cpu"))
    sites = walk(own, tensors["embed"][starts[0]].float().numpy(), (states[:1] * 2**12).round().numpy())
    site, tables = next(sites, None), PixelTables(likelihood.make())
    while site is not None:
        values = x[0].numpy()[site.where]
        where = likelihood.locate(*(t.astype(np.int32) for t in (site.mean, site.scale, site.shape)))
        found[site.pitch] += tables.estimate(values.astype(np.int32), *where)
        site = following(sites, values)
    for pitch, bits in found.items():
        assert bits == pytest.approx(wanted[str(pitch)].item(), rel=0.05)  # the shape has four steps only


def bits_of(trainer, pool):
    """Returns bits of fixed pictures by the moving average."""
    states, x, starts = Crops(pool, 64, 0).batch(4)
    with torch.no_grad():
        return sum(value.sum().item() for value in trainer.average(states, x, starts).values())


def test_training_starts_from_a_checkpoint_or_from_a_weights_file(pool, tiny, tmp_path):
    trained = make_trainer(pool)
    for _ in range(20):
        trained.advance()
    trained.save(tmp_path / "checkpoint.pt")
    states, x, starts = Crops(pool, 64, 0).batch(4)
    tensors = export.export_exact(trained.average, states, x, starts)
    weights_file.save_exact(tmp_path / "last.safetensors", {}, {name: tensor.numpy() for name, tensor in tensors.items()})
    wanted = bits_of(trained, pool)
    assert bits_of(make_trainer(pool, seed=3), pool) > 1.02 * wanted
    for start in ("checkpoint.pt", "last.safetensors"):
        fresh = make_trainer(pool, seed=3)
        start_from(fresh.average, tmp_path / start)
        assert bits_of(fresh, pool) == pytest.approx(wanted, rel=0.002), start


def test_train_export_encode_decode(tiny, tmp_path, monkeypatch):
    write_shard(tmp_path / "shard.tar", [render(130, 140, i) for i in range(2)])
    Image.fromarray(render(64, 64, 9)).save(tmp_path / "valid.png")
    levels = ("--base", "tiny", "--level", 2, "--level", 3, "--data", tmp_path / "shard.tar")
    common = (*levels, "--valid", tmp_path / "valid.png", "--out", tmp_path / "run", "--crop", 64, "--batch", 4)
    shown = run(main, *common, "--minutes", 0.01, "--start", tiny.parent / "lossless" / tiny.name)
    assert "validation at step" in shown
    steps = int(shown.rpartition(" steps in ")[0].rsplit(maxsplit=1)[-1])
    shown = run(main, *common, "--minutes", 0.02)  # a longer budget: the run goes on
    assert int(shown.rpartition(" steps in ")[0].rsplit(maxsplit=1)[-1]) > steps > 0

    (tmp_path / "lossless").mkdir()
    out = tmp_path / "lossless" / "mine.safetensors"
    only(monkeypatch, export, "check", "begin")
    shown = run(export.main, tmp_path / "run" / "checkpoint.pt", *levels, "--out", out, "--count", 2)
    assert "all products are certified exact" in shown
    fingerprint = json.loads(shown.splitlines()[-1])["fingerprint"]
    monkeypatch.setenv("HCODEC_MODELS", f"{tmp_path}:{tiny.parent}")
    base = models.load("tiny", backend="torch")
    found = registry.load_lossless(base.fingerprint, backend=base.backend)
    assert found.fingerprint.hex() == fingerprint and found.starts == (2, 3)
    pixels = render(40, 60, 4)
    data = hcodec.encode(pixels, lossless=True, model="tiny", backend="torch")
    assert (np.asarray(hcodec.decode(data, backend="torch")) == pixels).all()

    runs = found.steps, OnnxSteps(out.with_suffix(".graphs"), weights_file.read_exact(out)[1])
    state = np.random.default_rng(0).integers(-(2**14), 2**14, (1, 3, 5, 192)).astype(np.float32)
    for one, other in zip(*(own("begin", state, found.embed[0]) for own in runs), strict=True):
        assert (one == other).all()
