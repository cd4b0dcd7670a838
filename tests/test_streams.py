"""Every command with standard streams that are closed or full: one line and exit code 1, never a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import interruptible, render
from PIL import Image

import hcodec
from hcodec.cli import _COMMANDS

FULL, CLOSED = "No space left on device\n", "Bad file descriptor\n"
CASES = [  # command, streams, exit code, end of what it says
    *((line, "<&-", 1, CLOSED) for line in ("encode -", "decode -", "truncate - --levels 1", "list -", "unpack - out")),
    *(
        (line, ">&-", 1, CLOSED)
        for line in ("truncate img.hcodec --levels 1 -o -", "pack img.png -o -", "info img.hcodec", "list a.hcodec")
    ),
    *((line, ">&-", 1, CLOSED) for line in ("models", "models photo-1", "demo img.png --model tiny", "--help", "lab --help")),
    *((line, ">&-", 1, CLOSED) for line in ("inspect img.png --model tiny", "serve . --port 0", "corpus --help")),
    *(
        (line, ">/dev/full", 1, FULL)
        for line in ("encode img.png -o - --model tiny", "decode img.hcodec -o -", "info img.hcodec --json")
    ),
    *((line, ">/dev/full", 1, FULL) for line in ("list a.hcodec", "models photo-1", "doctor", "--version", "encode --help")),
    *((line, "2>/dev/full", 1, "") for line in ("encode img.png -o x.hcodec --model tiny", "nonsense")),
    *((line, "2>&-", 0, "") for line in ("truncate img.hcodec x2.hcodec --levels 1", "info img.hcodec")),
    ("nonsense", "2>&-", 2, ""),
    ("info img.hcodec", "<&-", 0, ""),
    ("info img.hcodec missing.hcodec", "<&- >&- 2>&-", 1, ""),
]


@pytest.fixture(scope="module")
def ends(tmp_path_factory):
    """Exit code and stderr of each case."""
    folder = tmp_path_factory.mktemp("streams")
    Image.fromarray(render(16, 16)).save(folder / "img.png")
    (folder / "img.hcodec").write_bytes(hcodec.encode(render(16, 16), model="tiny"))
    (folder / "a.hcodec").write_bytes(hcodec.pack([("a", render(16, 16))]))

    def end(case):
        """Runs a command in a folder of its own."""
        own = folder / str(CASES.index(case))
        own.mkdir()
        for path in folder.glob("*.*"):
            os.link(path, own / path.name)
        argv = ["bash", "-c", f'exec "{sys.executable}" -m hcodec {case[0]} {case[1]}']
        done = subprocess.run(argv, cwd=own, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
        return done.returncode, done.stderr

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(CASES, pool.map(end, CASES), strict=True))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]} {case[1]}")
def test_one_line_and_no_traceback(case, ends):
    _, _, wanted, line = case
    code, said = ends[case]
    assert "Traceback" not in said and "ignored" not in said
    assert code == wanted, said
    if line:
        assert said.endswith(line) and said.count("Error: ") == said.count("\n") == 1, said


def test_every_command_is_here():
    tried = {case[0].split()[0] for case in CASES}
    assert set(_COMMANDS) <= tried


def test_no_file_of_ours_gets_a_number_of_theirs(tmp_path):
    """What a library writes to a closed stderr must not land in the output."""
    (tmp_path / "img.hcodec").write_bytes(hcodec.encode(render(16, 16), model="tiny"))
    code = (
        "import os\nfrom hcodec.cli import _streams\nwith _streams.guarded():\n"
        "    file = open('new', 'wb')\n    os.write(2, b'a message')\n    assert file.fileno() > 2"
    )
    done = subprocess.run(["bash", "-c", f'exec "{sys.executable}" -c "{code}" <&- >&- 2>&-'], cwd=tmp_path, timeout=60)
    assert done.returncode == 0 and Path(tmp_path, "new").read_bytes() == b""


def wait_for_threads(pid):
    """Waits until a process computes; where the system does not show its threads, for a second."""
    tasks, end = Path(f"/proc/{pid}/task"), time.monotonic() + 60
    while tasks.exists() and len(list(tasks.iterdir())) < 3 and time.monotonic() < end:
        time.sleep(0.05)
    if not tasks.exists():
        time.sleep(1)


@pytest.mark.parametrize("line", ["encode img.png big.png -o out/", "pack img.png big.png -o a.hcodec"])
def test_an_interrupt_ends_at_once_and_leaves_nothing_half_done(tmp_path, line):
    """Within the second picture, which takes long: the threads that code it are not waited for."""
    Image.fromarray(render(48, 64)).save(tmp_path / "img.png")
    Image.fromarray(render(1100, 2200)).save(tmp_path / "big.png")
    process = subprocess.Popen(
        [sys.executable, "-m", "hcodec", *line.split()], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=interruptible,
    )  # fmt: skip
    try:
        if line.startswith("encode"):
            process.stderr.readline()  # the first picture is done
        else:
            wait_for_threads(process.pid)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130 and said.decode().split("\n")[-3:] == ["", "Aborted!", ""]
    assert "Traceback" not in said.decode()
    made = [path.name for path in tmp_path.rglob("*") if path.is_file() and path.name not in ("img.png", "big.png")]
    assert made == (["img.hcodec"] if line.startswith("encode") else [])


def test_an_interrupt_ends_what_a_library_computes(tmp_path):
    """Storing this drawing takes a call of many seconds, in which Python hears of nothing."""
    drawing = np.random.default_rng(0).integers(0, 40, (250, 250)).astype(np.uint8)
    Image.fromarray(np.kron(drawing, np.ones((8, 8), np.uint8)) * np.uint8(6)).save(tmp_path / "img.png")
    process = subprocess.Popen(
        [sys.executable, "-m", "hcodec", "pack", "img.png", "-o", "a.hcodec"], cwd=tmp_path, stderr=subprocess.PIPE,
        preexec_fn=interruptible,
    )  # fmt: skip
    try:
        wait_until_it_computes(process)
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert time.monotonic() - start < 2  # some hundredths where nothing else runs
    assert (process.returncode, said) == (130, b"\nAborted!\n")
    assert os.listdir(tmp_path) == ["img.png"]


def wait_until_it_computes(process):
    """Waits until a process has used two seconds of a processor, or where that is not shown, for five seconds."""
    stat, end = Path(f"/proc/{process.pid}/stat"), time.monotonic() + 60
    while stat.exists() and int(stat.read_text().split()[13]) < 2 * os.sysconf("SC_CLK_TCK") and time.monotonic() < end:
        time.sleep(0.05)
    if not stat.exists():
        time.sleep(5)
