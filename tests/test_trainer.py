"""The trainer, with the task of every family: resuming is exact, what is not finite does no harm, the end can be moved."""

from __future__ import annotations

import csv
import time

import numpy as np
import pytest
import torch
from conftest import TINY_STARTS, render

from hcodec import models
from hcodec.models.lossless.network import LosslessNetwork
from hcodec.models.lossless.samples import Crops, samples
from hcodec.models.lossless.task import LosslessTask, initialize
from hcodec.models.photo.config import CONFIGS
from hcodec.models.photo.initialize import initialize as initialize_photo
from hcodec.models.photo.model import torch_networks
from hcodec.models.photo.network import Network
from hcodec.models.photo.task import PhotoTask
from hcodec.models.small import thumbnails
from hcodec.models.small.config import CONFIGS as SMALL_CONFIGS
from hcodec.models.small.network import SmallNetwork
from hcodec.models.small.task import SmallTask
from hcodec.models.training import data
from hcodec.models.training.loop import MOST_SKIPPED, Recipe, Trainer, adamw
from hcodec.models.training.soap import Soap


@pytest.fixture(scope="module")
def pool():
    return samples(models.load("tiny"), [render(64, 64, i) for i in range(2)], 0, TINY_STARTS)


class Line:
    """The least that a family can bring: a line through points, fitted with noise."""

    def __init__(self, seed, make_optimizer=adamw):
        self.network, self.random, self.make_optimizer = torch.nn.Linear(20, 20), np.random.default_rng(seed), make_optimizer

    def batch(self, count):
        return torch.from_numpy(self.random.standard_normal((count, 20)).astype(np.float32))

    def loss(self, batch, progress):
        return (self.network(batch + torch.rand_like(batch)) - batch).square().mean(), {"progress": progress}

    def parameter_groups(self):
        return [{"params": [self.network.weight]}, {"params": [self.network.bias], "share": 0.5}]

    def optimizer(self, groups):
        return self.make_optimizer(groups)

    def validate(self, average):
        return f"{torch.rand(1).item():.3f}" if average is not self.network else "not the average"

    def state_dict(self):
        return {"random": self.random.bit_generator.state}

    def load_state_dict(self, state):
        self.random.bit_generator.state = state["random"]


def photo(seed, pool):
    crops = data.Crops([render(100, 140, i) for i in range(4)], 64, seed)
    network = Network(CONFIGS["tiny"])
    initialize_photo(network, data.to_float(crops.batch(8)))
    return PhotoTask(network, crops)


def lossless(seed, pool):
    model = models.load("tiny")
    network = LosslessNetwork(model.config.width[8], model.config.hidden[8], len(TINY_STARTS))
    initialize(network, torch_networks(model.path)[0], TINY_STARTS)
    return LosslessTask(network, Crops(pool, 32, seed), pool[:1])


def small(seed, pool):
    pixels = np.stack([render(32, 32, i)[..., 0] for i in range(16)])
    return SmallTask(SmallNetwork(SMALL_CONFIGS["tiny-gray"]), thumbnails.Digits(pixels, seed), pixels[:2])


def line(seed, pool):
    return Line(seed)


def line_with_soap(seed, pool):
    return Line(seed, lambda groups: Soap(groups, lr=0.0, refresh_every=3))


FAMILIES = pytest.mark.parametrize("family", [photo, lossless, small, line, line_with_soap])


def make(family, pool, seed=0, seconds=12.0):
    torch.manual_seed(seed)
    trainer = Trainer(family(seed, pool), Recipe(seconds / 60, batch=4, warmup_steps=5, checkpoint_minutes=4 / 60))
    trainer.saved = 0.0
    return trainer


def everything(trainer):
    """Returns every number of the training state, and the next random numbers."""
    tensors = [*trainer.network.state_dict().values(), *trainer.average.state_dict().values()]
    for moments in trainer.optimizer.state_dict()["state"].values():
        tensors += [torch.as_tensor(value) for _, value in sorted(moments.items())]
    batch = trainer.task.batch(1)
    return [*tensors, torch.rand(3), *(batch[:1] if isinstance(batch, tuple) else [batch])]


def cut_after(trainer, steps, monkeypatch):
    """Has the run interrupted in the step after so many."""
    loss, done = trainer.task.loss, []

    def interrupted(batch, progress):
        done.append(None)
        if len(done) > steps:
            raise KeyboardInterrupt
        return loss(batch, progress)

    monkeypatch.setattr(trainer.task, "loss", interrupted)


# Resuming


@FAMILIES
def test_a_run_that_was_cut_off_and_resumed_ends_like_one_that_was_not(family, pool, clock, tmp_path, monkeypatch):
    folders = [tmp_path / name for name in ("straight", "cut")]
    for folder in folders:
        folder.mkdir()
    straight = make(family, pool)
    straight.run(folders[0])
    wanted = everything(straight)

    cut = make(family, pool)
    cut_after(cut, 8, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        cut.run(folders[1])
    assert torch.load(folders[1] / "checkpoint.pt", weights_only=True)["progress"][0] == 5
    resumed = make(family, pool, seed=77)  # other weights, other random numbers: all must come from the checkpoint
    resumed.restore(folders[1] / "checkpoint.pt")
    resumed.run(folders[1])
    assert (resumed.step, resumed.seconds, resumed.skipped) == (straight.step, straight.seconds, straight.skipped) == (12, 12, 0)
    found = everything(resumed)
    assert len(found) == len(wanted) and all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
    assert not list(tmp_path.rglob("*.tmp"))
    curves = [(folder / "curve.csv").read_text() if family is not photo else "" for folder in folders]
    assert curves[0] == curves[1]


def test_validation_draws_the_same_numbers_every_time_and_training_keeps_its_own(pool):
    trainer = make(line, pool)
    state = torch.get_rng_state()
    assert trainer.validate() == trainer.validate() != "not the average"
    assert torch.equal(torch.get_rng_state(), state)


def test_a_checkpoint_of_something_else_is_refused_in_one_line(pool, tmp_path):
    import click

    from hcodec.models.training.script import _restore

    torch.save({"average": {}}, tmp_path / "checkpoint.pt")
    with pytest.raises(click.UsageError, match="another version"):
        _restore(make(line, pool), tmp_path / "checkpoint.pt")


# What is not finite


@FAMILIES
def test_a_gradient_that_is_not_finite_is_skipped_and_does_no_harm(family, pool, clock):
    trainer = make(family, pool)
    trainer.advance()
    before = [tensor.clone() for tensor in trainer.network.state_dict().values()]
    trainer._update(next(trainer.network.parameters()).sum() * float("nan"))
    assert trainer.skipped == 1
    assert all(torch.equal(new, old) for new, old in zip(trainer.network.state_dict().values(), before, strict=True))
    assert trainer.advance()["skipped"] == 1 and trainer.skipped_in_a_row == 0


@FAMILIES
def test_training_goes_back_to_its_average_when_no_step_is_finite_any_more(family, pool, clock):
    """Weights from which every loss is infinite would be skipped for ever: a run was lost to that."""
    trainer = make(family, pool, seconds=60.0)
    for _ in range(3):
        trainer.advance()
    optimizer = trainer.optimizer
    for parameter in trainer.network.parameters():
        parameter.data.fill_(float("nan"))
    for _ in range(MOST_SKIPPED):
        trainer.advance()
    assert trainer.skipped == MOST_SKIPPED and trainer.optimizer is not optimizer
    assert [group["share"] for group in trainer.optimizer.param_groups] == [group["share"] for group in optimizer.param_groups]
    for found, wanted in zip(trainer.network.parameters(), trainer.average.parameters(), strict=True):
        assert torch.equal(found, wanted)
    for _ in range(3):
        trainer.advance()
    assert trainer.skipped == MOST_SKIPPED


def test_unusually_large_gradients_are_skipped_where_a_recipe_says_so(pool, clock):
    torch.manual_seed(0)
    trainer = Trainer(Line(0), Recipe(1.0, batch=4, clip=float("inf"), skip=20.0))
    for _ in range(5):
        trainer.advance()
    usual, before = trainer.usual, trainer.network.weight.detach().clone()
    trainer._update(trainer.network.weight.sum() * 1e3)
    assert trainer.skipped == 1 and trainer.usual == usual > 0 and torch.equal(trainer.network.weight, before)
    trainer.advance()
    assert trainer.skipped == 1 and not torch.equal(trainer.network.weight, before)


# Schedule


def test_every_group_goes_at_its_share_of_the_rate(pool, clock):
    trainer = make(line, pool)
    trainer.advance()
    assert [group["lr"] for group in trainer.optimizer.param_groups] == pytest.approx([2e-4, 1e-4])


def test_the_deadline_can_be_moved_and_the_rate_follows(pool, clock):
    trainer = make(line, pool, seconds=60.0)
    trainer.step, trainer.seconds = 100, 45.0
    late = trainer.rate()
    trainer.move_deadline(45.0)
    assert trainer.progress == 0.5 and trainer.rate() > late
    trainer.move_deadline(0.0)
    assert trainer.progress == 1
    trainer.move_deadline(-50.0)
    assert trainer.progress == 1


def test_a_file_moves_the_deadline_of_a_run_that_goes_on(pool, clock, tmp_path):
    (tmp_path / "deadline").write_text(str(time.time() - 1000))  # of a run before: says nothing
    trainer = make(line, pool, seconds=8.0)
    trainer.run(tmp_path)
    assert trainer.step == 8
    trainer = make(line, pool, seconds=1e6)
    loss = trainer.task.loss

    def move(batch, progress):
        if trainer.step == 3:
            (tmp_path / "deadline").write_text("half wri")
        if trainer.step == 6:
            (tmp_path / "deadline").write_text(str(time.time() - 1))
        return loss(batch, progress)

    trainer.task.loss = move
    trainer.run(tmp_path)
    assert trainer.step == 7 and (tmp_path / "checkpoint.pt").exists()


# What is written


def test_rows_and_curves_are_written(pool, clock, tmp_path, capsys):
    trainer = make(line, pool, seconds=41.0)
    trainer.run(tmp_path)
    rows = list(csv.DictReader((tmp_path / "log.csv").open()))
    assert [row["step"] for row in rows] == ["20", "40"] and float(rows[1]["loss"]) < float(rows[0]["loss"])
    assert set(rows[0]) == {"step", "seconds", "loss", "norm", "skipped", "progress"}
    curve = [row.split(",") for row in (tmp_path / "curve.csv").read_text().splitlines()]
    assert [int(step) for step, _ in curve] == [*range(5, 41, 5), 41]
    assert f"validation at step 41: {curve[-1][1]}" in capsys.readouterr().out
