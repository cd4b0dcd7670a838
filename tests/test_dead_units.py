"""Dead hidden units are found and started anew; balance and centers change numbers, not pictures."""

from __future__ import annotations

import copy

import pytest
import torch
from conftest import make_network

from hcodec.models.blocks import Spread
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
    if hasattr(module, "prior"):
        module.prior.weight.data[units] = 0
        module.prior.bias.data[units] = 0


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
    victims = [network.latents[2].block, network.latents[1].posterior, network.synthesis.block, network.analysis.stem_blocks[0]]
    for module in victims:
        kill(module, slice(3, 8))
    average, dead = copy.deepcopy(network), copy.deepcopy(network)
    assert restart(network, average, pictures) == 5 * len(victims)
    watch = Watch(network, pictures)
    assert not any(watch.dead(module).any() for module in watch.spreads)
    same_curve(network, dead, pictures)
    same_curve(average, dead, pictures)
    torch.testing.assert_close(average.latents[2].head.weight, network.latents[2].head.weight)
    torch.testing.assert_close(average.latents[1].posterior.prior.weight, network.latents[1].posterior.prior.weight)


def test_restarted_units_are_positive_half_of_the_time(network_and_pictures):
    network, pictures = network_and_pictures
    module = network.latents[2].posterior
    kill(module, slice(None))
    restart(network, network, pictures)
    seen = Watch(network, pictures).seen
    hidden = seen[module.fc1].outputs + seen[module.prior].outputs
    assert 0.3 < (hidden > 0).float().mean() < 0.7
    assert hidden.mean(0).abs().max() < 0.2 and hidden.std(0).max() < 1.5


def test_balance_brings_channels_to_one_and_changes_no_picture(network_and_pictures):
    network, pictures = network_and_pictures
    before = copy.deepcopy(network)
    balance(network, pictures)
    same_curve(network, before, pictures, rel=1e-3, db=1e-3)
    watch = Watch(network, pictures)
    for module in watch.spreads:
        if not module.centered:
            size = watch.seen[module.fc1].inputs.square().mean(0).sqrt()
            assert size.max() < 1.01
            assert (module.balance <= 10).all()
    again = [module.balance.clone() for module in watch.spreads]
    balance(network, pictures)
    for module, wanted in zip(watch.spreads, again, strict=True):
        torch.testing.assert_close(module.balance, wanted, rtol=0.02, atol=0)


def test_a_lost_block_is_centered_on_what_it_gets(network_and_pictures):
    network, pictures = network_and_pictures
    module = network.synthesis.block
    network.synthesis.embed.data += 40.0  # far from zero, where a unit's sign hangs on one sum of weights
    kill(module, slice(None))
    dead = copy.deepcopy(network)
    balance(network, pictures)
    assert module.center.mean() > 20
    seen = Watch(network, pictures).seen[module].inputs
    assert ((seen - module.center) * module.balance).std(0).max() < 1.01
    same_curve(network, dead, pictures)


def test_only_what_need_not_agree_is_centered():
    network = Network(CONFIGS["photo"])
    centered = {name for name, module in network.named_modules() if isinstance(module, Spread) and module.centered}
    assert all(name.startswith(("analysis.blocks.", "synthesis.block")) or name.endswith(".posterior") for name in centered)
    assert len(centered) == 7 + 8 + 1


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
