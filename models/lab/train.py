"""Trains a family: the task of the lab, and the loop that runs it.

Room: training. A task has a network, batches, a loss and parameter groups; the loop does the rest.
"""

from __future__ import annotations

import copy
import csv
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from hcodec.models.lab import model_file, objective
from hcodec.models.lab.data import DataSet
from hcodec.models.lab.families import entry
from hcodec.models.lab.objective import Options
from hcodec.models.lab.protocol import Family

RATE = 3e-3
_AVERAGE = 0.998
_WARMUP_STEPS = 50
_CLIP = 100.0  # times the usual norm: no gradient counts more
_MOST_SKIPPED = 10  # in a row
_ROWS = 200  # of a log
Say = Callable[[str], None]


class Task(Protocol):
    """What a loop trains."""

    @property
    def network(self) -> nn.Module:
        """The network that is trained."""

    def batch(self, count: int) -> Any:
        """Returns a batch."""

    def loss(self, batch: Any, progress: float) -> tuple[Tensor, dict[str, float]]:
        """Returns the loss, a scalar, and what is worth logging."""

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Returns parameter groups, each with the share of the learning rate that it takes."""

    def optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """Returns a fresh optimizer; the loop sets its learning rates."""


@dataclass
class LabTask:
    """The bound of a family on a set of pictures."""

    network: Family
    data: DataSet
    options: Options

    def batch(self, count: int) -> Tensor:
        """Returns pictures float32 (count, C, H, W) where the network is."""
        return self.data.batch(count).to(next(self.network.parameters()).device)

    def loss(self, batch: Tensor, progress: float) -> tuple[Tensor, dict[str, float]]:
        """Returns the objective, and for the log the bound in bits per dimension and the KL of each level in bits a picture."""
        dimensions = batch[0].numel()
        with torch.autocast(batch.device.type, torch.bfloat16):
            terms = self.network.terms(batch)
        levels = {f"kl_{name}": kl.mean().item() / math.log(2) for name, kl in terms.kl.items()}
        bits = terms.total().mean().item() / (dimensions * math.log(2))
        return objective.loss(terms, self.options, progress, dimensions) + self.network.penalty(), {"bpd": bits, **levels}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Returns one group."""
        return [{"params": list(self.network.parameters()), "share": 1.0}]

    def optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """Returns Adam without weight decay."""
        return torch.optim.Adam(groups, lr=0.0, betas=(0.9, 0.95))


class Loop:
    """Steps with a moving average; rates fall with the cosine of the time spent; bad gradients are skipped."""

    def __init__(self, task: Task, minutes: float, skip: float) -> None:
        self.task, self.minutes, self.skip = task, minutes, skip
        self.average = copy.deepcopy(task.network).requires_grad_(False)
        self.optimizer = task.optimizer(task.parameter_groups())
        self.step, self.skipped, self.in_a_row, self.seconds, self.usual = 0, 0, 0, 0.0, 0.0

    @property
    def progress(self) -> float:
        """The share of the budget that is spent."""
        return min(1.0, self.seconds / (60 * self.minutes))

    def advance(self, count: int) -> dict[str, float]:
        """Takes one step; returns what is worth logging."""
        start = time.perf_counter()
        loss, log = self.task.loss(self.task.batch(count), self.progress)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = float(nn.utils.clip_grad_norm_(self.task.network.parameters(), self._limit()))
        self._update(norm)
        self.step += 1
        self.seconds += time.perf_counter() - start
        return {"step": self.step, "seconds": self.seconds, "norm": norm, "skipped": self.skipped, **log}

    def _limit(self) -> float:
        return _CLIP * self.usual if self.usual else math.inf

    def _update(self, norm: float) -> None:
        """Steps the optimizer, unless the gradient is not finite or far larger than usual; too often so goes back."""
        if not math.isfinite(norm) or 0 < self.skip * self.usual < norm:
            self.skipped, self.in_a_row = self.skipped + 1, self.in_a_row + 1
            if self.in_a_row == _MOST_SKIPPED:
                self.task.network.load_state_dict(self.average.state_dict())
                self.optimizer = self.task.optimizer(self.task.parameter_groups())
                self.usual = self.in_a_row = 0
            return
        self.in_a_row = 0
        self.usual = norm if not self.usual else 0.98 * self.usual + 0.02 * norm
        rate = RATE * min(1.0, (self.step + 1) / _WARMUP_STEPS) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * self.progress)))
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["share"]
        self.optimizer.step()
        decay = min(_AVERAGE, self.step / (self.step + 10))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.task.network.parameters()), 1 - decay)


@dataclass(frozen=True)
class Run:
    """One training: the family and its configuration, the options, the budget, and the name of what comes out."""

    name: str
    family: str
    config: Any
    options: Options
    minutes: float
    batch: int = 32
    seed: int = 0


def train(run: Run, data: DataSet, folder: Path, say: Say) -> Path:
    """Trains, writes `NAME.safetensors` (averaged weights) and `NAME.csv` (log) into the folder; returns the former."""
    torch.manual_seed(run.seed)
    torch.set_flush_denormal(True)  # vanishing gradients slow a CPU down a hundredfold
    device = "cuda" if torch.cuda.is_available() else "cpu"
    task = LabTask(entry(run.family).network(run.config).to(device), data, run.options)
    loop = Loop(task, run.minutes, run.options.skip)
    write_log(folder / f"{run.name}.csv", _rows(loop, run, say))
    torch.set_flush_denormal(False)
    facts = {
        "data": data.name, "minutes": run.minutes, "batch": run.batch, "seed": run.seed, "options": asdict(run.options),
        "steps": loop.step, "seconds": round(loop.seconds, 1), "skipped": loop.skipped, "device": device,
        "threads": torch.get_num_threads(),
    }  # fmt: skip
    path = folder / f"{run.name}.safetensors"
    model_file.save(path, run.family, run.config, loop.average, facts)  # type: ignore[arg-type]
    return path


def _rows(loop: Loop, run: Run, say: Say) -> list[dict[str, float]]:
    """Runs the loop until its budget is spent; returns about _ROWS means of what it logs."""
    rows: list[dict[str, float]] = []
    seen: list[dict[str, float]] = []
    while loop.progress < 1:
        seen.append(loop.advance(run.batch))
        if loop.progress * _ROWS >= len(rows) + 1 or loop.progress >= 1:
            rows.append({key: sum(one[key] for one in seen) / len(seen) for key in seen[0]})
            seen = []
            say(f"{run.name:>12}  {100 * loop.progress:5.1f} %  step {loop.step}  {rows[-1]['bpd']:.3f} bits/dim")
    return rows


def write_log(path: Path, rows: list[dict[str, float]]) -> None:
    """Writes rows with the same keys as a CSV file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows({key: f"{value:.6g}" for key, value in row.items()} for row in rows)


def read_log(path: Path) -> list[dict[str, float]]:
    """Returns the rows that `write_log` wrote."""
    with path.open(newline="", encoding="utf-8") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
