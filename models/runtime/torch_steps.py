"""Steps that torch runs: what graphs are made from, what they are compared with, and what runs on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hcodec.models.integer.kernels import dense, depthwise, exact_products
from hcodec.models.runtime.steps import Array, Reach, in_parts


@dataclass(frozen=True)
class Half:
    """The first half of a step: a function of its first `count` tensors to what each cell needs of those around it."""

    function: Callable[..., tuple[Tensor, ...]]
    count: int = 1


@dataclass(frozen=True)
class TorchStep:
    """One step: a function of tensors to a tuple of tensors, inputs that show their shapes and types, and how far it sees.

    exact: whether all of it is arithmetic on integers, of which nothing may be rewritten. gather: for a step in two halves; its
    results are then given to the function, too, which computes each cell by itself.
    """

    function: Callable[..., tuple[Tensor, ...]]
    examples: tuple[Tensor, ...]
    reach: Reach = field(default_factory=Reach)
    exact: bool = True
    gather: Half | None = None

    def __call__(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Returns what the whole step makes of tensors."""
        return self.function(*tensors, *self.gathered(*tensors))

    def gathered(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Returns what the first half makes of them, if there is one."""
        return self.gather.function(*tensors[: self.gather.count]) if self.gather else ()


def check_step() -> TorchStep:
    """Returns the step that `check` tries: a dense product and a depthwise kernel in float32, a dense product in float64."""

    def function(x: Tensor, weight: Tensor, kernel: Tensor, wide: Tensor, precise: Tensor) -> tuple[Tensor, ...]:
        """Returns the three results."""
        return (
            dense(x, weight, x.new_zeros(len(weight))),
            depthwise(x, kernel, x.new_zeros(len(kernel))),
            dense(wide.double(), precise.double(), precise.new_zeros(len(precise)).double()),
        )

    shapes = (1, 8, 8, 64), (96, 64), (64, 1, 3, 3), (1, 8, 8, 64), (96, 64)
    return TorchStep(function, tuple(torch.zeros(shape) for shape in shapes))


class TorchSteps:
    """The steps of one network on a device."""

    def __init__(self, steps: Mapping[str, TorchStep], device: torch.device) -> None:
        self.steps, self.device = steps, device

    def __call__(self, name: str, *arrays: Array, into: Array | None = None) -> Sequence[Array]:
        """Returns what a step makes of arrays."""
        step = self.steps[name]

        def run(*parts: Array) -> list[Array]:
            """Returns the results of a part."""
            with exact_products():
                results = step(*(torch.from_numpy(part).to(self.device) for part in parts))
            return [result.cpu().numpy() for result in results]

        return in_parts(run, step.reach, arrays, into)

    def reach(self, name: str) -> Reach:
        """Returns how far a step sees."""
        return self.steps[name].reach

    def __contains__(self, name: str) -> bool:
        return name in self.steps
