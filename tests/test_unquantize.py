"""From a weights file back to a network that can be trained: it computes what the file computes, and exports to it again."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from conftest import make_network

from hcodec.models import weights_file
from hcodec.models.photo.export import export_agreed
from hcodec.models.photo.task import prefix_curve
from hcodec.models.photo.unquantize import unquantize
from hcodec.models.photo.walk import MEAN_UNIT


@pytest.fixture(scope="module")
def unquantized(tiny):
    return unquantize(*weights_file.read(tiny)[:3]).requires_grad_(False)


def test_the_unquantized_network_has_the_curve_of_the_one_that_was_exported(unquantized):
    network, pictures = make_network()
    for (bpp, psnr), (wanted_bpp, wanted_psnr) in zip(
        prefix_curve(unquantized, pictures), prefix_curve(network, pictures), strict=True
    ):
        assert bpp == pytest.approx(wanted_bpp, rel=0.01) and psnr == pytest.approx(wanted_psnr, abs=0.05)


def test_priors_agree_to_a_fraction_of_a_step(unquantized):
    network, _ = make_network()
    state = network.begin(6, 128, 128).state
    for ours, wanted in zip(unquantized.ordered_latents(), network.ordered_latents(), strict=True):
        if wanted.stride != 64:
            break
        (refined, prior), (wanted_refined, wanted_prior) = ours.prior(state), wanted.prior(state)
        for found, there in zip((refined, *prior), (wanted_refined, *wanted_prior), strict=True):
            assert (found - there).abs().max() < 4 * MEAN_UNIT


def test_transforms_that_carry_the_signal_get_their_gains_and_weights_back(unquantized):
    network, _ = make_network()
    pairs = [(unquantized.up[s], network.up[s]) for s in ("32", "16", "8")]
    pairs += [(ours.project, wanted.project) for ours, wanted in zip(unquantized.latents, network.latents, strict=True)]
    for ours, wanted in pairs:
        torch.testing.assert_close(ours.gain_in, wanted.gain_in)
        torch.testing.assert_close(ours.gain_out, wanted.gain_out)
        assert (ours.weight - wanted.weight).abs().max() < 1e-3


def test_rows_are_as_long_as_at_initialization(unquantized):
    for latent in unquantized.ordered_latents():
        for block in (*latent.refine, latent.block):
            torch.testing.assert_close(block.fc1.weight.norm(dim=1), torch.ones(block.fc1.out_features))
            assert (block.kernel.flatten(1).norm(dim=1) < 1.05).all()


def test_every_refining_block_is_exported_and_comes_back(unquantized, tiny):
    config, agreed, _, _ = weights_file.read(tiny)
    names = {name.rsplit(".", 2)[0] for name in agreed if ".refine." in name and name.endswith(".fc2.weight")}
    wanted = {"latents.0.refine.0", "latents.0.refine.1", *(f"latents.{i}.refine.0" for i in (1, 2, 3))}
    assert names == wanted and config.refine_blocks == {64: 2, 32: 1, 16: 1, 8: 1}
    network, pictures = make_network()
    added = {}

    def compare(name, block, inputs, output):
        """Notes how much a block adds to a state that really occurs, and by how much the unquantized one's result differs."""
        difference = unquantized.get_submodule(name)(inputs[0]) - output
        added[name] = (output - inputs[0]).abs().mean(), difference.abs().mean()

    for name in wanted:
        network.get_submodule(name).register_forward_hook(partial(compare, name))
    network(pictures, [3] * len(pictures), hard=True)
    assert set(added) == wanted and all(0.001 < there > 10 * difference for there, difference in added.values()), added


def test_gates_come_back(unquantized):
    network, _ = make_network()
    gates = {name: value for name, value in network.state_dict().items() if ".value." in name}
    assert len(gates) == 2 * 8
    for name, value in gates.items():
        assert torch.equal(unquantized.state_dict()[name], value)


def test_exporting_again_gives_nearly_the_same_integers(unquantized, tiny):
    _, agreed, _, _ = weights_file.read(tiny)
    again = export_agreed(unquantized, make_network()[1])
    assert set(again) == {name for name in agreed if not name.startswith("tables.")}
    for name in ("up.8.weight", "latents.0.project.weight", "latents.2.project.weight"):
        assert np.abs(again[name].int().numpy() - agreed[name]).max() <= 2


def test_a_unquantized_network_learns(unquantized):
    unquantized.requires_grad_(True)
    _, pictures = make_network()
    x_hat, bits = unquantized(pictures, [3, 3, 2, 2, 1, 1], hard=False)
    ((x_hat - pictures).square().sum() + bits.sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in unquantized.parameters())
