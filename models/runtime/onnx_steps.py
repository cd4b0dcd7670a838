"""Steps that ONNX Runtime runs: graphs made once from the torch networks, with the weights of the weights file.

Room: runtime. Every session computes on the thread that calls it. Graphs of integers run as they are written: what
might rewrite them (gains folded into kernels, say) is switched off.
"""

from __future__ import annotations

import functools
import json
import threading
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hcodec.errors import ModelError
from hcodec.models.runtime.steps import Array, Reach, in_parts

if TYPE_CHECKING:
    import onnxruntime

INDEX = "index.json"  # in a file of graphs: for each step its reach, whether it is exact, and the type of each weight
# what reading a damaged zip file or index can raise
_DAMAGE = (
    OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, zipfile.BadZipFile, zlib.error
)  # fmt: skip


@dataclass(frozen=True)
class _Graph:
    """A step as its file has it. weights: the type of each weight, by name."""

    data: bytes
    reach: Reach
    exact: bool
    weights: dict[str, str]

    @classmethod
    def of(cls, data: bytes, about: Any) -> _Graph:
        """Returns the graph of which the index says that; LookupError, TypeError or ValueError if it says it wrongly."""
        return cls(data, Reach(int(about["radius"]), int(about["unit"])), bool(about["exact"]), dict(about["weights"]))


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
                self._graphs = {name: _Graph.of(file.read(f"{name}.onnx"), about) for name, about in index.items()}
        except _DAMAGE as error:
            raise ModelError(f"{path.name} cannot be read: {error}") from None
        lost = {weight for graph in self._graphs.values() for weight in graph.weights} - set(weights)
        if lost:
            raise ModelError(f"weights lack the tensor {min(lost)!r}")

    def __call__(self, name: str, *arrays: Array) -> Sequence[Array]:
        """Returns what a step makes of arrays."""
        session = self._session(name)
        names = [node.name for node in session.get_inputs()]

        def run(*parts: Array) -> list[Array]:
            """Returns the results of a part."""
            results: list[Array] = session.run(None, dict(zip(names, parts, strict=True)))
            return results

        return in_parts(run, self._graphs[name].reach, arrays)

    def _session(self, name: str) -> onnxruntime.InferenceSession:
        with self._lock:
            if name not in self._sessions:
                self._sessions[name] = self._open(name)
            return self._sessions[name]

    def _open(self, name: str) -> onnxruntime.InferenceSession:
        graph = self._graphs[name]
        weights = {weight: self._weights[weight].astype(dtype) for weight, dtype in graph.weights.items()}
        try:
            return session(graph.data, weights, graph.exact)
        except Exception as error:  # ONNX Runtime's errors have no class in common
            raise ModelError(f"the graph {name} does not fit the weights: {error}") from None


@functools.cache
def _share_memory() -> None:
    """Has all sessions take their working memory from one arena: each would keep for itself the most that it ever took."""
    import onnxruntime

    kind = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR
    place = onnxruntime.OrtMemoryInfo("Cpu", kind, 0, onnxruntime.OrtMemType.DEFAULT)
    onnxruntime.create_and_register_allocator(place, None)


def session(graph: bytes, weights: Mapping[str, Array], exact: bool) -> onnxruntime.InferenceSession:
    """Returns a graph ready to run, on the calling thread alone; exact: as it is written."""
    import onnxruntime

    _share_memory()
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
