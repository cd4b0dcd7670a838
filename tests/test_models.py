"""The network: shapes, transforms, rate, tables, the way down."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import make_network, render

from hcodec import models
from hcodec.models import weights_file
from hcodec.models.blocks import (
    FloatBlock,
    FloatBranch,
    LowerBound,
    Overlap,
    depth_to_space,
    depthwise,
    pad_even,
    pad_to,
    space_to_depth,
)
from hcodec.models.descend import descend
from hcodec.models.integer.certificate import STATE_LIMIT
from hcodec.models.photo import initialize
from hcodec.models.photo import prefix as prefixes
from hcodec.models.photo.config import CONFIGS, Config
from hcodec.models.photo.model import torch_networks, torch_steps
from hcodec.models.photo.network import Network
from hcodec.models.photo.objective import mean_squared_error
from hcodec.models.photo.prefix import Prefix, posterior, sampled, synthesize
from hcodec.models.photo.walk import MEAN_UNIT, analyze
from hcodec.models.rates import symbol_bits
from hcodec.models.runtime.torch_steps import TorchSteps
from hcodec.models.tables import symbol_tables
from hcodec.models.tables.scales import LOG_SCALE_STEP, MIN_LOG_SCALE, NUM_SCALES


def to_tensor(pixels: np.ndarray) -> torch.Tensor:
    """Returns a picture (1, 3, H, W) as the float network takes it."""
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255


@pytest.fixture(scope="module")
def network() -> Network:
    return make_network()[0]


@pytest.fixture(scope="module")
def model() -> models.Model:
    return models.load("tiny")


# Transforms


@pytest.mark.parametrize("factor", [1, 2, 4, 8])
def test_space_to_depth_and_back(factor):
    x = torch.arange(2 * 16 * 24 * 3.0).reshape(2, 16, 24, 3)
    y = space_to_depth(x, factor)
    assert y.shape == (2, 16 // factor, 24 // factor, 3 * factor**2)
    assert torch.equal(depth_to_space(y, factor), x)
    row, column = 1 // factor * factor, 3 // factor * factor
    assert torch.equal(y[0, 1 // factor, 3 // factor, :3], x[0, row, column])  # children row by row, colors innermost
    if factor > 1:
        assert torch.equal(y[0, 0, 0, 3:6], x[0, 0, 1]) and torch.equal(y[0, 0, 0, 3 * factor : 3 * factor + 3], x[0, 1, 0])


@pytest.mark.parametrize(
    "make",
    [lambda: initialize.dct_matrix(4), lambda: initialize.dct_matrix(8), initialize.color_matrix, initialize.patch_transform,
     initialize.merge_transform],
)  # fmt: skip
def test_transforms_have_orthonormal_rows(make):
    matrix = make()
    assert (matrix @ matrix.T - torch.eye(len(matrix), dtype=torch.float64)).abs().max() < 1e-12


def test_merging_lanes_is_the_dct_of_half_the_resolution():
    """A picture that a half-resolution one can hold comes back whole through the parent and its transpose."""
    patch, merge = initialize.patch_transform(), initialize.merge_transform()
    parent = torch.zeros(initialize.NUM_COEFFICIENTS, dtype=torch.float64)
    parent[:3] = torch.tensor([5.0, -2, 1])
    children = (merge.T @ parent).reshape(4, initialize.NUM_COEFFICIENTS)
    assert torch.allclose(merge @ children.flatten(), parent)
    pixels = children @ patch  # a constant color over all four
    assert (pixels.reshape(4, 64, 3) - pixels.reshape(4, 64, 3)[0, 0]).abs().max() < 1e-12


def test_depthwise_pads_with_zeros():
    x = torch.randn(1, 4, 5, 6)
    weight, bias = torch.zeros(6, 1, 3, 3), torch.zeros(6)
    weight[:, 0, 0, 1] = 1
    assert torch.equal(depthwise(x, weight, bias)[:, 1:], x[:, :-1]) and not depthwise(x, weight, bias)[:, 0].any()


@pytest.mark.parametrize("size", [3, 5])
def test_depthwise_kernels_may_have_any_odd_size(size):
    x, weight, bias = torch.randn(1, 4, 3, 2), torch.randn(2, 1, size, size), torch.randn(2)
    padded = F.pad(x, (0, 0, *[size // 2] * 4))
    windows = padded.unfold(1, size, 1).unfold(2, size, 1)  # (1, 4, 3, 2, size, size)
    torch.testing.assert_close(depthwise(x, weight, bias), (windows * weight[:, 0]).sum((-2, -1)) + bias)


@torch.no_grad()
def random_branch(branch):
    """Returns the branch with all weights, center and balance drawn at random."""
    for tensor in branch.state_dict().values():
        tensor.normal_(std=0.3)
    branch.balance.uniform_(0.5, 2)
    return branch


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("num_extra", [0, 2])
@torch.no_grad()
def test_a_float_branch_is_what_its_formula_says(gated, num_extra):
    branch = random_branch(FloatBranch(6, 4, 3, num_extra, gated))
    x, extra = 5 * torch.randn(2, 5, 4, 6), torch.randn(2, 5, 4, num_extra) if num_extra else None
    y = depthwise(((x - branch.center) * branch.balance).clamp(-8, 8), branch.kernel, branch.kernel_bias)
    for b, i, j in np.ndindex(2, 5, 4):
        cell = y[b, i, j]
        hidden = branch.fc1.weight @ cell / (1 + cell.square().sum() / 6).sqrt() + branch.fc1.bias
        if num_extra:
            hidden = hidden + branch.extra.weight @ extra[b, i, j] + branch.extra.bias
        hidden = F.gelu(hidden)
        if gated:
            hidden = hidden * (branch.value.weight @ cell + branch.value.bias)
        wanted = branch.fc2.weight @ hidden + branch.fc2.bias
        torch.testing.assert_close(branch(x, extra)[b, i, j], wanted, atol=0.01, rtol=0.01)  # its GELU is approximate


@torch.no_grad()
def test_a_float_branch_starts_at_zero_and_its_gate_at_one():
    torch.manual_seed(0)
    gated, x = FloatBranch(192, 64, 192, gated=True), torch.randn(1, 8, 8, 192)
    assert 0 < gated(x).abs().max() < 0.01
    assert torch.equal(gated.value(x), torch.ones(1, 8, 8, 64))
    plain = FloatBranch(192, 64, 192)
    missing = plain.load_state_dict(gated.state_dict(), strict=False)
    assert not missing.missing_keys and sorted(missing.unexpected_keys) == ["value.bias", "value.weight"]
    assert plain.value is None and torch.equal(gated(x), plain(x))


@torch.no_grad()
def test_the_mean_is_padding_to_a_float_branch_and_outliers_are_limited():
    branch = random_branch(FloatBranch(6, 4, 3, gated=True))
    mean = branch.center.expand(1, 5, 5, 6)
    assert torch.allclose(branch(mean), branch(mean)[:, :1, :1], atol=1e-5)  # the same at edges as inside
    far = mean + 8 / branch.balance
    torch.testing.assert_close(branch(far), branch(mean + 1000 / branch.balance))
    assert not torch.allclose(branch(far), branch(mean + 7 / branch.balance))


@torch.no_grad()
def test_a_float_block_adds_its_branch():
    block, x = random_branch(FloatBlock(6, 4, gated=True)), torch.randn(1, 3, 3, 6)
    torch.testing.assert_close(block(x), x + FloatBranch.forward(block, x))


@torch.no_grad()
def test_a_gated_network_starts_as_one_without_gates(network):
    plain = Network(replace(CONFIGS["tiny"], gated=False)).requires_grad_(False)
    left = plain.load_state_dict(network.state_dict(), strict=False)
    assert (
        not left.missing_keys and len(left.unexpected_keys) == 2 * 8 and all(".value." in name for name in left.unexpected_keys)
    )
    x = to_tensor(render(64, 64))
    for found, wanted in zip(plain(x, [3], hard=True), network(x, [3], hard=True), strict=True):
        assert torch.equal(found, wanted)


@torch.no_grad()
def test_posteriors_see_what_the_state_lacks_feature_and_prior(network):
    """A linear product of the lack is always there; the correction depends on every part."""
    posterior = copy.deepcopy(network.latents[0].posterior)
    state, feature, mean, log_scale = torch.randn(4, 1, 2, 2, 192)
    mean, log_scale = mean[..., :16], log_scale[..., :16]
    posterior.correct.fc2.weight.zero_()
    torch.testing.assert_close(posterior(state, feature, mean, log_scale), posterior.select(feature - state) - mean)
    posterior.correct.fc2.weight.normal_()
    before = posterior(state, feature, mean, log_scale)
    both = posterior(state + 1, feature + 1, mean, log_scale)  # the same lack
    assert not torch.equal(both, before)
    assert not torch.equal(posterior(state, feature, mean, log_scale + 1), before)
    assert not torch.equal(posterior(state, feature, mean + 1, log_scale) + 1, before)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 4), (3, 1), (3, 4)])
def test_overlap_adds_what_neighbors_tell_first_across_then_along(height, width):
    torch.manual_seed(0)
    overlap, x = Overlap(2), torch.randn(1, height, width, 2)
    assert torch.equal(overlap(x), x)
    for layer in (overlap.across, overlap.along):
        layer.weight.data.normal_()
    wanted = x
    for layer, step in ((overlap.across, (0, 1)), (overlap.along, (1, 0))):
        rows = torch.zeros_like(x)
        for i in range(height):
            for j in range(width):
                around = [(min(max(i + s * step[0], 0), height - 1), min(max(j + s * step[1], 0), width - 1)) for s in (-1, 1)]
                beside = torch.cat([wanted[0, row, column] for row, column in around])
                rows[0, i, j] = wanted[0, i, j] + layer.weight @ beside
        wanted = rows
    torch.testing.assert_close(overlap(x), wanted)


def test_overlaps_show_in_features_and_picture(network):
    network = copy.deepcopy(network).requires_grad_(False)
    x, weights = torch.rand(1, 3, 64, 64), torch.eye(3)[2:]
    features = network.analyze(x)
    picture = network.synthesize(features[8], weights, 64, 64)
    network.synthesis.overlap.along.weight.normal_(std=0.01)
    assert not torch.equal(network.synthesize(features[8], weights, 64, 64), picture)
    network.analysis.overlap.across.weight.normal_(std=0.01)
    assert all(not torch.equal(network.analyze(x)[stride], features[stride]) for stride in (8, 16, 32, 64))


def test_padding_repeats_the_edge():
    x = torch.arange(15.0).reshape(1, 3, 5, 1)
    assert pad_even(x).shape == (1, 4, 6, 1) and torch.equal(pad_even(x)[:, 3, :5], x[:, 2])
    assert pad_even(x)[0, 3, 5] == x[0, 2, 4]
    y = torch.rand(1, 3, 1, 9)
    assert pad_to(y, 8).shape == (1, 3, 8, 16) and torch.equal(pad_to(y, 8)[:, :, 7, 15], y[:, :, 0, 8])
    assert torch.equal(pad_to(pad_to(y, 8), 8), pad_to(y, 8))


def test_lower_bound_lets_gradients_lift_but_not_push():
    x = torch.tensor([-3.0, -3, 0], requires_grad=True)
    y = LowerBound.apply(x, -1.0)
    assert y.tolist() == [-1, -1, 0]
    (y * torch.tensor([1.0, -1, 1])).sum().backward()
    assert x.grad.tolist() == [0, -1, 1]


# Rate


@pytest.mark.parametrize("scale", [0.03, 0.2, 1.0, 7.0, 64.0])
def test_symbol_bits_is_the_log_of_the_logistic_mass(scale):
    symbol = torch.tensor([0.0, 1, -1, 2.5, -3, 6], dtype=torch.float64)
    edges = torch.stack([symbol - 0.5, symbol + 0.5]) / scale
    mass = torch.sigmoid(-edges.abs().amin(0)) - torch.sigmoid(-edges.abs().amax(0))  # in the tail, where it is precise
    mass = torch.where(symbol == 0, torch.sigmoid(edges[1]) - torch.sigmoid(edges[0]), mass)
    bits = symbol_bits(symbol, torch.full_like(symbol, scale).log())
    known = mass > 1e-250
    assert torch.allclose(bits[known], -mass[known].log2(), rtol=1e-6, atol=1e-9)
    assert bits.isfinite().all() and known.sum() >= 2
    assert torch.equal(bits, symbol_bits(-symbol, torch.full_like(symbol, scale).log()))


def test_all_symbols_together_have_mass_one():
    symbol = torch.arange(-3000.0, 3001, dtype=torch.float64)
    for scale in (0.05, 1.0, 64.0):
        assert (-symbol_bits(symbol, torch.full_like(symbol, scale).log())).exp2().sum() == pytest.approx(1, abs=1e-9)


def test_mean_squared_error_is_in_steps_of_8_bits():
    x = torch.zeros(2, 3, 4, 4)
    assert mean_squared_error(x + torch.tensor([1 / 255, 2 / 255])[:, None, None, None], x).tolist() == pytest.approx([1, 4])


# Tables


def test_tables_of_nothing_are_logistic():
    flat = symbol_tables.make(np.zeros((NUM_SCALES, 2 * symbol_tables.MAX_SYMBOL + 1), dtype=np.int64))
    num_silent, weights = symbol_tables.split(flat)
    assert flat.dtype == np.int32 and 0 < num_silent < NUM_SCALES
    for index, table in enumerate(weights):
        assert len(table) == 2 * symbol_tables.half_width(index) + 1 and int(table.sum()) + len(table) == 2**24
        assert (table == table[::-1]).all() and table.argmax() == len(table) // 2
        scale = torch.full((3,), MIN_LOG_SCALE + index * LOG_SCALE_STEP, dtype=torch.float64)
        wanted = symbol_bits(torch.tensor([0.0, 1, 2], dtype=torch.float64), scale)
        found = -np.log2((table[len(table) // 2 :][:3] + 1) / 2**24)
        likely = wanted.numpy() < 14  # beyond, the one that every symbol gets weighs in
        assert np.allclose(found[likely], wanted[likely], atol=0.02)


def test_counted_symbols_outweigh_the_belief():
    counts = np.zeros((NUM_SCALES, 2 * symbol_tables.MAX_SYMBOL + 1), dtype=np.int64)
    counts[:, symbol_tables.MAX_SYMBOL] = 900_000
    counts[:, symbol_tables.MAX_SYMBOL + 1] = 100_000  # only one side: the tables are made even
    num_silent, weights = symbol_tables.split(symbol_tables.make(counts))
    share = (weights[40] + 1) / 2**24
    middle = len(share) // 2
    assert num_silent == 0 and share[middle] == pytest.approx(0.9, abs=1e-3)
    assert share[middle + 1] == share[middle - 1] == pytest.approx(0.05, abs=1e-3)
    counts[:, symbol_tables.MAX_SYMBOL + 1] = 0
    assert symbol_tables.split(symbol_tables.make(counts))[0] == NUM_SCALES  # nothing ever moved


def test_damaged_tables_are_refused():
    flat = symbol_tables.make(np.zeros((NUM_SCALES, 2 * symbol_tables.MAX_SYMBOL + 1), dtype=np.int64))
    for position, change in ((5, 1), (-1, -1), (len(flat) // 2, 100)):
        broken = flat.copy()
        broken[position] += change
        with pytest.raises(ValueError, match="does not add up"):
            symbol_tables.split(broken)
    below = flat.copy()
    below[1], below[2] = -1, below[1] + below[2] + 1
    for broken in (below, flat[:-1], flat[:0], flat[:1]):
        with pytest.raises(ValueError, match="does not add up"):
            symbol_tables.split(broken)
    for broken in (np.append(flat, 0), np.append(-1, flat[1:]), np.append(NUM_SCALES + 1, flat[1:])):
        with pytest.raises(ValueError, match="wrong size"):
            symbol_tables.split(broken)


# The network and the way down

SIZES = [(1, 1), (1, 2000), (2000, 1), (63, 65), (65, 64), (64, 64), (129, 7)]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_any_size_has_features_and_a_state_on_one_grid(network, height, width):
    x = to_tensor(render(height, width))
    with torch.no_grad():
        features = network.analyze(x)
        assert {s: f.shape[1:3] for s, f in features.items()} == {s: (-(-height // s), -(-width // s)) for s in (8, 16, 32, 64)}
        for exit_level in (1, 3):
            x_hat, bits = network(x, [exit_level], hard=True)
            assert x_hat.shape == x.shape and x_hat.isfinite().all()
            assert (bits[0, :exit_level] > 0).all() and not bits[0, exit_level:].any()


def rounded_posterior(model, height, width):
    """Returns an answer as an encoder gives it, for a rendered picture."""
    wanted = posterior(model.walk.steps, analyze(model.config, model.walk.steps, render(height, width)))
    return lambda latent, state, prior: np.rint(wanted(latent, state, prior))


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_steps_analyze_as_the_network_does(model, height, width):
    pixels = render(height, width)
    network, _ = torch_networks(model.path)
    with torch.no_grad():
        wanted = network.analyze(to_tensor(pixels))
    found = analyze(model.config, model.walk.steps, pixels)
    assert found.keys() == wanted.keys()
    for stride, feature in found.items():
        assert feature.dtype == np.float32
        np.testing.assert_allclose(feature, wanted[stride].numpy(), atol=1e-3)
    (only,) = analyze(model.config, model.walk.steps, pixels, [8]).items()
    assert only[0] == 8 and (only[1] == found[8]).all()


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_way_down_and_synthesis_at_any_size(model, height, width):
    answer = rounded_posterior(model, height, width)

    def checked(latent, state, prior):
        mean, index, stride = prior.mean, prior.index, latent.stride
        assert mean.shape == index.shape == (1, -(-height // stride), -(-width // stride), latent.channels)
        assert index.dtype == np.uint8 and index.max() < NUM_SCALES and mean.dtype == np.float32 and (mean == mean.round()).all()
        return answer(latent, state, prior)

    position = model.walk.begin(height, width)
    for latent in model.walk.latents:
        position = descend(model.walk, position, checked, latent.index + 1)
        assert (position.state == position.state.round()).all() and np.abs(position.state).max() <= STATE_LIMIT
        assert (position.index, position.stride) == (latent.index + 1, latent.stride)
    prefix = Prefix.empty(model.walk, height, width)
    for level in (1, 2, 3):
        prefix = prefix.extended(checked)
        assert prefix.levels == level
    assert (prefix.position.state == position.state).all()
    finest = prefix.completed(sampled())
    rows, columns = (-(-edge // 8) for edge in (height, width))
    assert finest.shape == (1, rows, columns, 192)
    assert synthesize(model.walk, finest, 3.0).shape == (8 * rows, 8 * columns, 3)


def test_steps_see_no_further_than_they_say(model, monkeypatch):
    """Each, cut into many parts, gives what it gives for the whole map."""
    config, integers, floats, _ = weights_file.read(model.path)
    random = np.random.default_rng(0)
    for name, value in floats.items():
        if value.ndim > 1 and any(part in name for part in ("fc2", "kernel", "overlap", "fine_out")):
            floats[name] = random.normal(0, 0.1, value.shape).astype(np.float32)  # so that what is seen counts
    pieces = torch_steps(config, integers, floats)
    own, cut = TorchSteps(pieces, torch.device("cpu")), []
    for name, step in pieces.items():
        if name == "check":
            continue
        arrays, takes_integers = [], step.exact or name == "synthesis"
        for example in step.examples:
            shape = (1, 5 * example.shape[1], 3 * example.shape[2], example.shape[3]) if example.ndim == 4 else example.shape
            whole = random.integers(-9999, 9999, shape).astype(np.float32)
            arrays.append(
                (whole % 40).astype(np.uint8) if example.dtype == torch.uint8 else whole * (1 if takes_integers else 1e-4)
            )
        wanted = own(name, *arrays)
        with monkeypatch.context() as patch:
            patch.setattr("hcodec.models.runtime.steps._ROWS", 3)
            patch.setattr("hcodec.models.runtime.steps._COLUMNS", 4)
            found = own(name, *arrays)
        for one, other in zip(found, wanted, strict=True):
            assert one.dtype == other.dtype
            if step.exact:
                assert np.array_equal(one, other), name
            else:
                np.testing.assert_allclose(one, other, atol=1e-4, rtol=1e-4, err_msg=name)
        cut.append(name)
    assert len(cut) == len(pieces) - 1 > 20


@pytest.mark.parametrize("levels", [1.0, 1.5, 3.0])
def test_steps_synthesize_as_the_network_does(model, levels):
    network, _ = torch_networks(model.path)
    prefix = Prefix.empty(model.walk, 40, 50).extended(rounded_posterior(model, 40, 50))
    state = prefix.completed(sampled())
    weights = torch.tensor([{1.0: [1.0, 0, 0], 1.5: [0.5, 0.5, 0], 3.0: [0.0, 0, 1]}[levels]])
    with torch.no_grad():
        wanted = network.synthesize(torch.from_numpy(state) / 2**12, weights, 40, 50)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(synthesize(model.walk, state, levels)[:40, :50], wanted, atol=1e-3)


@pytest.mark.parametrize("levels", [0, 1])
def test_a_prefix_stays_as_it_is(model, levels):
    """Whatever is shown of it or put behind it."""
    prefix = Prefix.empty(model.walk, 40, 50)
    for _ in range(levels):
        prefix = prefix.extended(rounded_posterior(model, 40, 50))
    before, position = prefix.position.state.copy(), prefix.position
    first, second = prefix.completed(sampled()), prefix.completed(sampled())
    assert (first == second).all() and (position.index, position.stride) == ((0, 64), (2, 32))[levels]
    extended = prefix.extended(lambda latent, state, prior: np.ones_like(prior.mean))
    assert prefix.at_finest().shape == (1, 5, 7, model.config.width[8])
    assert prefix.position is position and (position.state == before).all() and prefix.levels == levels
    assert (prefix.completed(sampled()) == first).all() and (extended.completed(sampled()) != first).any()


def test_a_prefix_is_filled_up_to_the_levels_of_the_whole_picture(model):
    empty = Prefix.empty(model.walk, 64, 128)
    filled = empty.filled(sampled())
    assert filled.levels == 0 and filled.position.stride == 16 and filled.position.index == 3
    assert (filled.completed(sampled()) == empty.completed(sampled())).all()


def test_a_window_is_cut_out_of_the_state_and_keeps_what_lies_inside(model):
    prefix = Prefix.empty(model.walk, 128, 128).filled(rounded_posterior(model, 128, 128))
    outer, inside = (np.s_[:, 2:8, 1:7, :], np.s_[:, 4:8, 2:10, :])
    window = prefix.windowed(outer, inside, 96, 96)
    assert (window.position.state == prefix.position.state[outer]).all() and window.position.state.flags["C_CONTIGUOUS"]
    assert (window.position.height, window.position.width, window.position.index) == (96, 96, 3)
    assert window.at_finest().shape == window.completed(sampled()).shape == (1, 4, 8, 192)
    # bringing the coarse state up looks at no neighbor, so the window's is a part of the picture's
    assert (window.at_finest() == prefix.at_finest()[:, 8:12, 4:12]).all()


def test_symbols_are_steps_of_one_around_the_mean(model):
    def state_with(symbol):
        """Returns the state after the first latent if all of it is that symbol."""
        begin = model.walk.begin(64, 64)
        return descend(model.walk, begin, lambda latent, state, prior: np.full_like(prior.mean, symbol), 1).state

    project = torch_networks(model.path)[1].latents[0].project
    step = (project.weight.sum(1) / MEAN_UNIT * project.gain).float().numpy()
    assert np.abs((state_with(1) - state_with(0))[0, 0, 0] - step).max() <= 1


def test_temperature_and_seed(model):
    prefix = Prefix.empty(model.walk, 40, 50)

    def shown(temperature=0.0, seed=0):
        """Returns the pixels of the empty prefix."""
        return synthesize(model.walk, prefix.completed(sampled(temperature, seed)), prefix.levels)

    before = np.random.get_state()[1].copy()
    cold, warm = shown(), shown(0.7, seed=5)
    assert (cold != warm).any() and (warm == shown(0.7, seed=5)).all() and (cold == shown(0.0, seed=9)).all()
    assert (warm != shown(0.7, seed=6)).any()
    assert np.abs(shown(0.01, seed=5) - cold).mean() < 0.2 * np.abs(warm - cold).mean()
    for seed in (-1, 2**70):
        assert shown(0.7, seed=seed).shape == cold.shape
    assert np.isfinite(shown(1e30)).all()
    assert (np.random.get_state()[1] == before).all()  # the user's random numbers are left alone


@pytest.mark.parametrize(
    ("levels", "weights"),
    [(0.0, [1, 0, 0]), (0.25, [1, 0, 0]), (1.0, [1, 0, 0]), (1.25, [0.75, 0.25, 0]), (2.0, [0, 1, 0]), (3.0, [0, 0, 1])],
)
def test_the_share_of_a_cut_level_blends_what_synthesis_is_told(levels, weights):
    found = prefixes._weights(levels, 3)
    assert found.dtype == np.float32 and found.tolist() == [weights]


# Configurations


def test_a_config_comes_back_from_json():
    for config in CONFIGS.values():
        assert weights_file.config_from(json.loads(json.dumps(asdict(config)))) == config
    with pytest.raises(TypeError, match="flavor"):
        weights_file.config_from({**asdict(CONFIGS["tiny"]), "flavor": 1})


def test_configs_are_well_formed():
    for config in CONFIGS.values():
        assert isinstance(config, Config) and config.num_levels == len(config.levels) == len(config.lmbda)
        assert list(config.lmbda) == sorted(config.lmbda)
        strides = [stride for latents in config.levels for stride, _ in latents]
        assert strides == sorted(strides, reverse=True) and set(strides) <= {64, 32, 16, 8}
        assert min(config.width.values()) >= 192
