"""The parts of the model lab: distributions on a stack, the objective, the loop, and who may import what."""

from __future__ import annotations

import ast
import copy
import itertools
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from hcodec.coding.float_stack import FloatStack
from hcodec.errors import FormatError, ModelError
from hcodec.models.lab import bits_back, families
from hcodec.models.lab.data import DataSet, glyphs, open_set
from hcodec.models.lab.distributions import Gaussian, Logistic, Pixels, Table
from hcodec.models.lab.objective import Options, balance, loss
from hcodec.models.lab.protocol import Recorded, Terms
from hcodec.models.lab.train import LabTask
from hcodec.models.training.loop import Recipe, Trainer


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def gaussian(mean, log_scale):
    return Gaussian(torch.tensor(mean), torch.tensor(log_scale))


def test_closed_form_and_samples_agree():
    torch.manual_seed(0)
    q, p = gaussian([[0.3, -1.0]] * 20000, [[-1.0, 0.2]] * 20000), gaussian([0.0, 1.0], [0.0, 0.1])
    z = q.sample()
    torch.testing.assert_close((q.log_prob(z) - p.log_prob(z)).mean(0), q.divergence(p)[0], atol=0.05, rtol=0)


def test_masses_of_pixels_add_up():
    torch.manual_seed(0)
    mixture = Pixels(torch.randn(3, 4, 2), torch.randn(3, 4, 2), torch.randn(3, 4, 2) - 3)
    values = torch.arange(256.0).view(-1, 1, 1).expand(-1, 3, 2)
    masses = torch.stack([mixture.log_prob(value).exp() for value in values])
    torch.testing.assert_close(masses.sum(0), torch.ones(3, 2), atol=1e-4, rtol=0)
    np.testing.assert_allclose(mixture._masses().reshape(3, 2, 256), masses.permute(1, 2, 0), atol=1e-5)


def any_distributions():
    torch.manual_seed(0)
    mean, log_scale = 3 * torch.randn(200), torch.randn(200).clamp(-3, 2)
    yield Gaussian(mean, log_scale)
    yield Logistic(100 * mean, torch.randn(2, 200), torch.stack([log_scale, log_scale + 1]))
    yield Pixels(*(torch.randn(1, 3, 200) for _ in range(3)))
    yield Table(torch.randn(1, 256, 200))


@pytest.mark.parametrize("distribution", list(any_distributions()), ids=lambda d: type(d).__name__)
def test_what_is_pushed_is_popped_and_costs_its_information(distribution):
    stack = FloatStack(1 << 14)
    words = stack.to_words()
    begun = stack.num_bits
    value = distribution.pop(stack)
    borrowed = begun - stack.num_bits
    expected = -distribution.log_mass(value).sum().item() / math.log(2)
    assert abs(borrowed - expected) < 0.001 * expected + 64
    distribution.push(stack, value)
    assert stack.num_bits == begun and stack.is_as_begun(1 << 14) and words[0] <= 1 << 14


@pytest.mark.parametrize("distribution", list(any_distributions())[:2], ids=lambda d: type(d).__name__)
def test_masses_of_latents_are_those_of_their_bins(distribution):
    step = getattr(distribution, "step", 1.0)
    near = (distribution.center / step).round() * step
    masses = sum(distribution.log_mass(near + step * offset).exp() for offset in torch.arange(-2000.0, 2001.0))
    torch.testing.assert_close(masses, torch.ones(200, dtype=torch.float64), atol=1e-4, rtol=0)
    wide = distribution.spread > 8 * step
    densities = distribution.log_prob(near).double() + math.log(step)
    torch.testing.assert_close(distribution.log_mass(near)[wide], densities[wide], atol=2e-3, rtol=0)
    assert distribution.log_mass(near + 1e6 * step).isfinite().all()


def test_the_bound_counts_what_is_far_from_its_mean_as_a_stack_does():
    far = gaussian([0.0] * 300, [-1.0] * 300)
    visit, stack = Recorded({"z": torch.full((300,), 7 * far.spread[0].item() // far.step * far.step)}), FloatStack(1 << 10)
    begun = stack.num_bits
    far.push(stack, visit("z", far))
    assert bits_back._bits(visit) == pytest.approx(300 * 24)
    assert stack.num_bits - begun == pytest.approx(300 * 24, rel=0.2)


@pytest.mark.parametrize("distribution", list(any_distributions())[:2], ids=lambda d: type(d).__name__)
def test_latents_far_from_the_mean_are_coded_too(distribution):
    stack = FloatStack(64)
    value = distribution.center.round() + torch.linspace(-30000, 30000, 200).round()
    distribution.push(stack, value)
    assert torch.equal(distribution.pop(stack), value)
    assert stack.is_as_begun(64)


def test_a_dry_stack_and_senseless_distributions_are_refused():
    with pytest.raises(FormatError):
        gaussian([0.0] * 500, [0.0] * 500).pop(FloatStack(16))
    for bad in (gaussian([math.nan], [0.0]), Pixels(*(torch.full((1, 2, 1), math.nan) for _ in range(3)))):
        with pytest.raises(ModelError):
            bad.pop(FloatStack(16))


def terms(pixels, *kl):
    return Terms(torch.tensor(pixels), {f"z{i}": torch.tensor(each) for i, each in enumerate(kl)})


def test_the_objective_is_the_bound_in_bits_per_dimension():
    given = terms([30.0, 50.0], [4.0, 6.0], [1.0, 3.0])
    expected = (40 + 5 + 2) / (10 * math.log(2))
    torch.testing.assert_close(loss(given, Options(), 0.0, 10), torch.tensor(expected))
    half = loss(given, Options(warmup=0.5), 0.25, 10)
    torch.testing.assert_close(half, torch.tensor((40 + 0.5 * 7) / (10 * math.log(2))))
    torch.testing.assert_close(loss(given, Options(warmup=0.5), 0.75, 10), torch.tensor(expected))


def test_free_bits_cost_the_same_and_push_nothing():
    kl = torch.tensor([0.5, 0.7], requires_grad=True)
    value = loss(Terms(torch.zeros(2), {"z1": kl}), Options(free_bits=2.0), 1.0, 1)
    assert value.item() == pytest.approx(2.0)
    value.backward()
    assert kl.grad.abs().sum() == 0


def test_balance_spares_levels_that_hold_little():
    weights = balance(torch.tensor([10.0, 1.0, 0.0]))
    assert weights[0] > weights[1] > weights[2] > 0
    torch.testing.assert_close(weights.mean(), torch.tensor(1.0))


@pytest.mark.parametrize("log_scale", [-200.0, 200.0])
def test_no_scale_makes_gradients_infinite(log_scale):
    """Components that nothing needs drift away in training, to log scales of 87 where exp(-s) is 0."""
    parts = [torch.full((1, 2, 256), value, requires_grad=True) for value in (0.0, 0.1, log_scale)]
    bits = -Pixels(*parts).log_prob(torch.arange(256.0)[None]).sum()
    bits.backward()
    assert bits.isfinite() and all(part.grad.isfinite().all() for part in parts)


@pytest.mark.parametrize(("channels", "log_scale"), [(1, -300.0), (1, 300.0), (3, -300.0), (3, 300.0)])
@torch.no_grad()
def test_pixels_of_the_chains_network_are_coded_whatever_their_scales(channels, log_scale):
    """The plane of grays, of which black pixels have none, drifted to 207 in 16 minutes of MNIST."""
    network = families.entry("small").network(families.configure("small", channels, tiny=True))
    network.inner.last_head.bias[1:3] = log_scale
    x = torch.from_numpy(glyphs("0123456789", channels, 16, 0).reshape(1, channels, 16, 16).copy()).float()
    stack = FloatStack(20_000)
    bits_back.push(network, stack, x)
    assert torch.equal(bits_back.pop(network, stack, x.shape), x)


@pytest.mark.parametrize("family", families.FAMILIES)
def test_training_lowers_the_bound(family):
    torch.manual_seed(0)
    x = torch.from_numpy(glyphs("0123456789", 16, 16, 0).copy()).float()
    data = DataSet("same", lambda count: x[:count].byte().numpy(), np.random.default_rng(0), x.byte().numpy())
    network = families.entry(family).network(families.configure(family, 1, tiny=True))
    trainer = Trainer(LabTask(network, data, Options()), Recipe(minutes=10.0, batch=16, rate=3e-3, warmup_steps=5))
    with torch.no_grad():
        before = network.terms(x).total().mean()
        for _ in range(8):
            with torch.enable_grad():
                log = trainer.advance()
        assert network.terms(x).total().mean() < before
    assert {"bpd", "norm", "skipped"} < set(log)


def test_a_budget_is_counted_by_the_clock_that_is_given_and_steps_leave_nothing_behind():
    network = families.entry("vae").network(families.configure("vae", 1, tiny=True))
    x = glyphs("0123456789", 16, 16, 0)
    data = DataSet("same", lambda count: x[:count], np.random.default_rng(0), x)
    ticks = itertools.count(step=3.0)
    trainer = Trainer(LabTask(network, data, Options()), Recipe(minutes=0.5, batch=4), clock=lambda: next(ticks))
    while trainer.progress < 1:
        trainer.advance()
    assert (trainer.step, trainer.seconds) == (10, 30.0)
    assert not any(parameter.requires_grad for parameter in trainer.average.parameters())  # no graph that grows with each step


def test_unknown_families_are_refused():
    with pytest.raises(ModelError, match="there are vae"):
        families.entry("gan")


def test_whitening_is_undone():
    stack = FloatStack(64)
    stack.whiten(10)
    assert not stack.is_as_begun(64)
    stack.unwhiten(10)
    assert stack.is_as_begun(64)


# rooms: family -> what else of the package it may see; everything of the network room stays free of files and stacks
ROOM = Path(__file__).parent.parent / "models" / "lab"
CODERS = {"bits_back.py", "hlab.py"}
NETWORKS = {"protocol.py", "distributions.py", "layers.py", "topdown.py", *(f"{name}.py" for name in families.FAMILIES)}


def imported(path):
    """The modules that a file imports at run time."""
    for node in ast.walk(ast.parse(re.sub(r"if TYPE_CHECKING:\n( .*\n)+", "", path.read_text(encoding="utf-8")))):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("path", sorted(ROOM.glob("*.py")), ids=lambda path: path.stem)
def test_rooms_of_the_lab(path):
    names = set(imported(path))
    assert not any(name.startswith("constriction") for name in names)
    assert path.name in CODERS or not any(name.startswith("hcodec.coding") for name in names)
    if path.name in NETWORKS - {"distributions.py", "small.py"}:
        assert not any(re.match(r"numpy|PIL|hcodec(?!\.models\.lab)", name) for name in names)


def test_one_file_knows_the_network_of_the_chains():
    names = {path.name: set(imported(path)) for path in ROOM.glob("*.py")}
    knowing = {file for file, found in names.items() if any(name.startswith("hcodec.models.small.network") for name in found)}
    assert knowing == {"small.py"}


def test_a_task_draws_the_same_batches_again():
    task = LabTask(families.entry("vae").network(families.configure("vae", 1, tiny=True)), open_set(["glyphs"]), Options())
    state = copy.deepcopy(task.state_dict())
    first = task.batch(5)
    assert not torch.equal(first, task.batch(5))
    task.load_state_dict(state)
    assert torch.equal(first, task.batch(5))
