"""All steps of the shipped networks see as far as they say, so that cuts change nothing."""

from __future__ import annotations

from dataclasses import replace
from unittest import mock

import numpy as np
import torch

from hcodec.models import registry, weights_file
from hcodec.models.lossless import model as lossless
from hcodec.models.photo import model as photo
from hcodec.models.runtime import steps
from hcodec.models.runtime.steps import Reach
from hcodec.models.runtime.torch_steps import TorchStep, TorchSteps
from hcodec.models.small import model as small


def parts_of(rows: int, columns: int) -> mock._patch:
    """Has maps cut into parts of about so many rows and columns."""
    return mock.patch.multiple(steps, _ROWS=rows, _COLUMNS=columns)


def all_steps() -> dict[str, TorchStep]:
    """Returns the steps of one shipped network of each family, as torch runs them."""
    config, integers, floats, _ = weights_file.read(registry.PHOTO.path("photo-1"))
    _, pixels, _ = weights_file.read_exact(registry.LOSSLESS.path("photo-1"))
    about, chain, _ = weights_file.read_exact(registry.SMALL.path("small-1"))
    families = {
        "photo": photo.torch_steps(config, integers, floats),
        "lossless": lossless.torch_steps(pixels),
        "small": small.torch_steps(small.config_from(about), chain),
    }
    return {f"{family} {name}": step for family, named in families.items() for name, step in named.items() if name != "check"}


def inputs_of(step: TorchStep, times: int, seed: int) -> list[np.ndarray]:
    """Returns random inputs like those that show the step's shapes, with so many times as many rows and columns."""
    random, found = np.random.default_rng(seed), list[np.ndarray]()
    limit = 2**20 if step.exact and len(step.examples) == 1 else 3000  # of a state, or of a latent
    for example in step.examples:
        shape = [n * times if example.ndim == 4 and axis in (1, 2) else n for axis, n in enumerate(example.shape)]
        kind = example.numpy().dtype
        if kind == np.uint8:
            found.append(random.integers(0, 80, shape).astype(kind))
        elif kind.kind == "i":
            found.append(random.integers(16, 48, shape).astype(kind))
        else:
            values = random.integers(-limit, limit, shape).astype(kind)
            found.append(values if step.exact else values / limit)
    return found


def is_whole(name: str, step: TorchStep) -> bool:
    """Whether the results of a step are the same where its inputs are cut into small parts."""
    run, inputs = TorchSteps({name: step}, torch.device("cpu")), inputs_of(step, 5, 0)
    whole = run(name, *inputs)
    with parts_of(4, 7):
        found = run(name, *inputs)
    assert all(a.shape == b.shape and a.dtype == b.dtype for a, b in zip(found, whole, strict=True)), name
    if step.exact:
        return all(np.array_equal(*pair) for pair in zip(found, whole, strict=True))
    return all(np.allclose(*pair, rtol=1e-4, atol=1e-5) for pair in zip(found, whole, strict=True))


def test_every_step_sees_as_far_as_it_says():
    lesser = []
    for name, step in all_steps().items():
        assert is_whole(name, step), name
        if step.reach.radius:
            reach = Reach(step.reach.radius - step.reach.unit, step.reach.unit)
            lesser.append(is_whole(name, replace(step, reach=reach)))
    # less will not do, so the test can tell; but for a few of several blocks, at whose end rounding leaves nothing
    assert len(lesser) > 30 and sum(lesser) <= 3
