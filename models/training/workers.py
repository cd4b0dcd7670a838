"""Several processes that train one network together, each on examples of its own, and average their weights now and then.

Room: training. Local SGD (Stich 2018, arXiv 1805.09767): in between nobody waits for anybody, so two processes of one thread
each see a quarter more pictures than one of two threads, whose threads wait for each other after every operation. In a
process that trains alone nothing here does anything.
"""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import torch
import torch.distributed
from torch import Tensor
from torch.multiprocessing.spawn import ProcessExitedException, spawn

STEPS_APART = 20  # between two averages: 66 MB are exchanged in a tenth of a second, a step takes about one


def launch(num_workers: int, job: Callable[..., None], *arguments: Any) -> None:
    """Runs job(*arguments) in `num_workers` processes that know each other, or in this one if that is 1."""
    if num_workers == 1:
        job(*arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            spawn(_work, (num_workers, Path(folder) / "rendezvous", job, arguments), num_workers)
        except ProcessExitedException as error:
            if error.exit_code < 0:  # killed by a signal
                raise
            sys.exit(error.exit_code)


def _work(rank: int, num_workers: int, rendezvous: Path, job: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    # torch has workers interrupted when their parent dies, and a job in the background ignores interrupts
    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.distributed.init_process_group("gloo", init_method=rendezvous.as_uri(), rank=rank, world_size=num_workers)
    try:
        job(*arguments)
    except click.ClickException as error:  # wrong options are wrong in all processes: the first one says so
        if rank == 0:
            error.show()
            sys.exit(error.exit_code)
    torch.distributed.destroy_process_group()


def count() -> int:
    """Returns how many processes train together."""
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


def rank() -> int:
    """Returns the number of this process, from 0."""
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


def steps_apart() -> int:
    """Returns how many steps each process takes from one average to the next: 1 where there is only one."""
    return STEPS_APART if count() > 1 else 1


@torch.no_grad()
def average(tensors: list[Tensor]) -> None:
    """Replaces each tensor by its mean over the processes. One float type, the same shapes everywhere."""
    if count() > 1:
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        torch.distributed.all_reduce(flat)
        _put_back(flat / count(), tensors)


@torch.no_grad()
def broadcast(tensors: list[Tensor]) -> None:
    """Replaces each tensor by that of the first process (rank 0). One type, the same shapes everywhere."""
    if count() > 1:
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        torch.distributed.broadcast(flat, 0)
        _put_back(flat, tensors)


def gather(value: Any) -> list[Any]:
    """Returns what every process has given, by rank."""
    values = [value] * count()
    if count() > 1:
        torch.distributed.all_gather_object(values, value)
    return values


def _put_back(flat: Tensor, tensors: list[Tensor]) -> None:
    for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))
