"""The trainer of every family: it takes steps, keeps the moving average, saves and resumes; a family brings its `Task`.

Room: training. `script.py` starts it from a command line, `log.py` writes down what it says. It knows neither pictures nor
networks: what a batch holds, what a loss counts and which optimizer is used is the task's business.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import click
import torch
from torch import Tensor, nn

from hcodec.models.training import parts, workers
from hcodec.models.training.graph import Capturable, Capture, CapturedStep, Guard, Scored
from hcodec.models.training.log import Deadline, Log
from hcodec.models.training.soap import Soap

MOST_SKIPPED = 10  # steps in a row whose gradient is not finite, before training goes back to the moving average
_USUAL = 0.98  # what the usual norm of a gradient keeps in a step
_LOWEST = 0.01  # of the learning rate is left when the budget is spent
_LAST_RESTART = 0.7  # share of the budget after which no unit is started anew: it could not learn enough any more
_FIRST_CHECKPOINT = 60.0  # seconds until the first one; the others come every `checkpoint_minutes`
_WARM = 20  # plain steps before one is captured
_LOOK_EVERY = 20  # captured steps between two looks at what was not finite
_GUARDED = 45.0  # seconds after which captured steps must show that they do no harm


class Task(Protocol):
    """What a family brings: a network, its batches and its loss."""

    @property
    def network(self) -> nn.Module:
        """The network to train, on the device where it is trained. Its `config`, if a dataclass, goes into checkpoints."""

    def batch(self, count: int) -> Any:
        """Returns `count` random examples, in whatever form `loss` takes."""

    def loss(self, batch: Any, progress: float) -> tuple[Tensor, dict[str, Any]]:
        """Returns the loss of a batch, a scalar, and numbers to log; progress: share of the budget that is spent."""

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Returns groups of "params", all parameters once, and the "share" of the learning rate at which each goes."""

    def optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """Returns a fresh optimizer of these groups; the trainer sets its learning rates."""

    def validate(self, average: Any) -> str:
        """Returns one line on how good the averaged network is; an empty one where there is nothing to validate on.

        What it draws from torch's generators does not disturb training.
        """

    def state_dict(self) -> dict[str, Any]:
        """Returns the state of the task's own random numbers: tensors and plain Python values."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over what `state_dict` returned."""


@runtime_checkable
class RestartsUnits(Protocol):
    """A task that can start dead hidden units anew."""

    def restart_units(self, average: Any) -> int:
        """Starts dead units of the network and of its average anew; returns how many there were."""


@dataclass(frozen=True)
class Recipe:
    """How to train: the part that has nothing to do with the family."""

    minutes: float  # of steps, in all
    batch: int = 16
    rate: float = 1e-3  # the highest learning rate
    warmup_steps: int = 100
    ema: float = 0.998
    clip: float = 5.0  # the largest norm of a gradient
    skip: float = math.inf  # times the usual norm: steps with a larger gradient are skipped (Child 2021, arXiv 2011.10650)
    checkpoint_minutes: float = 3.0
    part_megabytes: float = 0.0  # size of files that hold the averaged weights alone, beside each checkpoint; 0 is none


def adamw(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """Returns the optimizer of short runs."""
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.95), weight_decay=0.0)


class Trainer:
    """The training state: network, its moving average, optimizer, random numbers, time spent."""

    def __init__(
        self, task: Task, recipe: Recipe, capture: Capture | None = None, clock: Callable[[], float] | None = None
    ) -> None:
        """capture: makes one graph of a step, where there is a GPU; see `graph.capture`. clock: counts the seconds of the budget;
        None: the wall's.
        """
        self.clock = clock or time.perf_counter
        self.task, self.recipe, self.network = task, recipe, task.network
        self.average = copy.deepcopy(task.network).requires_grad_(False)
        self.optimizer = self._new_optimizer()
        self.usual = 0.0  # norm of a gradient; 0 while unknown
        self.budget = 60 * recipe.minutes  # seconds; `move_deadline` changes it
        self.step, self.seconds, self.skipped, self.skipped_in_a_row = 0, 0.0, 0, 0
        self.saved = _FIRST_CHECKPOINT - 60 * recipe.checkpoint_minutes  # in seconds of training
        captures = isinstance(task, Capturable) and task.is_static() and math.isinf(recipe.skip)  # a graph only skips infinities
        self.capture = capture if captures else None
        self.captured: CapturedStep | None = None
        self.num_plain, self.captured_at = 0, 0.0  # plain steps in this process; seconds of training when a step was captured

    @property
    def progress(self) -> float:
        """The share of the budget that is spent."""
        return min(1.0, self.seconds / self.budget) if self.budget > 0 else 1.0

    def move_deadline(self, seconds_left: float) -> None:
        """Lets training end in so many seconds from now; the learning rate follows."""
        self.budget = self.seconds + seconds_left

    # One step

    def advance(self) -> dict[str, Any]:
        """Takes one step and returns what is worth logging."""
        start = self.clock()
        batch = self.task.batch(self.recipe.batch)
        if self.capture and not self.captured and self.num_plain >= _WARM:
            self._try_capture(self.capture, batch)
        if self.captured and self.captured.fits(batch):
            values = self._captured_step(self.captured, batch)
        else:
            values = self._plain_step(batch)
        self.seconds += self.clock() - start
        self.step += 1
        return {"step": self.step, "seconds": self.seconds} | values | {"skipped": self.skipped}

    def rate(self) -> float:
        """Returns the learning rate of the next step: it warms up, then falls with the cosine of progress."""
        warm = min(1.0, (self.step + 1) / self.recipe.warmup_steps)
        return self.recipe.rate * warm * (_LOWEST + (1 - _LOWEST) * 0.5 * (1 + math.cos(math.pi * self.progress)))

    def _plain_step(self, batch: Any) -> dict[str, Any]:
        self.num_plain += 1
        loss, values = self.task.loss(batch, self.progress)
        return {"loss": loss.detach(), "norm": self._update(loss)} | values

    def _update(self, loss: Tensor) -> float:
        """Steps the optimizer unless the gradient is not finite or unusually large; returns the gradient's norm."""
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip).item()
        if math.isfinite(norm) and not (self.usual and norm > self.recipe.skip * self.usual):
            self.usual = _USUAL * self.usual + (1 - _USUAL) * norm if self.usual else norm
            self._take_step()
        else:
            self._skip_step()
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    def _take_step(self) -> None:
        for group in self.optimizer.param_groups:
            rate = self.rate() * group["share"]
            group["lr"] = group["lr"].fill_(rate) if isinstance(group["lr"], Tensor) else rate  # a captured step keeps its tensor
        self.optimizer.step()
        with torch.no_grad():  # else the average would remember all steps
            torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), self._share())
        self.skipped_in_a_row = 0

    def _share(self) -> float:
        """Returns how far of its way to the network the average goes in a step: far at first."""
        return 1 - min(self.recipe.ema, self.step / (self.step + 10))

    def _skip_step(self) -> None:
        """Counts; after too many in a row, takes the averaged weights: from some weights no loss is finite ever again."""
        self.skipped, self.skipped_in_a_row = self.skipped + 1, self.skipped_in_a_row + 1
        if self.skipped_in_a_row >= MOST_SKIPPED:
            self._go_on_from(self.average.state_dict())

    def _go_on_from(self, weights: dict[str, Any]) -> None:
        """Takes weights for the network, with a new optimizer and plain steps from here on."""
        self.network.load_state_dict(weights)
        self.optimizer = self._new_optimizer()
        self.skipped_in_a_row, self.usual, self.capture, self.captured = 0, 0.0, None, None

    def _new_optimizer(self) -> torch.optim.Optimizer:
        return self.task.optimizer([{"share": 1.0} | group for group in self.task.parameter_groups()])

    # Captured steps

    def _try_capture(self, capture: Capture, batch: Any) -> None:
        """Has steps captured from here on if the captured one does what the plain one does."""
        if not isinstance(self.optimizer, Soap):
            self.capture = None
            return
        networks, now = (self.network, self.average), self.progress
        try:
            captured = CapturedStep(
                lambda batch: self.task.loss(batch, now), networks, self.optimizer, self.recipe.clip, batch, capture
            )
            batches = [batch, self.task.batch(self.recipe.batch)]
            batches = [each for each in batches if captured.fits(each)]
            problem = captured.difference(lambda each: self._plain_step(each)["loss"], batches, self.rate(), self._share())
        except RuntimeError as error:
            problem = str(error)
        if problem:
            click.echo(f"\nno captured steps: {problem}")
            self.capture = None
        else:
            click.echo("\nsteps are captured from here on")
            self.captured, self.captured_at = captured, self.seconds

    def _captured_step(self, captured: CapturedStep, batch: Any) -> dict[str, Any]:
        values = captured(batch, self.rate(), self._share())
        if self.step % _LOOK_EVERY == 0:
            skipped, in_a_row = captured.take_skipped()
            self.skipped += skipped
            if in_a_row >= MOST_SKIPPED:
                self._go_on_from(self.average.state_dict())
        return values

    # A whole run

    def run(self, folder: Path) -> None:
        """Trains until the budget is spent. The first worker alone writes: checkpoint.pt, log.csv, curve.csv."""
        log, deadline = Log(folder) if workers.rank() == 0 else None, Deadline(folder / "deadline")
        guard = Guard(self._score, self.average) if self.capture else None
        while self.progress < 1:
            values = [self.advance() for _ in range(workers.steps_apart())][-1]
            self._synchronize(deadline)
            if log:
                log.step(self.progress, workers.count() * self.step * self.recipe.batch / self.seconds, values)
            if self.seconds - self.saved > 60 * self.recipe.checkpoint_minutes or self.progress >= 1:
                self._checkpoint(folder, log)
            if guard and self.captured and self.seconds > self.captured_at + _GUARDED:
                self._heed(guard)
                guard = None

    def _heed(self, guard: Guard) -> None:
        """Starts again with plain steps if captured ones have made the network worse."""
        problem = guard.tells()
        if problem:
            click.echo(f"\nstarting again without captured steps: {problem}")
            self.average.load_state_dict(guard.weights)
            self._go_on_from(guard.weights)

    def _synchronize(self, deadline: Deadline) -> None:
        """Takes the mean of all workers' weights, averages and times; the first one says when to end."""
        workers.average(self._weights())
        seconds, budget = (torch.tensor([value], dtype=torch.float64) for value in (self.seconds, self.budget))
        workers.average([seconds])
        self.seconds = seconds.item()
        left = deadline.seconds_left()
        if left is not None:
            budget.fill_(self.seconds + left)
        workers.broadcast([budget])
        self.budget = budget.item()

    def _checkpoint(self, folder: Path, log: Log | None) -> None:
        self.saved = self.seconds
        if log and isinstance(self.task, RestartsUnits) and self.progress < _LAST_RESTART:
            log.say(f"{self.task.restart_units(self.average)} dead units started anew")
        self.broadcast()
        self.save(folder / "checkpoint.pt")
        if log and self.recipe.part_megabytes:
            parts.write(self.average.state_dict(), folder, self.recipe.part_megabytes)
        if log:
            log.validation(self.step, self.validate())

    def validate(self) -> str:
        """Returns the task's line on the averaged network; the same random numbers every time, and training keeps its own."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return self.task.validate(self.average)

    def _score(self) -> float | None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return self.task.score(self.average) if isinstance(self.task, Scored) else None

    def broadcast(self) -> None:
        """Gives the weights and averages of the first worker to all."""
        workers.broadcast(self._weights())

    def _weights(self) -> list[Tensor]:
        return [*self.network.state_dict().values(), *self.average.state_dict().values()]

    # Checkpoints

    def save(self, path: Path) -> None:
        """Writes everything that exact resume needs, atomically. All workers call it, the first one writes."""
        random = workers.gather(self._random_state())
        config = getattr(self.network, "config", None)
        state = {
            "config": asdict(config) if dataclasses.is_dataclass(config) and not isinstance(config, type) else {},
            "recipe": asdict(self.recipe),
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": random,
            "progress": (self.step, self.seconds, self.skipped, self.skipped_in_a_row, self.saved, self.usual),
        }
        if workers.rank() == 0:
            torch.save(state, path.with_suffix(".tmp"))
            path.with_suffix(".tmp").replace(path)

    def restore(self, path: Path) -> None:
        """Continues where `save` left off; a worker that was not there then goes on with random numbers of its own.

        With several workers all take the optimizer of the first one, so only a worker alone continues exactly.
        """
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds, self.skipped, self.skipped_in_a_row, self.saved, self.usual = state["progress"]
        if workers.rank() < len(state["random"]):
            self._restore_random(state["random"][workers.rank()])

    def _random_state(self) -> dict[str, Any]:
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        return {"torch": torch.get_rng_state(), "cuda": cuda, "task": self.task.state_dict()}

    def _restore_random(self, state: dict[str, Any]) -> None:
        torch.set_rng_state(state["torch"])
        if len(state["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["cuda"])
        self.task.load_state_dict(state["task"])
