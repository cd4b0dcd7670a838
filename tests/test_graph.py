"""Captured steps, with plain Python in place of a GPU: they do what plain steps do, or they are given up."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_trainer import Line, line_with_soap, photo

from hcodec.models.training import graph
from hcodec.models.training.loop import MOST_SKIPPED, Recipe, Trainer
from hcodec.models.training.soap import Soap


class StaticLine(Line):
    """A line whose noise comes with the batch."""

    def __init__(self, seed):
        super().__init__(seed, lambda groups: Soap(groups, lr=0.0, refresh_every=3, measure_every=1))
        self.scores = []

    def batch(self, count):
        x = super().batch(count)
        return {"x": x, "noise": [torch.rand_like(x)], "power": 2}

    def loss(self, batch, progress):
        x = batch["x"]
        error = (self.network(x + batch["noise"][0]) - x).abs() ** batch["power"]
        return error.mean(), {"largest": error.detach().max()}

    def is_static(self):
        return True

    def score(self, average):
        return self.scores.pop(0) if self.scores else None


def itself(step):
    """Captures a step by doing it again."""
    step()
    return step


def make(task, capture, seconds=1e6):
    return Trainer(task, Recipe(seconds / 60, batch=8, rate=1e-2, warmup_steps=5), capture)


def run(trainer, steps):
    torch.manual_seed(1)
    return [trainer.advance() for _ in range(steps)]


def test_steps_are_captured_after_a_few_plain_ones(clock, capsys):
    trainer = make(StaticLine(0), itself)
    values = run(trainer, 20)[-1]
    assert trainer.captured is None
    again = run(trainer, 20)[-1]
    assert "steps are captured from here on" in capsys.readouterr().out and trainer.captured
    assert set(again) == set(values) == {"step", "seconds", "loss", "norm", "largest", "skipped"} and again["step"] == 40
    assert again["loss"] < values["loss"]


def test_the_weights_end_where_plain_steps_take_them(clock):
    """Step by step on the same batches: first both plain, then one of them captured."""
    torch.manual_seed(0)
    plain, captured = make(StaticLine(0), None), make(StaticLine(0), itself)
    captured.network.load_state_dict(plain.network.state_dict())
    captured.average.load_state_dict(plain.network.state_dict())
    batches = [plain.task.batch(8) for _ in range(60)]
    for trainer in (plain, captured):
        source = iter(batches)
        trainer.task.batch = lambda count, source=source: next(source)
        for _ in range(20):
            trainer.advance()
        if trainer is captured:
            trainer.task.batch = lambda count, first=batches[20]: first  # what the check looks at does not count
            trainer._try_capture(trainer.capture, batches[20])
            assert trainer.captured
            trainer.task.batch = lambda count, source=source: next(source)
        for _ in range(30):
            trainer.advance()
    for one, other in zip(
        [*captured.network.parameters(), *captured.average.parameters()],
        [*plain.network.parameters(), *plain.average.parameters()],
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def nothing_again(step):
    """A graph that does nothing when replayed."""
    step()
    return lambda: None


def stale(step):
    """A graph that sees the batch with which it was captured for ever."""
    captured = step.__self__
    inputs = [leaf.clone() if isinstance(leaf, torch.Tensor) else leaf for leaf in captured.inputs]

    def replay():
        captured.inputs, live = inputs, captured.inputs
        step()
        captured.inputs = live

    return replay


def broken(step):
    raise RuntimeError("no such memory")


@pytest.mark.parametrize("capture, message", [(nothing_again, "its "), (stale, "its loss is"), (broken, "no such memory")])
def test_a_graph_that_does_something_else_is_given_up(capture, message, clock, capsys):
    trainer = make(StaticLine(0), capture)
    losses = [values["loss"].item() for values in run(trainer, 60)]
    assert trainer.captured is None and trainer.capture is None and trainer.skipped == 0
    assert f"no captured steps: {message}" in capsys.readouterr().out
    assert np.mean(losses[-10:]) < np.mean(losses[:10])


def test_noise_drawn_inside_a_step_is_noticed(clock, capsys):
    """Random numbers of a graph need not be new at every replay; the check sees that two steps differ."""
    torch.manual_seed(0)
    task = line_with_soap(0, None)
    task.is_static = lambda: True
    trainer = make(task, itself)
    run(trainer, 25)
    assert trainer.captured is None and "no captured steps: its loss is" in capsys.readouterr().out


def test_a_batch_of_another_kind_takes_a_plain_step(clock):
    trainer = make(StaticLine(0), itself)
    run(trainer, 30)
    batch, plain = trainer.task.batch(8), trainer.num_plain
    assert trainer.captured.fits(batch) and not trainer.captured.fits(trainer.task.batch(7))
    assert not trainer.captured.fits(batch | {"power": 4}) and not trainer.captured.fits([batch])
    trainer.task.batch = lambda count: batch | {"power": 4}
    trainer.advance()
    assert trainer.num_plain == plain + 1 and all(parameter.grad is None for parameter in trainer.network.parameters())


def test_captured_steps_that_are_not_finite_change_nothing_and_lead_back(clock):
    trainer = make(StaticLine(0), itself)
    run(trainer, 30)
    before = [tensor.clone() for tensor in (*trainer.network.parameters(), *trainer.average.parameters())]
    batch = trainer.task.batch
    trainer.task.batch = lambda count: batch(count) | {"x": torch.full((8, 20), float("inf"))}
    for _ in range(MOST_SKIPPED - 2):
        trainer.advance()
    after = [*trainer.network.parameters(), *trainer.average.parameters()]
    assert all(torch.equal(one, other) for one, other in zip(after, before, strict=True))
    trainer.task.batch = batch
    for parameter in trainer.network.parameters():
        parameter.data.fill_(float("nan"))
    for _ in range(60):
        trainer.advance()
    assert trainer.captured is None and trainer.skipped > MOST_SKIPPED
    assert all(parameter.isfinite().all() for parameter in trainer.network.parameters())


def test_a_run_that_gets_worse_starts_again_with_plain_steps(clock, tmp_path, capsys):
    for scores, again in (([1.0, 1.02], False), ([1.0, 1.04], True)):
        task = StaticLine(0)
        task.scores = scores
        trainer = make(task, itself, seconds=80.0)
        trainer.run(tmp_path)
        assert (trainer.captured is None) == again and not task.scores
        shown = capsys.readouterr().out
        assert ("starting again without captured steps: validation is at 1.04 after 1 at the start" in shown) == again


def test_photo_can_be_captured(clock, capsys):
    torch.manual_seed(0)
    trainer = make(photo(0, None), itself)
    trainer.optimizer.param_groups[0]["measure_every"] = 1
    trainer.recipe = Recipe(1e6, batch=4, warmup_steps=5)
    trainer.num_plain = 20
    for _ in range(3):
        trainer._plain_step(trainer.task.batch(4))
        trainer.step += 1
    trainer.task.draw_exits = lambda count: [3, 2, 2, 1]
    trainer._try_capture(trainer.capture, trainer.task.batch(4))
    assert trainer.captured, capsys.readouterr().out
    norm = trainer.advance()["norm"]
    assert isinstance(norm, torch.Tensor) and norm.isfinite() and trainer.num_plain == 25


def test_only_tasks_that_say_so_are_captured():
    assert make(line_with_soap(0, None), itself).capture is None
    assert isinstance(StaticLine(0), graph.Capturable) and make(StaticLine(0), itself).capture is itself


class NoHost(torch.overrides.TorchFunctionMode):
    """Refuses what copies numbers from the host's memory or waits for them, as a GPU does while it captures."""

    REFUSED = (torch.tensor, torch.nn.functional.one_hot, torch.Tensor.item, torch.Tensor.tolist, torch.Tensor.__bool__)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        assert func not in self.REFUSED and "rand" not in getattr(func, "__name__", ""), func
        assert func is not torch.where or all(isinstance(value, torch.Tensor) for value in args), "where copies plain numbers"
        return func(*args, **kwargs or {})


def test_a_step_of_photo_needs_nothing_from_the_host(clock):
    torch.manual_seed(0)
    trainer = make(photo(0, None), itself)
    for _ in range(3):
        trainer._plain_step(trainer.task.batch(4))

    def watched(step):
        with NoHost():
            step()
        return step

    networks = trainer.network, trainer.average
    graph.CapturedStep(lambda x: trainer.task.loss(x, 0.0), networks, trainer.optimizer, 5.0, trainer.task.batch(4), watched)
    with pytest.raises(AssertionError, match="rand"):
        watched(lambda: torch.rand(1))
    with pytest.raises(AssertionError, match="where"):
        watched(lambda: torch.where(torch.ones(1) > 0, torch.ones(1), 0.0))
