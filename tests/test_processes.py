"""Coding in processes of their own: what they load, how many threads they take, and children that are forked from them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PICTURE = """
import os, sys
import numpy as np
import hcodec
from hcodec.models.runtime import threads

y, x = np.mgrid[:72, :88]
pixels = np.stack([x * 5 % 256, y * 7 % 256, (x * y) % 256], -1).astype(np.uint8)

def coded(_=0):
    data, exact = hcodec.encode(pixels), hcodec.encode(pixels, lossless=True)
    assert (np.asarray(hcodec.decode(exact)) == pixels).all()
    assert (np.asarray(hcodec.decode(exact, region=(5, 6, 30, 40))) == pixels[6:46, 5:35]).all()
    return data, exact, np.asarray(hcodec.decode(data)).tobytes()
"""

NO_TORCH = """
coded()
stream = hcodec.StreamDecoder()
stream.feed(hcodec.encode(pixels))
stream.image()
assert "onnxruntime" in sys.modules and "torch" not in sys.modules
"""

THREADS = """
from hcodec.container import window
window.EDGE = 64  # four windows
threads.num_processors = lambda: 64
found = []
for count in (1, 2, 64):
    threads.set_threads(count)
    assert threads.count() == count
    found.append(coded())
assert found[0] == found[1] == found[2]
"""

POOL = """
import multiprocessing
from hcodec.container import window
window.EDGE = 64
threads.num_processors = lambda: 2
threads.set_threads(2)
own = coded()
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map_async(coded, range(2)).get(timeout=100) == [own, own]
assert coded() == own
"""

FORK = """
from hcodec.container import window
window.EDGE = 64
own = coded()
child = os.fork()
if not child:
    os._exit(0 if coded() == own else 1)
assert os.waitpid(child, 0)[1] == 0 and coded() == own
"""

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")


@pytest.mark.parametrize(
    "code", [NO_TORCH, THREADS, pytest.param(POOL, marks=forks), pytest.param(FORK, marks=forks)],
    ids=["no torch", "threads", "pool", "fork"],
)  # fmt: skip
def test_the_shipped_model_in_a_process_of_its_own(code):
    done = subprocess.run([sys.executable, "-c", PICTURE + code], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr


TINY = """
import multiprocessing
import numpy as np, torch
import hcodec

pixels = np.tile(np.arange(200, dtype=np.uint8), (160, 3)).reshape(160, 200, 3)

def digest(_):
    data = hcodec.encode(pixels, model="tiny")
    return data, np.asarray(hcodec.decode(data)).tobytes()

torch.set_num_threads(2)
own = digest(0)
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map_async(digest, range(2)).get(timeout=100) == [own, own]
"""


@forks
def test_children_forked_after_torch_has_run_code_as_their_parent_does():
    done = subprocess.run([sys.executable, "-c", TINY], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
