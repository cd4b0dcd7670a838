"""Steps that ONNX Runtime runs: graphs made once from the torch networks, with the weights of the weights file.

Room: runtime. Every session computes on the thread that calls it. Graphs of integers run as they are written: what
might rewrite them (gains folded into kernels, say) is switched off.
"""

from __future__ import annotations

import functools
import json
import os
import threading
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hcodec.errors import ModelError
from hcodec.models.runtime.narrow import SCALE, narrowed
from hcodec.models.runtime.steps import Array, Function, Gather, Reach, in_parts

if TYPE_CHECKING:
    import onnxruntime

GATHER = ".gather"  # suffix of the name of a step's first half
INDEX = "index.json"  # in a file of graphs: for each step its reach, whether it is exact, and the type of each weight
# what reading a damaged zip file or index can raise
_DAMAGE = (
    OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, zipfile.BadZipFile, zlib.error
)  # fmt: skip


@dataclass(frozen=True)
class _Graph:
    """A step as its file has it. weights: the type of each weight, by name; gather: its first half, if it has two."""

    data: bytes
    reach: Reach
    exact: bool
    weights: dict[str, str]
    gather: _Graph | None = None

    @classmethod
    def read(cls, file: zipfile.ZipFile, name: str, about: Any) -> _Graph:
        """Returns the graph of a step in a file, of which the index says that; what `_DAMAGE` lists if anything is wrong."""
        common = Reach(int(about["radius"]), int(about["unit"])), bool(about["exact"])
        gather = None
        if "gather" in about:
            gather = cls(file.read(f"{name}{GATHER}.onnx"), *common, dict(about["gather"]))
        return cls(file.read(f"{name}.onnx"), *common, dict(about["weights"]), gather)


class OnnxSteps:
    """The steps of one network.

    path: the file of graphs; weights: by the names that the graphs call them.
    """

    def __init__(self, path: Path, weights: Mapping[str, Array]) -> None:
        self._weights = weights
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}
        self._lock = threading.Lock()
        try:
            with zipfile.ZipFile(path) as file:
                index = json.loads(file.read(INDEX))
                self._graphs = {name: _Graph.read(file, name, about) for name, about in index.items()}
        except _DAMAGE as error:
            raise ModelError(f"{path.name} cannot be read: {error}") from None
        self._parts = self._graphs | {f"{name}{GATHER}": graph.gather for name, graph in self._graphs.items() if graph.gather}
        lost = {weight.removesuffix(SCALE) for graph in self._parts.values() for weight in graph.weights} - set(weights)
        if lost:
            raise ModelError(f"weights lack the tensor {min(lost)!r}")

    def __call__(self, name: str, *arrays: Array, into: Array | None = None) -> Sequence[Array]:
        """Returns what a step makes of arrays."""
        graph = self._graphs[name]
        gather = self._function(f"{name}{GATHER}") if graph.gather else None
        return in_parts(self._function(name)[0], graph.reach, arrays, into, gather and Gather(*gather))

    def reach(self, name: str) -> Reach:
        """Returns how far a step sees."""
        return self._graphs[name].reach

    def __contains__(self, name: str) -> bool:
        return name in self._graphs

    def _function(self, name: str) -> tuple[Function, int]:
        """Returns what computes a graph, and how many arrays it takes."""
        session = self._session(name)
        names = [node.name for node in session.get_inputs()]

        def run(*parts: Array) -> list[Array]:
            """Returns the results of a part."""
            results: list[Array] = session.run(None, dict(zip(names, parts, strict=True)))
            return results

        return run, len(names)

    def _session(self, name: str) -> onnxruntime.InferenceSession:
        with self._lock:
            if name not in self._sessions:
                self._sessions[name] = self._open(name)
            return self._sessions[name]

    def _open(self, name: str) -> onnxruntime.InferenceSession:
        graph = self._parts[name]
        try:
            return session(graph.data, self._wanted(graph.weights), graph.exact)
        except Exception as error:  # ONNX Runtime's errors have no class in common
            raise ModelError(f"the graph {name} does not fit the weights: {error}") from None

    def _wanted(self, types: Mapping[str, str]) -> dict[str, Array]:
        """Returns weights of these types; those that are wanted as int8 and kept wide are rounded, with their scales."""
        found: dict[str, Array] = {}
        for name, dtype in types.items():
            if dtype == "int8" and self._weights[name].dtype != np.int8:
                found[name], found[name + SCALE] = narrowed(self._weights[name].astype(np.float32))
            elif name in self._weights:
                found[name] = self._weights[name].astype(dtype)
        return found


@functools.cache
def _begin() -> None:
    """Prepares ONNX Runtime, which is imported here first.

    It says nothing to its makers, and keeps no number of this machine for that. All sessions take their working memory from one
    arena: each would keep for itself the most that it ever took.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    kind = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR
    place = onnxruntime.OrtMemoryInfo("Cpu", kind, 0, onnxruntime.OrtMemType.DEFAULT)
    onnxruntime.create_and_register_allocator(place, None)


def session(graph: bytes, weights: Mapping[str, Array], exact: bool) -> onnxruntime.InferenceSession:
    """Returns a graph ready to run, on the calling thread alone; exact: as it is written."""
    _begin()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_DISABLE_ALL if exact else level.ORT_ENABLE_ALL
    options.log_severity_level = 3
    names = list(weights)
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(weights[name])) for name in names]
    options.add_external_initializers(names, values)
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
