"""Trains a family: the task of the lab, which the one loop of all families runs.

Room: training.
"""

from __future__ import annotations

import csv
import math
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hcodec.errors import ModelError
from hcodec.models.lab import model_file, objective
from hcodec.models.lab.data import DataSet
from hcodec.models.lab.families import entry
from hcodec.models.lab.objective import Options
from hcodec.models.lab.protocol import Family
from hcodec.models.training.loop import Recipe, Trainer

_RATE = 3e-3
_CLIP = 200.0  # norms of gradients of bits per dimension are about 10 to 100
_ROWS = 200  # of a log
_ROWS_A_CHECKPOINT = 20
Say = Callable[[str], None]


@dataclass
class LabTask:
    """The bound of a family on a set of pictures; subject: what a checkpoint is of."""

    network: Family
    data: DataSet
    options: Options
    subject: Mapping[str, Any] = field(default_factory=dict)

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

    def validate(self, average: Any) -> str:
        """Returns nothing: `hcodec lab measure` does that."""
        return ""

    def state_dict(self) -> dict[str, Any]:
        """Returns the state of the random numbers that batches are drawn with, and what the run is of."""
        return {"random": self.data.random.bit_generator.state, "subject": dict(self.subject)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on with these random numbers."""
        self.data.random.bit_generator.state = state["random"]


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


def train(run: Run, data: DataSet, folder: Path, say: Say, resume: bool = False) -> Path:
    """Trains, and writes NAME.safetensors (averaged weights), NAME.csv (log) and NAME.pt (checkpoint); returns the first.

    resume: goes on from the checkpoint, if there is one; ModelError if that is of a run that differs in more than its budget.
    """
    torch.manual_seed(run.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    task = LabTask(entry(run.family).network(run.config).to(device), data, run.options, subject(run, data))
    recipe = Recipe(run.minutes, run.batch, _RATE, clip=_CLIP, skip=run.options.skip or math.inf)
    trainer = Trainer(task, recipe, clock=None if device == "cuda" else processor_seconds)
    folder.mkdir(parents=True, exist_ok=True)
    if resume and (folder / f"{run.name}.pt").exists():
        _restore(trainer, task, folder / f"{run.name}.pt")
    np.finfo(np.float64)  # numpy looks once, and would warn of zeros where there should be denormals
    torch.set_flush_denormal(True)  # vanishing gradients slow a CPU down a hundredfold
    try:
        _run(trainer, run, folder, say)
    finally:
        torch.set_flush_denormal(False)
    facts = {
        "data": data.name, "minutes": run.minutes, "batch": run.batch, "seed": run.seed, "options": asdict(run.options),
        "steps": trainer.step, "seconds": round(trainer.seconds, 1), "skipped": trainer.skipped, "device": device,
        "threads": torch.get_num_threads(),
    }  # fmt: skip
    path = folder / f"{run.name}.safetensors"
    model_file.save(path, run.family, run.config, trainer.average, facts)
    return path


def subject(run: Run, data: DataSet) -> dict[str, Any]:
    """Returns what must be the same where a run goes on."""
    return {
        "family": run.family, "configuration": asdict(run.config), "options": asdict(run.options), "batch": run.batch,
        "seed": run.seed, "data": [data.name, zlib.crc32(data.test.tobytes())],
    }  # fmt: skip


def _restore(trainer: Trainer, task: LabTask, path: Path) -> None:
    """Goes on from a checkpoint; ModelError if it is damaged, or of another run."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        begun = state["random"][0]["task"].get("subject", task.subject)
        other = [key for key, value in task.subject.items() if begun.get(key) != value]
        if not other:
            trainer.restore(path)
    except Exception as error:  # a damaged pickle may raise anything
        raise ModelError(f"{path} is not the checkpoint of such a run") from error
    if other:
        raise ModelError(f"{path} is of a run that differs in its {', '.join(other)}")


def processor_seconds() -> float:
    """Returns the seconds of the processor for each thread: other work on the machine takes nothing from a budget."""
    return time.process_time() / torch.get_num_threads()


def _run(trainer: Trainer, run: Run, folder: Path, say: Say) -> None:
    """Takes steps until the budget is spent; logs about _ROWS means of what they say, and saves now and then."""
    log = folder / f"{run.name}.csv"
    rows = [row for row in read_log(log) if row["step"] <= trainer.step] if trainer.step else []
    seen: list[dict[str, Any]] = []
    while trainer.progress < 1:
        seen.append(trainer.advance())
        if trainer.progress * _ROWS < len(rows) + 1 and trainer.progress < 1:
            continue
        rows.append({key: sum(float(one[key]) for one in seen) / len(seen) for key in seen[0]})
        seen = []
        say(f"{run.name:>12}  {100 * trainer.progress:5.1f} %  step {trainer.step}  {rows[-1]['bpd']:.3f} bits/dim")
        if len(rows) % _ROWS_A_CHECKPOINT == 0 or trainer.progress >= 1:
            write_log(log, rows)
            trainer.save(folder / f"{run.name}.pt")


def write_log(path: Path, rows: list[dict[str, float]]) -> None:
    """Writes rows with the same keys as a CSV file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows({key: f"{value:.6g}" for key, value in row.items()} for row in rows)


def read_log(path: Path) -> list[dict[str, float]]:
    """Returns the rows that `write_log` wrote, one at least; ModelError if there are none."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    except (ValueError, TypeError, csv.Error) as error:
        raise ModelError(f"{path} is not a log of training") from error
    if not rows or "seconds" not in rows[0]:
        raise ModelError(f"{path} is not a log of training")
    return rows
