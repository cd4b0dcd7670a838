"""The depthwise operator of training: the same numbers and gradients as conv2d, also compiled."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch
from torch import library

from hcodec.models import blocks
from hcodec.models.training import depthwise, depthwise_kernels


def test_it_agrees_with_conv2d_in_double_precision(monkeypatch):
    depthwise.check("cpu")
    monkeypatch.setattr(depthwise, "_CLOSE", 0.0)
    with pytest.raises(ArithmeticError, match="relative error"):
        depthwise.check("cpu")


def test_it_is_a_proper_operator():
    x, weight = torch.randn(2, 5, 6, 8, requires_grad=True), torch.randn(3, 3, 8, requires_grad=True)
    library.opcheck(depthwise.convolve, (x, weight))


@pytest.mark.parametrize("half", [False, True])
def test_it_does_what_blocks_do_and_compiles_as_a_whole(half):
    torch.manual_seed(0)
    x, weight, bias = torch.randn(2, 5, 6, 8), torch.randn(8, 1, 3, 3), torch.randn(8)
    compiled = torch.compile(depthwise.depthwise, fullgraph=True, dynamic=False, backend="aot_eager")
    results = []
    for function in (blocks.depthwise, depthwise.depthwise, compiled):
        inputs = [tensor.clone().requires_grad_() for tensor in (x, weight, bias)]
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            y = function(*inputs)
        assert y.dtype == (torch.bfloat16 if half else torch.float32)
        y.float().square().sum().backward()
        results.append([y.float(), *(tensor.grad for tensor in inputs)])
    for found in results[1:]:
        for one, other in zip(found, results[0], strict=True):
            torch.testing.assert_close(one, other, rtol=0.03 if half else 1e-4, atol=0.3 if half else 1e-4)


def test_kernels_are_not_used_without_a_gpu():
    assert not depthwise_kernels.usable(torch.zeros(1))


def test_kernels_name_nothing_that_triton_does_not_know():
    """Triton compiles annotations, too, and refuses globals in them; its interpreter does not, so no other test would see it."""
    tree = ast.parse(Path(depthwise_kernels.__file__).read_text())
    kernels = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.decorator_list]
    assert [kernel.name for kernel in kernels] == ["_convolve_kernel", "_weight_kernel"]
    for kernel in kernels:
        annotations = {ast.unparse(argument.annotation) for argument in kernel.args.args if argument.annotation}
        assert annotations <= {"tl.constexpr"} and kernel.returns is None
