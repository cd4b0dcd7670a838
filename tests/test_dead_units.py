"""Dead hidden units are found and started anew; balance changes numbers, not pictures; float branches get centers once."""

from __future__ import annotations

import copy

import pytest
import torch
from conftest import make_network

from hcodec.models.blocks import Block, FloatBranch
from hcodec.models.photo.config import CONFIGS
from hcodec.models.photo.network import Network
from hcodec.models.photo.task import prefix_curve
from hcodec.models.tables.scales import LOG_SCALE_STEP, MIN_LOG_SCALE, NUM_SCALES
from hcodec.models.training.dead_units import Watch, balance, restart


@pytest.fixture
def network_and_pictures():
    network, pictures = make_network()
    return network, pictures[:4]


def kill(module, units):
    """Makes some hidden units of a block silent for ever, as training at too high a rate does."""
    module.fc1.weight.data[units] = 0
    module.fc1.bias.data[units] = -5


def same_curve(network, other, pictures, rel=0.003, db=0.03):
    for (bpp, psnr), (wanted_bpp, wanted_psnr) in zip(
        prefix_curve(network, pictures), prefix_curve(other, pictures), strict=True
    ):
        assert bpp == pytest.approx(wanted_bpp, rel=rel) and psnr == pytest.approx(wanted_psnr, abs=db)


def test_nothing_is_done_where_every_unit_lives(network_and_pictures):
    network, pictures = network_and_pictures
    restart(network, network, pictures)  # a few units are dead by chance on so few pictures
    before = copy.deepcopy(network.state_dict())
    assert restart(network, network, pictures) == 0
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_dead_units_live_again_and_pictures_stay_the_same(network_and_pictures):
    network, pictures = network_and_pictures
    restart(network, network, pictures)
    refine, tail = network.latents[0].refine[1], network.synthesis.fine_blocks[0]
    victims = [network.latents[2].block, refine, tail, network.analysis.stem_blocks[0]]
    for module in victims:
        kill(module, slice(3, 8))
    average, dead = copy.deepcopy(network), copy.deepcopy(network)
    assert restart(network, average, pictures) == 5 * len(victims)
    watch = Watch(network, pictures)
    assert set(watch.blocks) == {module for module in network.modules() if isinstance(module, Block)}
    assert not any(watch.dead(block).any() for block in watch.blocks)
    same_curve(network, dead, pictures)
    same_curve(average, dead, pictures)
    torch.testing.assert_close(average.latents[2].head.weight, network.latents[2].head.weight)
    torch.testing.assert_close(average.latents[0].refine[1].fc1.weight, refine.fc1.weight)


def test_restarted_units_are_positive_half_of_the_time(network_and_pictures):
    network, pictures = network_and_pictures
    block = network.latents[2].block
    kill(block, slice(None))
    restart(network, network, pictures)
    hidden = Watch(network, pictures).seen[block.fc1].outputs
    assert 0.3 < (hidden > 0).float().mean() < 0.7
    assert hidden.mean(0).abs().max() < 0.2 and hidden.std(0).max() < 1.5


def test_balance_brings_channels_to_one_and_changes_no_picture(network_and_pictures):
    network, pictures = network_and_pictures
    before = copy.deepcopy(network)
    balance(network, pictures)
    same_curve(network, before, pictures, rel=1e-3, db=1e-3)
    watch = Watch(network, pictures)
    for block in watch.blocks:
        size = watch.seen[block.fc1].inputs.square().mean(0).sqrt()
        assert size.max() < 1.01
        assert (block.balance <= 10).all()
    again = [block.balance.clone() for block in watch.blocks]
    balance(network, pictures)
    for block, wanted in zip(watch.blocks, again, strict=True):
        torch.testing.assert_close(block.balance, wanted, rtol=0.02, atol=0)


def branches_of(network):
    return [module for module in network.modules() if isinstance(module, FloatBranch)]


def seen_by_branches(network, pictures):
    """Returns what every float branch gets on pictures (cells, width), centered and balanced but not limited."""
    seen = {}

    def note(branch, inputs):
        seen[branch] = ((inputs[0] - branch.center) * branch.balance).flatten(0, -2)

    hooks = [branch.register_forward_pre_hook(note) for branch in branches_of(network)]
    network(pictures, [network.config.num_levels] * len(pictures), hard=True)
    for hook in hooks:
        hook.remove()
    return seen


def test_every_float_branch_is_centered_on_what_it_gets(network_and_pictures):
    """Also if what comes before it changes what it gets by being centered."""
    network, pictures = network_and_pictures
    network.synthesis.embed.data += 40.0
    for branch in branches_of(network):
        branch.fc2.weight.normal_(std=0.2)
    balance(network, pictures)
    assert network.synthesis.blocks[0].center.mean() > 20
    seen = seen_by_branches(network, pictures)
    assert set(seen) == set(branches_of(network)) and len(seen) == 8
    for branch, inputs in seen.items():
        assert inputs.mean(0).abs().max() < 0.01
        moved = branch.balance < 9.9  # next to nothing moves in the others, and that is not blown up
        torch.testing.assert_close(inputs.std(0)[moved], torch.ones(int(moved.sum())), rtol=0.01, atol=0)
        assert moved.any() and (inputs.std(0) < 1.01).all() and (branch.balance < 10.01).all()


def test_float_branches_are_centered_once(network_and_pictures):
    """They are no more without effect later, and what they compute must not jump when training goes on."""
    network, pictures = network_and_pictures
    balance(network, pictures)
    before = {name: value.clone() for name, value in network.state_dict().items() if name.endswith(".center")}
    assert len(before) == 8 and all(value.any() for value in before.values())
    network.synthesis.embed.data += 40.0
    balance(network, pictures)
    assert all(torch.equal(network.state_dict()[name], value) for name, value in before.items())


def test_only_what_need_not_agree_is_made_of_float_branches():
    network = Network(CONFIGS["photo"])
    names = {name for name, module in network.named_modules() if isinstance(module, FloatBranch)}
    assert all(name.startswith(("analysis.", "synthesis.")) or name.endswith(".posterior.correct") for name in names)
    assert len(names) == (3 + 2 + 3 + 4 + 4) + 8 + (1 + 2)
    assert {name for name, _ in network.named_buffers() if name.endswith(".center")} == {f"{name}.center" for name in names}


def test_scales_end_where_the_grid_of_scales_ends(network_and_pictures):
    network, _ = network_and_pictures
    latent = network.latents[0]
    latent.head.bias.data[latent.channels :] = 1000.0
    _, (_, log_scale) = latent.prior(network.begin(1, 64, 64).state)
    assert log_scale.max().item() == pytest.approx(MIN_LOG_SCALE + (NUM_SCALES - 1) * LOG_SCALE_STEP)
    latent.requires_grad_(True)
    _, (_, log_scale) = latent.prior(network.begin(1, 64, 64).state)
    log_scale.sum().backward()  # a gradient that lowers them gets through
    assert latent.head.bias.grad[latent.channels :].abs().min() > 0
