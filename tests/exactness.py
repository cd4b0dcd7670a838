"""What must be the same on every machine, computed under one setting of this one after another; a script for test_exact.py.

    python exactness.py FOLDER MODEL BACKEND SETTINGS_JSON

FOLDER holds pictures (*.npy) and files (*.hcodec) that were made elsewhere. Printed is a JSON list of reports, one for each
setting: `agreed`, the agreed path on random symbols; `files`, each picture encoded, both with 1, 2 and 4 threads;
`decoded`, what each file, found or made here, decodes to; `floats`, what need not be the same: features of analysis;
and what the setting made of this process: `torch`, whether it was imported, `cpu`, what it uses, `numpy`, what that uses.

Libraries are told by environment variables which instruction sets to use, and read them once. Those below torch do so at
their first use. So everything is imported first, which uses none of them, and each of the SETTINGS gets a fork of
this process. numpy does so when it is imported: its settings are those that this process was started with.

ONNX Runtime has no such switch: it takes the best kernels that it has for the processor (`ORT_*` and `mlas.*` in its
library concern operators that our graphs do not have). How a lesser processor is imitated is said in fewer_instructions.py.
Beside that, other kernels meet other shapes where maps are cut in other places (PARTS) and weights left unpacked (UNPACKED).
On a processor that nobody tried, `models/runtime/check.py` is what refuses to compute with kernels that are not exact.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.core import _multiarray_umath

from hcodec import codec, container, models
from hcodec.coding.stack import Stack
from hcodec.models.descend import descend
from hcodec.models.photo.config import STRIDES
from hcodec.models.photo.walk import LatentSteps, Prior, Walk, analyze
from hcodec.models.runtime import steps, threads
from hcodec.mosaic import Mosaic, States
from hcodec.session import Decoder

HEIGHT, WIDTH = 530, 90  # maps that are cut in parts, so that every thread gets some
PARTS, UNPACKED = "PARTS", "UNPACKED"  # settings of ours: rows and columns of parts as JSON; any value


class Digest:
    """A digest of arrays; zeros count without their sign."""

    def __init__(self) -> None:
        self.sha = hashlib.sha256()

    def add(self, *arrays: np.ndarray) -> None:
        """Takes more arrays."""
        for array in arrays:
            self.sha.update(np.ascontiguousarray(array + array.dtype.type(0)).tobytes())

    def __str__(self) -> str:
        return self.sha.hexdigest()[:16]


def drawn(shape: tuple[int, ...], position: int) -> np.ndarray:
    """Returns symbols of the latent at that position, the same for each call."""
    random = np.random.default_rng(position)
    return (random.integers(-40, 41, shape) * (random.random(shape) < 0.3)).astype(np.float32)


def agreed(walk: Walk) -> str:
    """Returns the digest of means, scale indices and states of the agreed path."""
    digest = Digest()

    def answer(latent: LatentSteps, state: np.ndarray, prior: Prior) -> np.ndarray:
        """Notes what comes before the symbols."""
        digest.add(state, prior.mean, prior.index)
        return drawn(prior.mean.shape, latent.index)

    digest.add(descend(walk, walk.begin(HEIGHT, WIDTH), answer).state)
    return str(digest)


@contextmanager
def noted(digest: Digest) -> Iterator[None]:
    """Has the digest take whatever is popped from stacks meanwhile, and the tables it is popped with."""
    true = Stack.pop

    def pop(stack: Stack, tables: Any, indices: np.ndarray) -> np.ndarray:
        """Notes what is popped, and with what."""
        symbols = true(stack, tables, indices)
        digest.add(indices.astype("<i2"), symbols.astype("<i4"))
        return symbols

    with mock.patch.object(Stack, "pop", pop):
        yield


def decoded(data: bytes, device: str = "cpu", backend: str | None = None) -> str:
    """Returns the digest of all scale indices, symbols and states that a file decodes to, and of its exact pixels."""
    digest = Digest()

    def render(mosaic: Mosaic, _: Walk, states: States, *rest: Any) -> None:
        """Notes the states that would be shown."""
        digest.add(*(states(index)[0] for index in range(len(mosaic.places))))

    reader, header = container.read_all(data)
    with noted(digest), mock.patch.object(Mosaic, "render", render):
        Decoder.open(reader, device, backend).pixels()
    if header.lossless:
        digest.add(codec.decode_picture(data, device=device, backend=backend, strict=True).pixels)
    return str(digest)


def report(folder: Path, model: str, backend: str) -> dict[str, Any]:
    """Returns what is said above, under the setting that this process has."""
    walk = models.load(model, backend=backend).walk
    pictures = {path.stem: np.load(path) for path in sorted(folder.glob("*.npy"))}
    found: dict[str, Any] = {"agreed": [], "files": {}, "decoded": {}}
    for count in (1, 2, 4):
        threads.set_threads(count)
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(count)
        found["agreed"].append(agreed(walk))
        for name, pixels in pictures.items():
            file = codec.encode(pixels, model=model, backend=backend, lossless=name.startswith("lossless"))
            found["files"].setdefault(name, []).append(file.hex())
    features = Digest()
    features.add(*analyze(walk.config, walk.steps, pictures["levels"], STRIDES).values())
    files = [bytes.fromhex(file) for name in pictures for file in set(found["files"][name])]
    for file in files + [path.read_bytes() for path in sorted(folder.glob("*.hcodec"))]:
        found["decoded"][hashlib.sha256(file).hexdigest()] = decoded(file, backend=backend)
    torch = sys.modules.get("torch")
    cpu = torch.backends.cpu.get_cpu_capability() if torch else ""
    used = [name for name in _multiarray_umath.__cpu_dispatch__ if _multiarray_umath.__cpu_features__.get(name)]
    return found | {"floats": str(features), "torch": torch is not None, "cpu": cpu, "numpy": used}


def set_up(setting: dict[str, str]) -> None:
    """Applies a setting to this process."""
    os.environ.update({name: value for name, value in setting.items() if name not in (PARTS, UNPACKED)})
    if PARTS in setting:
        steps._ROWS, steps._COLUMNS = json.loads(setting[PARTS])
    if UNPACKED in setting:
        import onnxruntime

        class Unpacked(onnxruntime.SessionOptions):
            """Options of sessions that leave weights as they are."""

            def __init__(self) -> None:
                super().__init__()
                self.add_session_config_entry("session.disable_prepacking", "1")

        onnxruntime.SessionOptions = Unpacked


def forked(job: Callable[[], dict[str, Any]], setting: dict[str, str]) -> dict[str, Any]:
    """Returns what the job returns in a fork of this process with a setting."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        try:
            set_up(setting)
            with os.fdopen(writing, "w") as pipe:
                json.dump(job(), pipe)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    if os.wait()[1]:
        raise SystemExit(f"failed under {setting}")
    return json.loads(text)


def main(folder: Path, model: str, backend: str, settings: list[dict[str, str]]) -> None:
    """Prints a list of reports, one for each setting."""
    if backend == "torch":
        import torch  # noqa: F401 (once, before forking)

        import hcodec.models.photo.steps
        import hcodec.models.runtime.torch_steps  # noqa: F401
    else:
        import onnxruntime  # noqa: F401
    print(json.dumps([forked(lambda: report(folder, model, backend), setting) for setting in settings]))  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:4], json.loads(sys.argv[4]))
