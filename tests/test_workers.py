"""Training by several processes: they average, take over what the first one has, and only the first writes."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from conftest import render
from PIL import Image

from hcodec.models.photo import train
from hcodec.models.training import workers


def exchange(folder):
    """What each process does: its own numbers, then their mean, then those of the first, then those of all."""
    torch.set_num_threads(1)
    rank = workers.rank()
    first, second = torch.full((2, 3), 1.0 + 2 * rank), torch.arange(4.0) * rank
    workers.average([first, second])
    third = torch.tensor([float(rank), 5.0])
    workers.broadcast([third])
    assert workers.gather(rank) == list(range(workers.count()))
    torch.save([first, second, third, workers.count(), workers.steps_apart()], folder / f"{rank}.pt")


@pytest.mark.parametrize("num_workers", [1, 2])
def test_processes_average_and_take_over_what_the_first_has(tmp_path, num_workers):
    workers.launch(num_workers, exchange, tmp_path)
    for rank in range(num_workers):
        first, second, third, count, steps = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        mean_rank = (num_workers - 1) / 2
        assert torch.equal(first, torch.full((2, 3), 1 + 2 * mean_rank)) and torch.equal(second, torch.arange(4.0) * mean_rank)
        assert third.tolist() == [0, 5] and count == num_workers and steps == (1 if num_workers == 1 else workers.STEPS_APART)


def fail_at(culprit):
    """Fails in one process while the others wait for it."""
    if workers.rank() == culprit:
        raise ValueError("of the second process")
    workers.average([torch.zeros(1)])


def test_a_process_that_fails_ends_all(tmp_path):
    # by which of the two it is told first is a matter of chance
    with pytest.raises(torch.multiprocessing.ProcessRaisedException):
        workers.launch(2, fail_at, 1)


def test_wrong_options_get_one_line_and_no_traceback(tmp_path):
    Image.new("RGB", (32, 32)).save(tmp_path / "small.png")
    arguments = ["--config", "tiny", "--data", tmp_path, "--out", tmp_path / "out", "--minutes", "1", "--workers", "2"]
    command = [sys.executable, "-m", "hcodec.models.photo.train", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.count("no training picture is at least 128 pixels high and wide") == 1


def note_and_wait(folder):
    """Says which process it is and waits to be ended."""
    (folder / f"{workers.rank()}.pid").write_text(str(os.getpid()))
    time.sleep(120)


def runs(pid):
    """Whether a process is there and not just one that nobody has asked after since it ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition):
    for _ in range(600):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("not within a minute")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere torch cannot tell workers that their parent has died")
def test_workers_end_when_a_job_in_the_background_is_killed(tmp_path):
    code = f"import sys, pathlib; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_workers\n"
    code += f"test_workers.workers.launch(2, test_workers.note_and_wait, pathlib.Path({str(tmp_path)!r}))"
    started = f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n{code}"  # as shells start what is in the background
    with subprocess.Popen([sys.executable, "-c", started]) as parent:
        wait_until(lambda: all((tmp_path / f"{rank}.pid").exists() for rank in (0, 1)))
        pids = [(tmp_path / f"{rank}.pid").read_text() for rank in (0, 1)]
        parent.terminate()
    wait_until(lambda: not any(map(runs, pids)))


def test_two_workers_train_one_network_and_resume(tmp_path):
    Image.fromarray(render(100, 140)).save(tmp_path / "a.png")
    common = ["--config", "tiny", "--data", str(tmp_path / "a.png"), "--valid", str(tmp_path / "a.png"), "--crop", "64"]
    common += ["--batch", "2", "--threads", "1", "--workers", "2", "--out", str(tmp_path / "out")]
    minutes = 0.001
    for least_steps in (20, 40):
        result = CliRunner().invoke(train.main, [*common, "--minutes", str(minutes)], catch_exceptions=False)
        assert result.exit_code == 0
        state = torch.load(tmp_path / "out" / "checkpoint.pt", weights_only=True)
        assert state["progress"][0] % workers.STEPS_APART == 0 and state["progress"][0] >= least_steps
        assert len(state["random"]) == 2
        minutes = state["progress"][1] / 60 + 0.01  # a longer budget, however slow this machine is: the run goes on
    steps = [int(row["step"]) for row in csv.DictReader((tmp_path / "out" / "log.csv").open())]
    assert steps == list(range(20, state["progress"][0] + 1, 20))  # one row each: the second process writes nothing
    assert len((tmp_path / "out" / "curve.csv").read_text().splitlines()) == 2
    assert all(value.isfinite().all() for value in state["average"].values())
