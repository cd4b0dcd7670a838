"""The choice of what runs a model: ONNX Runtime, or torch on a processor or a GPU.

Room: runtime. Neither of them is imported before a model is loaded.
"""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hcodec.errors import ModelError

if TYPE_CHECKING:
    from hcodec.models.runtime.steps import Array, Steps
    from hcodec.models.runtime.torch_steps import TorchStep

BACKENDS = ("onnx", "torch")
DEVICES = ("cpu", "cuda", "auto")
GRAPHS = ".graphs"  # suffix of the file of graphs beside a weights file


@dataclass(frozen=True)
class Backend:
    """What runs models. name: one of BACKENDS, or None for what suits; device: "cpu" or "cuda", the latter with torch alone."""

    name: str | None
    device: str

    @classmethod
    def chosen(cls, name: str | None, device: str) -> Backend:
        """Returns the backend of a name, or None, on a device, one of DEVICES; ModelError if it is not there."""
        if not isinstance(device, str) or device not in DEVICES:
            raise ModelError(f"unknown device {device!r}; use auto, cpu or cuda")
        if name is not None and (not isinstance(name, str) or name not in BACKENDS):
            raise ModelError(f"unknown backend {name!r}; use onnx or torch")
        if name == "onnx" and device == "cuda":
            raise ModelError("the backend onnx runs on the processor only; use torch for CUDA")
        if device == "auto":
            device = "cuda" if name != "onnx" and _has_cuda() else "cpu"
        if name == "torch" or device == "cuda":
            require_torch()
        if device == "cuda" and not _has_cuda():
            raise ModelError("no CUDA device is available; use --device cpu")
        return cls("torch" if device == "cuda" else name, device)

    def steps(self, path: Path, weights: Mapping[str, Array], torch_steps: Callable[[], Mapping[str, TorchStep]]) -> Steps:
        """Returns the steps of a weights file, checked; ModelError if this machine does not run them exactly.

        weights: its tensors by the names that graphs call them; torch_steps: makes the same steps for torch, which runs them if
        it is asked to, or if there are no graphs.
        """
        graphs = path.with_suffix(GRAPHS)
        if self.name == "torch" or (self.name is None and not graphs.exists()):
            return _on_torch(torch_steps, self.device)
        from hcodec.models.runtime.onnx_steps import OnnxSteps

        steps = OnnxSteps(graphs, weights)
        _check_once("onnx", steps)
        return steps


def _on_torch(torch_steps: Callable[[], Mapping[str, TorchStep]], device: str) -> Steps:
    require_torch()
    import torch

    from hcodec.models.runtime.torch_steps import TorchSteps

    _let_forks_live()
    steps = TorchSteps(torch_steps(), torch.device(device))
    _check_once(f"torch on {device}", steps)
    return steps


@functools.cache
def _let_forks_live() -> None:
    """Gives children that are forked from now on one thread of torch, which would wait for those of their parent."""
    import torch

    if hasattr(os, "register_at_fork"):  # not on Windows, which has no forks either
        os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))


ANY = Backend(None, "cpu")
_checked: set[str] = set()


def _check_once(name: str, steps: Steps) -> None:
    """Checks what runs steps the first time that it is used: what it computes with is the same for all models."""
    from hcodec.models.runtime.check import check

    if name not in _checked:
        check(steps)
        _checked.add(name)


def require_torch() -> None:
    """Raises ModelError where torch is not installed."""
    if importlib.util.find_spec("torch") is None:
        raise ModelError("this needs torch, which is not installed; install hcodec[torch]")


@functools.cache
def _has_cuda() -> bool:
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return bool(torch.cuda.is_available())
