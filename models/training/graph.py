"""A whole training step as one CUDA graph, which is trusted only after it did what the plain step does.

Room: training. A GPU is faster than Python can tell it what to do; a graph is recorded once and replayed with one call. It sees
new numbers only where its inputs are refilled, so all of a batch, noise included, is copied into fixed tensors, and the loss must
draw no numbers of its own. Tests, which have no GPU, replay plain Python in place of a graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from hcodec.models.training.soap import Soap

Capture = Callable[[Callable[[], None]], Callable[[], None]]  # takes a step and returns what repeats it
Step = Callable[[Any], Tensor]  # takes a step on a batch and returns its loss

_SAME_LOSS = 2e-3  # relative difference that bfloat16 sums in another order may have
_WORSE = 1.03  # times the score at the start is a run gone wrong
_SAME_MOVE = 0.1  # relative difference of what moved; tiny gradients are blown up by the optimizer


@runtime_checkable
class Capturable(Protocol):
    """A task whose step may be captured."""

    def is_static(self) -> bool:
        """Whether the loss depends on tensors of the batch alone: neither on progress nor on numbers drawn inside."""


@runtime_checkable
class Scored(Protocol):
    """A task that can tell by one number whether a run goes wrong."""

    def score(self, average: Any) -> float | None:
        """Returns a number that falls as the averaged network gets better on held-out data, in proportion to what it costs."""


def capture(step: Callable[[], None]) -> Callable[[], None]:
    """Returns what replays a step on the GPU."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        step()  # whatever is set up at the first call must not be recorded
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        step()
    replay: Callable[[], None] = graph.replay
    return replay


class CapturedStep:
    """Forward, backward, clipping, optimizer and moving average of one step. Steps that are not finite change no weight."""

    def __init__(self, loss: Callable[[Any], tuple[Tensor, dict[str, Any]]], networks: tuple[nn.Module, nn.Module],
                 optimizer: Soap, clip: float, batch: Any, capture: Capture) -> None:  # fmt: skip
        """networks: the one that is trained and its moving average; batch: an example of what steps will get."""
        self.loss, self.optimizer, self.clip = loss, optimizer, clip
        self.parameters: list[Tensor] = list(networks[0].parameters())
        self.averaged: list[Tensor] = list(networks[1].parameters())
        leaves, self.structure = pytree.tree_flatten(batch)
        self.inputs = [leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        zero = self.parameters[0].new_zeros(())
        self.zero = zero  # on the device: a plain 0.0 would be copied there, which a graph cannot hold
        self.share, self.skipped, self.skipped_in_a_row = zero.clone(), zero.clone(), zero.clone()
        for group in optimizer.param_groups:
            group["lr"] = zero.clone()
        self.results: dict[str, Any] = {}
        before = self._snapshot()
        self.replay = capture(self._step)
        self._put_back(before)

    def fits(self, batch: Any) -> bool:
        """Whether a batch is like the one that was captured: all shapes, and all that are no tensors."""
        leaves, structure = pytree.tree_flatten(batch)
        pairs = zip(leaves, self.inputs, strict=True) if structure == self.structure else [(0, 1)]
        return all(a.shape == b.shape if isinstance(a, Tensor) and isinstance(b, Tensor) else a == b for a, b in pairs)

    def __call__(self, batch: Any, rate: float, share: float) -> dict[str, Any]:
        """Takes a step at a learning rate; the average goes a share of its way. Returns the loss's numbers, "loss" and "norm"."""
        self._fill(batch, rate, share)
        self.replay()
        self.optimizer.refresh_when_due()
        return self.results

    def take_skipped(self) -> tuple[int, int]:
        """Returns how many steps were not finite since it was last called, and how many of them in a row until now."""
        skipped, in_a_row = int(self.skipped), int(self.skipped_in_a_row)
        self.skipped.zero_()
        return skipped, in_a_row

    def _fill(self, batch: Any, rate: float, share: float) -> None:
        for leaf, own in zip(pytree.tree_flatten(batch)[0], self.inputs, strict=True):
            if isinstance(own, Tensor):
                own.copy_(leaf)
        for group in self.optimizer.param_groups:
            group["lr"].fill_(rate * group["share"])
        self.share.fill_(share)

    def _step(self) -> None:
        """Does all that a step does, without asking the device for a number."""
        loss, values = self.loss(pytree.tree_unflatten(self.inputs, self.structure))
        loss.backward()
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        good = torch.isfinite(norm)
        for gradient in gradients:
            gradient.nan_to_num_(0.0, 0.0, 0.0)
        torch._foreach_mul_(gradients, (self.clip / (norm + 1e-6)).clamp(max=1.0).nan_to_num(0.0))
        self.optimizer.update(good.float())
        self._follow(good)
        self.results = {"loss": loss.detach(), "norm": norm} | values
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def _follow(self, good: Tensor) -> None:
        """Moves the average and counts."""
        # where, not times zero: weights that are not finite must not reach the average
        ways = [torch.where(good, own - average, self.zero) for own, average in zip(self.parameters, self.averaged, strict=True)]
        torch._foreach_mul_(ways, self.share)
        torch._foreach_add_(self.averaged, ways)
        self.skipped += ~good
        self.skipped_in_a_row.add_(1).mul_(~good)

    # Trust

    def difference(self, plain: Step, batches: Sequence[Any], rate: float, share: float) -> str:
        """Returns in words where the captured step does not do what the plain one does; empty if it always does.

        Both take a step from the same weights on the same batch, and all is put back afterwards.
        """
        for batch in batches:
            before = self._snapshot()
            wanted = plain(batch).item(), self._moved(before)
            self._put_back(before)
            self._fill(batch, rate, share)
            self.replay()
            found = self.results["loss"].item(), self._moved(before)
            self._put_back(before)
            if not abs(found[0] - wanted[0]) <= _SAME_LOSS * abs(wanted[0]):
                return f"its loss is {found[0]:.6g} instead of {wanted[0]:.6g}"
            miss = ((found[1] - wanted[1]).norm() / wanted[1].norm()).item()
            if not miss <= _SAME_MOVE:
                return f"its weights are {100 * miss:.3g} % off the way that they should go"
        return ""

    def _tensors(self) -> Iterator[Tensor]:
        """Yields all tensors that steps change: first the weights and their averages."""
        yield from self.parameters
        yield from self.averaged
        yield from (self.skipped, self.skipped_in_a_row)
        for state in self.optimizer.state.values():
            yield from (value for value in state.values() if isinstance(value, Tensor))

    def _snapshot(self) -> tuple[list[Tensor], list[int | None]]:
        ages = [state.get("age") for state in self.optimizer.state.values()]
        return [tensor.detach().clone() for tensor in self._tensors()], ages

    @torch.no_grad()
    def _put_back(self, snapshot: tuple[list[Tensor], list[int | None]]) -> None:
        tensors, ages = snapshot
        for own, tensor in zip(self._tensors(), tensors, strict=True):
            own.copy_(tensor)
        for state, age in zip(self.optimizer.state.values(), ages, strict=True):
            if age is not None:
                state["age"] = age

    def _moved(self, snapshot: tuple[list[Tensor], list[int | None]]) -> Tensor:
        """Returns how far weights and averages have moved since, as one vector."""
        pairs = zip([*self.parameters, *self.averaged], snapshot[0], strict=False)
        return torch.cat([(own.detach() - tensor).flatten() for own, tensor in pairs])


class Guard:
    """Remembers the averaged network at the start of a run, and how good it was."""

    def __init__(self, score: Callable[[], float | None], average: nn.Module) -> None:
        self.score, self.start = score, score()
        self.weights = {name: tensor.detach().cpu().clone() for name, tensor in average.state_dict().items()}

    def tells(self) -> str:
        """Returns in words how much worse the average is now; empty if it isn't, by more than 3 %."""
        now = self.score()
        if now is None or self.start is None or now <= _WORSE * self.start:
            return ""
        return f"validation is at {now:.5g} after {self.start:.5g} at the start"
