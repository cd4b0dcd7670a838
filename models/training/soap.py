"""The optimizer of long runs: Adam in the eigenbasis of each matrix's gradients.

Room: training. SOAP (Vyas et al. 2024, arXiv 2409.11321), one-sided: only the shorter side of a matrix is rotated; a
step of training takes 1.2 times as long as with AdamW. Kernels, biases and gains get plain Adam.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

_BETA1, _BETA2, _EPSILON = 0.95, 0.95, 1e-20
_FLOOR = 1e-3  # of the mean square: below it a direction holds bf16 noise, which must not be stepped along at full length
_LONGEST = 1.0  # root mean square of a parameter's step, in learning rates (Shazeer and Stern 2018, arXiv 1804.04235, section 6)
_KNOWN = 0.01  # of what the covariance says of a new direction; its square counts as no less
_LEAST_SIDE = 16  # matrices with a shorter side are not rotated


class Soap(torch.optim.Optimizer):
    """Steps all parameters at one learning rate; matrices of one shape are treated as a batch.

    refresh_every: steps between two corrections of the eigenbases (one QR iteration each). measure_every: steps between two
    looks at the gradients' covariance; every other gradient is as good as each and spares a third of the products. The first
    step only measures. After that, `update` is free of decisions on the host, so that a CUDA graph can hold it; then
    measure_every must be 1, and `refresh_when_due` is called outside the graph. A group's "lr" may be a tensor.
    """

    def __init__(
        self, params: Iterable[nn.Parameter] | Iterable[dict[str, Any]], lr: float, refresh_every: int = 20,
        measure_every: int = 2,
    ) -> None:  # fmt: skip
        super().__init__([*params], {"lr": lr, "refresh_every": refresh_every, "measure_every": measure_every})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Takes one step along the gradients that are there."""
        del closure
        self.update()
        self.refresh_when_due()

    @torch.no_grad()
    def update(self, share: float | Tensor = 1.0) -> None:
        """Takes one step along the gradients that are there; share: of the learning rates."""
        for group in self.param_groups:
            alike: dict[tuple[int, ...], list[nn.Parameter]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike[tuple(parameter.shape)].append(parameter)
            for parameters in alike.values():
                self._step_alike(parameters, group["lr"] * share, group["measure_every"])

    @torch.no_grad()
    def refresh_when_due(self) -> None:
        """Counts a step, and corrects the eigenbases if `refresh_every` have passed."""
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state.get(parameter, {})
                if "mean" in state and "basis" in state:
                    state["age"] += 1
                    if state["age"] % group["refresh_every"] == 0:
                        _refresh(state)

    def _step_alike(self, parameters: list[nn.Parameter], rate: float | Tensor, measure_every: int) -> None:
        gradient = torch.stack([p.grad for p in parameters if p.grad is not None])
        rotates = gradient.dim() == 3 and min(gradient.shape[1:]) >= _LEAST_SIDE
        turned = rotates and gradient.shape[1] < gradient.shape[2]
        gradient = gradient.mT if turned else gradient  # (count, long side, short side)
        state = self.state[parameters[0]]
        if rotates:
            if not _measure(state, gradient, measure_every):
                return
            gradient = gradient @ state["basis"]
        update = _adam(state, gradient)
        if rotates:
            update = update @ state["basis"].mT
        update = update.mT if turned else update
        torch._foreach_sub_([*parameters], list((update * rate).unbind()))


def _adam(state: dict[str, Any], gradient: Tensor) -> Tensor:
    """Returns Adam's direction for gradients in whatever basis they come, and updates the two moments."""
    if "mean" not in state:
        state |= {name: torch.zeros_like(gradient) for name in ("mean", "square")}
        state["count"] = gradient.new_zeros(())  # a tensor, as the graph's own count
    state["count"] += 1
    state["mean"].lerp_(gradient, 1 - _BETA1)
    state["square"].lerp_(gradient.square(), 1 - _BETA2)
    square = state["square"] / (1 - _BETA2 ** state["count"])
    floor = _FLOOR * _mean_of_each(square) + _EPSILON
    update = state["mean"] / (1 - _BETA1 ** state["count"]) / square.add_(floor).sqrt_()
    return update / _mean_of_each(update.square()).sqrt().clamp(min=_LONGEST)


def _mean_of_each(x: Tensor) -> Tensor:
    """Returns the mean over all but the first axis, which is kept, as are the others with length 1."""
    return x.flatten(1).mean(1).reshape(-1, *[1] * (x.dim() - 1))


def _measure(state: dict[str, Any], gradient: Tensor, measure_every: int) -> bool:
    """Updates the covariance (count, side, side) of the short side when due; False on the first step, which makes the bases."""
    if "basis" not in state:
        product = gradient.mT @ gradient
        state |= {"covariance": product, "basis": torch.linalg.eigh(product).eigenvectors, "age": 0}
        return False
    if (state["age"] + 1) % measure_every == 0:
        state["covariance"].lerp_(gradient.mT @ gradient, 1 - _BETA2**measure_every)
    return True


def _refresh(state: dict[str, Any]) -> None:
    """Corrects the eigenbases in place by one power iteration and carries the mean over; squares stay with their directions.

    A matrix that has seen few gradients has directions that are arbitrary and turn far: what their squares say then is
    of other directions, and a step along them could be thirty times too long.
    """
    basis, mean = state["basis"], state["mean"] @ state["basis"].mT
    image = state["covariance"] @ basis
    order = (basis * image).sum(-2).argsort(-1, descending=True)
    image = image.gather(-1, order[:, None].expand_as(image))
    state["square"].copy_(state["square"].gather(-1, order[:, None].expand_as(state["square"])))
    basis.copy_(torch.linalg.qr(image).Q)
    state["mean"].copy_(mean @ basis)
    seen = (basis * (state["covariance"] @ basis)).sum(-2) / mean.shape[1]
    torch.maximum(state["square"], _KNOWN * seen[:, None], out=state["square"])
