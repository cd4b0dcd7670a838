"""The model lab: each family has its own mechanism, and all go through one protocol, bits back included."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from hcodec.coding.float_stack import FloatStack
from hcodec.models.lab import bits_back, biva, diffusion, families, ladder, layers, nvae, pixelvae, protocol, resnet, vdvae
from hcodec.models.lab.data import glyphs
from hcodec.models.lab.distributions import Gaussian
from hcodec.models.lab.protocol import PIXELS, Given, Recorded

SIZE = (13, 10)  # no multiple of any stride


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def pictures(channels, count=4, size=SIZE):
    drawn = glyphs("0123456789", count * channels, 16, 0)[:, 0, : size[0], : size[1]]
    return torch.from_numpy(drawn.reshape(count, channels, *size).copy()).float()


@pytest.fixture(scope="module", params=[(family, channels) for family in families.FAMILIES for channels in (1, 3)], ids=str)
def trained(request):
    """A tiny network of each family after a few steps, so that no posterior equals its prior."""
    family, channels = request.param
    torch.manual_seed(0)
    network = families.entry(family).network(families.configure(family, channels, tiny=True))
    optimizer, x = torch.optim.Adam(network.parameters(), lr=3e-3), pictures(channels, 4)
    for _ in range(150 if family == "diffusion" else 12):
        optimizer.zero_grad()
        network.terms(x).total().mean().backward()
        optimizer.step()
    return network.requires_grad_(False).eval()


def channels_of(network):
    return network.config.channels


def test_bits_back_is_exact_and_costs_what_the_bound_says(trained):
    x = pictures(channels_of(trained), 12)
    stack = FloatStack(1 << 14)
    begun = stack.num_bits
    bound_bits = sum(bits_back.push(trained, stack, picture[None]) for picture in x)
    net_bits = stack.num_bits - begun
    untouched, words = stack.to_words()
    assert abs(net_bits / bound_bits - 1) < 0.01
    assert 32 * len(words) >= net_bits
    again = FloatStack(untouched, words)
    found = [bits_back.pop(trained, again, x[:1].shape) for _ in x]
    assert torch.equal(torch.cat(found[::-1]), x)
    assert again.is_as_begun(1 << 14)


def test_the_estimate_of_training_is_the_bound(trained):
    x = pictures(channels_of(trained), 4)
    quick = torch.stack([trained.terms(x).total() for _ in range(40)])
    exact = torch.stack([protocol.bound(trained, x).total() for _ in range(40)])
    noise = (quick.mean(1).var() + exact.mean(1).var()).sqrt() / math.sqrt(40)
    assert abs(quick.mean() - exact.mean()) < 4.5 * noise + 1e-3 * exact.mean()


def test_more_samples_never_loosen_the_bound(trained):
    x = pictures(channels_of(trained), 4)
    torch.manual_seed(0)
    one = torch.stack([protocol.importance_bound(trained, x, 1) for _ in range(16)]).mean()
    many = protocol.importance_bound(trained, x, 16).mean()
    assert many < one


def test_both_visits_ask_for_the_same_latents(trained):
    x = pictures(channels_of(trained), 2)
    posterior = Given()
    trained.infer(x, posterior)
    prior = Given({**posterior.values, PIXELS: x})
    assert torch.equal(trained.generate(x.shape, prior), x)
    assert sorted(prior.distributions()) == sorted(posterior.distributions())
    for name, q in posterior.distributions().items():
        assert q.center.shape == prior.distributions()[name].center.shape == posterior.values[name].shape


def test_samples_are_pictures(trained):
    shape = torch.Size([2, channels_of(trained), *SIZE])
    x = trained.generate(shape, Given(temperature=0.7))
    assert x.shape == shape
    assert torch.equal(x, x.round().clamp(0, 255))
    assert torch.equal(trained.generate(shape, Given(temperature=0.0)), trained.generate(shape, Given(temperature=0.0)))


# what each family has of its own


def test_ladder_combines_by_precision():
    mean, log_scale = torch.randn(2, 50), torch.randn(2, 50)
    both = ladder.combine(Gaussian(mean[0], log_scale[0]), Gaussian(mean[1], log_scale[1]))
    precision = torch.exp(-2 * log_scale)
    torch.testing.assert_close(torch.exp(-2 * both.log_scale), precision.sum(0))
    torch.testing.assert_close(both.mean, (precision * mean).sum(0) / precision.sum(0), atol=1e-5, rtol=1e-4)


def test_ladder_levels_see_only_the_one_above():
    network = ladder.Network(ladder.Config(widths=(8, 8, 8), latents=((4, 2), (4, 2), (2, 2)))).requires_grad_(False)
    for layer in network.layers:
        nn.init.normal_(layer.prior.conv.weight)
    shape = torch.Size([1, 1, *SIZE])
    first = Given()
    network.generate(shape, first)
    changed = Given({**first.values, "z1": first.values["z1"] + 1})
    network.generate(shape, changed)
    before, after = first.distributions(), changed.distributions()
    assert not torch.equal(before["z2"].mean, after["z2"].mean)
    assert torch.equal(before["z3"].mean, after["z3"].mean)


def test_resnet_adds_both_ways():
    network = resnet.Network(resnet.TINY).requires_grad_(False)
    layer = network.layers[0]
    state = torch.randn(1, 8, 4, 3)
    nn.init.normal_(layer.heads.weight)
    own = layer.heads(torch.nn.functional.silu(layer.first(torch.nn.functional.silu(state)))).chunk(4, 1)
    seen = torch.randn(1, 2, layer.channels, 4, 3)
    asked = []
    layer(state, seen, lambda _name, _prior, posterior: asked.append(posterior) or posterior.mean)
    torch.testing.assert_close(asked[0].mean, own[2] + seen[:, 0])


def test_biva_infers_on_the_way_up_before_the_top():
    network = biva.Network(biva.TINY)
    order = Given()
    network.infer(pictures(1, 1), order)
    assert list(order.distributions()) == ["up1", "top", "down1"]


def test_bottom_up_variables_of_biva_change_the_bound_and_the_top():
    network = biva.Network(biva.TINY).requires_grad_(False)
    x = pictures(1, 2)
    values = protocol.infer(network, x)
    other = {**values, "up1": values["up1"] + 2}
    tops = []
    for given in (values, other):
        visit = Given(given)
        network.infer(x, visit)
        tops.append(visit.distributions()["top"].mean)
    assert not torch.allclose(*tops)
    visits = [Given({**given, PIXELS: x}) for given in (values, other)]
    for visit in visits:
        network.generate(x.shape, visit)
    assert not torch.allclose(*(visit.nats(pixels_only=True) for visit in visits))


def test_skips_of_biva_reach_the_pixels():
    def reaches(skips):
        torch.manual_seed(0)
        network = biva.Network(replace(biva.TINY, skips=skips)).requires_grad_(False)
        for level in network.levels:  # the state forgets all above
            nn.init.zeros_(level.join.weight[:, :8])
        visits = []
        for top in (0.0, 1.0):
            given = {"top": torch.full((1, 2, 4, 3), top), "up1": torch.zeros(1, 2, 7, 5), "down1": torch.zeros(1, 2, 7, 5)}
            visits.append(Given({**given, PIXELS: pictures(1, 1)}))
            network.generate(torch.Size([1, 1, *SIZE]), visits[-1])
        return not torch.allclose(*(visit.nats(pixels_only=True) for visit in visits))

    assert reaches(True) and not reaches(False)


def test_residual_posterior_equals_the_prior_where_the_network_says_nothing():
    x = pictures(1, 2)
    for residual in (True, False):
        torch.manual_seed(0)
        network = nvae.Network(replace(nvae.TINY, residual=residual)).requires_grad_(False)
        for group in network.layers:
            layers.zero(group.change.conv)
            nn.init.normal_(group.prior.conv.weight)
        kl = torch.stack(list(network.terms(x).kl.values()))
        assert bool((kl == 0).all()) == residual


def test_squeeze_excite_never_amplifies():
    x = 10 * torch.randn(2, 8, 5, 5)
    gated = nvae.SqueezeExcite(8)(x)
    assert bool((gated.abs() <= x.abs()).all()) and bool((gated * x >= 0).all())
    assert not torch.equal(nvae.SqueezeExcite(8)(x), x)


def test_singular_values_are_found_from_below_and_the_penalty_shrinks_them():
    matrix, direction = torch.randn(6, 20), torch.randn(6)
    largest = torch.linalg.matrix_norm(matrix, 2)
    for _ in range(60):
        direction, value = nvae.singular_value(matrix, direction)
        assert value <= largest + 1e-4
    torch.testing.assert_close(value, largest, rtol=1e-3, atol=1e-3)
    network = nvae.Network(replace(nvae.TINY, spectral=1.0))
    before = max(network.penalty().item() for _ in range(30))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    for _ in range(10):
        optimizer.zero_grad()
        network.penalty().backward()
        optimizer.step()
    assert network.penalty().item() < before
    assert nvae.Network(replace(nvae.TINY, spectral=0.0)).penalty().item() == 0


def test_vdvae_begins_without_kl_and_is_deep():
    assert sum(count for _, count in vdvae.Config().layers) >= 20
    terms = vdvae.Network(vdvae.TINY).terms(pictures(1, 2))
    assert len(terms.kl) == 5
    assert all(bool((kl == 0).all()) for kl in terms.kl.values())


@pytest.mark.parametrize("depth", [2, 32])
def test_what_all_latents_of_vdvae_add_at_first_does_not_grow_with_their_number(depth):
    network = vdvae.Network(replace(vdvae.TINY, layers=((2, depth),)))
    added = sum(layer.project.weight.square().sum() for layer in network.modules() if isinstance(layer, vdvae.DeepLayer))
    assert 1 < added / vdvae.TINY.widths[1] < 4  # to the variance of a channel: about 2, as a single latent at full strength


def test_vdvae_repeats_cells():
    x = torch.arange(6.0).view(1, 1, 2, 3)
    assert torch.equal(layers.nearest(x, 4, 5), x.repeat_interleave(2, 2).repeat_interleave(2, 3)[..., :5])


@pytest.mark.parametrize("channels", [1, 3])
def test_the_decoder_of_pixelvae_is_causal(channels):
    network = pixelvae.Network(replace(pixelvae.TINY, channels=channels)).requires_grad_(False)
    for block in network.decoder.blocks:
        nn.init.normal_(block.widen.weight)
    x, state = pictures(channels, 1), torch.randn(1, 8, *SIZE)
    phase = 2 * torch.arange(SIZE[0])[:, None] + torch.arange(SIZE[1])
    before = network.decoder(x, state)
    for row, column in ((0, 0), (5, 4), (12, 9)):
        touched = x.clone()
        touched[0, :, row, column] = 255 - touched[0, :, row, column]
        differs = (network.decoder(touched, state) != before).any(1)[0]
        assert not bool(differs[phase <= phase[row, column]].any())
        assert bool(differs.any()) == ((row, column) != (12, 9))


def test_pixelvae_says_the_same_at_once_and_phase_by_phase():
    network = pixelvae.Network(pixelvae.TINY).requires_grad_(False)
    x = pictures(1, 2)
    values = {**protocol.infer(network, x), PIXELS: x}
    at_once, by_phase = Given(values), Recorded(values)
    network.generate(x.shape, at_once)
    network.generate(x.shape, by_phase)
    assert len(at_once.asked) == 2 and len(by_phase.asked) == 1 + 2 * (SIZE[0] - 1) + SIZE[1]
    torch.testing.assert_close(at_once.nats(), by_phase.nats(), rtol=1e-4, atol=1e-2)


def test_the_bound_of_diffusion_is_the_sum_of_its_terms():
    network = diffusion.Network(diffusion.TINY).requires_grad_(False)
    nn.init.normal_(network.denoiser.last.weight, std=0.1)
    x, steps = pictures(1, 3), diffusion.TINY.steps
    kl = {name: torch.zeros(3) for name in protocol.bound(network, x).kl}
    for _ in range(80):
        kl = {name: kl[name] + value / 80 for name, value in protocol.bound(network, x).kl.items()}
    assert list(kl) == [f"z{number}" for number in range(steps, -1, -1)]
    for t in range(1, steps + 1):
        each = torch.stack([network.step_divergence(x, torch.full((3,), t)) for _ in range(80)])
        torch.testing.assert_close(each.mean(0), kl[f"z{t - 1}"], rtol=0.1, atol=1.0)


def test_the_way_down_of_diffusion_leaves_the_marginals_as_they_are():
    network = diffusion.Network(diffusion.TINY).requires_grad_(False)
    x = pictures(1, 1).expand(4000, -1, -1, -1)[:, :, 5:8, 3:6]
    visit = Given()
    network.infer(x, visit)
    for number in range(diffusion.TINY.steps):
        marginal = network.marginal(x, torch.full((len(x),), number))
        torch.testing.assert_close(visit.values[f"z{number}"].mean(0), marginal.mean[0], atol=0.07, rtol=0)
        torch.testing.assert_close(visit.values[f"z{number}"].std(0), marginal.log_scale[0].exp(), atol=0.05, rtol=0)


def test_the_ends_of_the_schedule_are_learned():
    network = diffusion.Network(diffusion.TINY)
    network.terms(pictures(1, 4)).total().mean().backward()
    assert bool((network.ends.grad != 0).all())
