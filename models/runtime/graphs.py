"""Turns steps of torch into a file of ONNX graphs, which the export script of each family writes beside its weights file.

Room: runtime, export only. A graph holds no weights: what it takes from the weights file stands in it by its name there, so
nothing is stored twice. Needs the packages onnx and onnxscript.
"""

from __future__ import annotations

import json
import logging
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hcodec.models.runtime.narrow import SCALE, narrowed, widened
from hcodec.models.runtime.onnx_steps import GATHER, INDEX
from hcodec.models.runtime.torch_steps import TorchStep

Tensors = tuple[Tensor, ...]
Function = Callable[..., Tensors]
_RUNTIME_OWN = "com.microsoft"  # where ONNX Runtime has the operators that ONNX lacks
_OPSET = 20  # the first with an operator for GELU
_SMALL = 16  # numbers: what is no larger stays in the graph
_DATE = (1980, 1, 1, 0, 0, 0)  # of every entry, so that the same graphs give the same file


class _Module(nn.Module):
    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Returns what the function makes of the tensors."""
        return self.function(*tensors)


def write(path: Path, steps: Mapping[str, TorchStep], weights: Mapping[str, np.ndarray], on_int8: Iterable[str] = ()) -> None:
    """Writes the graphs of all steps, and what must be known to run them.

    weights: by the names that graphs call them. on_int8: matrices among them that are kept wide, but whose products are computed
    on int8; products by matrices that are kept as int8 always are.
    """
    narrow = {_digest(widened(value, weights[name + SCALE])): name for name, value in weights.items() if name + SCALE in weights}
    for name in on_int8:
        wide = weights[name].astype(np.float32)
        narrow[_digest(wide)] = name
        weights = {**weights, **dict(zip((name, name + SCALE), narrowed(wide), strict=True))}
    types = {name: ("int8",) if name + SCALE in weights else ("float32", "float64") for name in weights}
    known = {_digest(value.astype(dtype)): (name, dtype) for name, value in weights.items() for dtype in types[name]}
    index, entries = {}, {}
    for name, step in steps.items():
        about: dict[str, Any] = {"radius": step.reach.radius, "unit": step.reach.unit, "exact": step.exact}
        with torch.no_grad():
            examples = *step.examples, *step.gathered(*step.examples)
        model = _narrowed(_exported(step.function, examples, step.exact), narrow, weights)
        entries[f"{name}.onnx"], about["weights"] = _without_weights(model, known)
        if step.gather:
            first = _narrowed(_exported(step.gather.function, step.examples[: step.gather.count], step.exact), narrow, weights)
            entries[f"{name}{GATHER}.onnx"], about["gather"] = _without_weights(first, known)
        index[name] = about
    entries[INDEX] = json.dumps(index, indent=1, sort_keys=True).encode()
    with zipfile.ZipFile(path, "w") as file:
        for name in sorted(entries):
            file.writestr(zipfile.ZipInfo(name, _DATE), entries[name], zipfile.ZIP_DEFLATED)


def _digest(value: np.ndarray) -> tuple[Any, ...]:
    return value.dtype.str, value.shape, hash(value.tobytes())


def _narrowed(model: Any, narrow: Mapping[tuple[Any, ...], str], weights: Mapping[str, np.ndarray]) -> Any:
    """Returns a graph with its products by such matrices computed on int8, its inputs rounded on the way."""
    from onnx import helper, numpy_helper

    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in list(model.graph.node):
        name = narrow.get(_digest(values[node.input[1]])) if node.op_type == "Gemm" and node.input[1] in values else None
        if name is None:
            continue
        x, matrix, *bias = node.input
        inputs = [x, name, name + SCALE, "", *bias]
        node.CopyFrom(helper.make_node("DynamicQuantizeMatMul", inputs, node.output, domain=_RUNTIME_OWN))
        model.graph.initializer.remove(next(tensor for tensor in model.graph.initializer if tensor.name == matrix))
        parts = weights[name], weights[name + SCALE]
        model.graph.initializer.extend(
            numpy_helper.from_array(part, label) for part, label in zip(parts, inputs[1:3], strict=True)
        )
        if not any(used.domain == _RUNTIME_OWN for used in model.opset_import):
            model.opset_import.append(helper.make_opsetid(_RUNTIME_OWN, 1))
    return model


def _without_weights(model: Any, known: Mapping[tuple[Any, ...], tuple[str, str]]) -> tuple[bytes, dict[str, str]]:
    """Returns a graph and the types of the weights that it takes; ValueError if one of them has no name."""
    from onnx import numpy_helper

    renamed, used = {}, {}
    for tensor in list(model.graph.initializer):
        value = numpy_helper.to_array(tensor)
        if value.size <= _SMALL and _digest(value) not in known:
            continue
        if _digest(value) not in known:
            raise ValueError(f"a constant of shape {value.shape} in a graph has no name in the weights file")
        weight, dtype = known[_digest(value)]
        renamed[tensor.name], used[weight] = weight, dtype
        model.graph.initializer.remove(tensor)
        if weight not in {kept.name for kept in model.graph.initializer}:
            model.graph.initializer.append(_outside(weight, value))
    for node in model.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
    _strip(model)
    return model.SerializeToString(deterministic=True), used


def _exported(function: Function, examples: Tensors, exact: bool) -> Any:
    """Returns torch's ONNX model of a function, whose maps may have any number of rows and columns."""
    dynamic = torch.export.Dim.DYNAMIC
    shapes = tuple({1: dynamic, 2: dynamic} if len(example) == example.ndim - 3 == 1 else {} for example in examples)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _Module(function), tuple(example.clone() for example in examples), dynamo=True, dynamic_shapes=(shapes,),
            opset_version=_OPSET, verbose=False,
            optimize=exact,  # what is exact runs as it stands here; of the rest, weights must stay as they are
        )  # fmt: skip
    assert program is not None  # noqa: S101 (for the type checker: without a file it returns the program)
    return program.model_proto


def _outside(name: str, value: np.ndarray) -> Any:
    """Returns an initializer whose values are given when the graph is loaded."""
    from onnx import TensorProto, helper

    kind = helper.np_dtype_to_tensor_dtype(value.dtype)
    tensor = TensorProto(name=name, data_type=kind, dims=value.shape, data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="weights")
    return tensor


def _strip(model: Any) -> None:
    """Takes out what only people would read: where each node comes from, in torch and in files of this machine."""
    del model.metadata_props[:], model.graph.metadata_props[:], model.graph.value_info[:]
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
