"""In operation: many callers, forks, long runs, progress, interrupts, and what is said of memory beforehand."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import interruptible, render
from PIL import Image

from hcodec import memory, needs
from hcodec.cli import main
from hcodec.codec import decode, encode
from hcodec.errors import PictureError
from hcodec.models.runtime import threads
from hcodec.stream import StreamDecoder

AFTER_USE = """
import multiprocessing, os, numpy, hcodec
from hcodec.models.runtime import threads
threads._POOL.resize(2)  # as on a machine of two processors
picture = numpy.random.default_rng(0).integers(0, 256, (300, 200, 3), dtype=numpy.uint8)
def code(_):
    return hcodec.encode(picture)
data = code(0)
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map_async(code, range(4)).get(timeout=60) == [data] * 4
if not os.fork():
    os._exit(0 if code(0) == data else 1)
assert os.wait()[1] == 0
"""


@pytest.fixture(autouse=True)
def two_threads():
    """As on a machine with two processors, whatever runs the tests."""
    before = threads.count()
    threads._POOL.resize(2)
    yield
    threads._POOL.resize(before)


def resident_mib() -> float:
    return int(re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


# --- callers


def test_forks_after_use_work():
    subprocess.run([sys.executable, "-c", AFTER_USE], timeout=120, check=True)


def test_eight_callers_at_once_get_what_one_gets():
    pictures = [render(40 + 90 * i, 300 - 70 * i, i) for i in range(4)]
    lossless = [False, True, False, True]

    def code(index: int) -> tuple[bytes, bytes]:
        """Encodes one of the pictures and decodes it."""
        data = encode(pictures[index % 4], model="tiny", lossless=lossless[index % 4])
        return data, decode(data).tobytes()

    wanted = [code(index) for index in range(4)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(code, range(32))) == wanted * 8


@pytest.mark.parametrize("lossless", [False, True])
def test_any_number_of_threads_gives_the_same_bytes(lossless):
    y, x = np.mgrid[:160, :200]
    picture = np.stack([x * 5 % 256, y * 7 % 256, x * y % 256], -1).astype(np.uint8)  # where torch's thread counts differed
    files = set()
    for count in (1, 2, 100_000):
        threads.set_threads(count)
        files.add(encode(picture, lossless=lossless))
    assert len(files) == 1


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's account of memory")
def test_memory_stays_flat():
    pictures = [render(24 + 36 * i, 260 - 40 * i, i) for i in range(6)]

    def code(number: int) -> None:
        """Encodes and decodes one of the pictures, whole and as a stream."""
        data = encode(pictures[number % 6], model="tiny", lossless=number % 5 == 0)
        decoder = StreamDecoder()
        decoder.feed(data)
        assert np.array_equal(np.asarray(decoder.image()), np.asarray(decode(data)))

    for number in range(30):  # every size in every way
        code(number)
    before = resident_mib()
    for number in range(40):
        code(number)
    assert resident_mib() - before < 40


# --- what fails or is interrupted ends all


def test_what_fails_ends_the_work_of_the_pool():
    begun: list[int] = []

    def work(item: int) -> None:
        """Fails at once, or works in small steps until it is told to stop."""
        begun.append(item)
        if item == 0:
            raise ValueError("item 0")
        for _ in range(1000):
            time.sleep(0.01)
            threads.check()

    with pytest.raises(ValueError, match="item 0"):
        threads.each(work, range(50))
    start = time.monotonic()
    assert threads.each(lambda item: item, range(3)) == [0, 1, 2]  # the threads are free again
    assert time.monotonic() - start < 5 and len(begun) < 50


def test_progress_is_shown_on_the_calling_thread():
    shown: list[float] = []

    def show(share: float) -> None:
        """Keeps what it gets."""
        assert threading.current_thread() is threading.main_thread()
        shown.append(share)

    picture = render(70, 2100)
    data = encode(picture, model="tiny", on_progress=show)
    assert shown == sorted(shown) and len(shown) > 5 and 0 < shown[0] < shown[-1] == 1
    for lossless in (False, True):
        shown.clear()
        decode(encode(picture, model="tiny", lossless=True) if lossless else data, on_progress=show)
        assert shown == sorted(shown) and len(shown) > 1 and shown[-1] == 1


def in_terminal(*arguments: str) -> tuple[subprocess.Popen[bytes], int]:
    """Starts hcodec with stderr on a terminal; the process, and the terminal."""
    terminal, end = pty.openpty()
    started = subprocess.Popen([sys.executable, "-m", "hcodec", *arguments], stderr=end, close_fds=True, preexec_fn=interruptible)
    os.close(end)
    return started, terminal


def read_until(terminal: int, wanted: bytes) -> bytes:
    """What comes on a terminal until something wanted does, or the end."""
    shown = b""
    while wanted not in shown:
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # how Linux says that the other end of a terminal is closed
            break
        if not piece:
            break
        shown += piece
    return shown


def shown_by(*arguments: str) -> bytes:
    """All that hcodec shows on a terminal."""
    started, terminal = in_terminal(*arguments)
    shown = read_until(terminal, b"never shown")
    os.close(terminal)
    assert started.wait(timeout=120) == 0
    return shown


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(render(48, 64)).save("a.png")
    return tmp_path


def test_long_work_shows_progress(folder):
    assert b"100%" in shown_by("encode", "a.png", "--lossless")
    assert b"100%" in shown_by("decode", "a.hcodec", "-o", "b.png")
    assert b"%" not in shown_by("encode", "a.png", "-o", "quiet.hcodec", "--lossless", "--quiet")
    assert b"%" not in shown_by("encode", "a.png", "-o", "short.hcodec")
    done = subprocess.run(
        [sys.executable, "-m", "hcodec", "encode", "a.png", "-o", "c.hcodec", "--lossless"], capture_output=True, check=True
    )
    assert b"%" not in done.stderr


@pytest.mark.parametrize("count", ["1", "2"])
@pytest.mark.parametrize("options", [(), ("--lossless",)])
def test_an_interrupt_ends_at_once_and_leaves_nothing(folder, options, count):
    Image.fromarray(render(2200, 2600)).save("large.png", compress_level=1)
    started, terminal = in_terminal("encode", "large.png", "-o", "out/large.hcodec", "-j", count, *options)
    read_until(terminal, b"%")
    time.sleep(1.5)
    start = time.monotonic()
    started.send_signal(signal.SIGINT)
    shown = read_until(terminal, b"never shown")
    assert started.wait(timeout=30) in (1, 130) and b"Aborted" in shown
    assert time.monotonic() - start < 3  # a second where nothing else runs
    os.close(terminal)
    assert not list(folder.glob("out/*")) and not list(folder.glob(".*.part"))


# --- memory


def test_much_memory_is_announced(folder, monkeypatch):
    needed = needs._NEEDS["encode"].total(48, 64)
    for free, said in ((2 * needed + 1, False), (2 * needed - 1, True), (None, False)):
        monkeypatch.setattr(memory, "free_bytes", lambda free=free: free)
        result = CliRunner().invoke(main, ["encode", "a.png", "--force"])
        assert result.exit_code == 0 and ("GB of memory" in result.stderr) is said, result.stderr
    assert "GB of memory" not in CliRunner().invoke(main, ["encode", "a.png", "--force", "--quiet"]).stderr


def test_too_much_memory_is_refused(monkeypatch):
    picture = render(96, 128)
    data = encode(picture, model="tiny")
    monkeypatch.setattr(memory, "free_bytes", lambda: 96 * 128 * needs._LEAST - 1)
    for job in (lambda: encode(picture, model="tiny"), lambda: decode(data), lambda: StreamDecoder().feed(data)):
        with pytest.raises(PictureError, match="megapixels need"):
            job()


def test_nothing_is_kept_or_told_elsewhere(tmp_path):
    """ONNX Runtime would keep a number of this machine in the home folder, and send it to its makers."""
    made = "hcodec.encode(numpy.zeros((8, 8, 3), 'u1'), lossless=False)"
    code = f"import numpy, os, hcodec; {made}; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    homes = {name: str(tmp_path) for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")}
    env = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"} | homes
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("1\n", "") and not list(tmp_path.rglob("*"))
