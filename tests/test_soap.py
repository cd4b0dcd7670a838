"""The optimizer: it does not care how a matrix is turned, it copes with uneven curvature, and it resumes exactly."""

from __future__ import annotations

import copy

import pytest
import torch

from hcodec.models.training.soap import Soap

TALL, WIDE = (40, 24), (24, 40)


def uneven(shape, seed=0):
    """Returns a loss of a matrix whose curvature differs a thousandfold between directions that no axis follows."""
    torch.manual_seed(seed)
    side = min(shape)
    turn = torch.linalg.qr(torch.randn(side, side, dtype=torch.float64)).Q
    stretch = turn * torch.logspace(-1.5, 1.5, side, dtype=torch.float64)
    goal = torch.randn(shape, dtype=torch.float64)

    def loss(weight):
        miss = weight - goal
        return ((miss if shape[0] > shape[1] else miss.mT) @ stretch).square().mean()

    return loss


def run(loss, weight, steps, optimizer):
    for _ in range(steps):
        optimizer.zero_grad()
        loss(weight).backward()
        optimizer.step()
    return loss(weight).item()


def start(shape):
    return torch.nn.Parameter(torch.zeros(shape, dtype=torch.float64))


@pytest.mark.parametrize("shape", [TALL, WIDE])
def test_uneven_curvature_is_overcome_faster_than_by_adam(shape):
    loss, ours, adams = uneven(shape), start(shape), start(shape)
    reached = run(loss, ours, 150, Soap([ours], lr=3e-2, refresh_every=5))
    assert reached < 0.6 * run(loss, adams, 150, torch.optim.Adam([adams], lr=3e-2, betas=(0.95, 0.95)))


@pytest.mark.parametrize("shape", [TALL, WIDE])
def test_turning_the_short_side_turns_the_result_and_nothing_else(shape):
    turn = torch.linalg.qr(torch.randn(24, 24, dtype=torch.float64)).Q
    loss, plain, turned = uneven(shape), start(shape), start(shape)

    def back(weight):
        return weight @ turn.mT if shape == TALL else turn @ weight

    run(loss, plain, 30, Soap([plain], lr=1e-2, refresh_every=7))
    run(lambda weight: loss(back(weight)), turned, 30, Soap([turned], lr=1e-2, refresh_every=7))
    torch.testing.assert_close(back(turned.detach()), plain.detach(), rtol=0, atol=1e-6)


def test_a_direction_that_holds_only_noise_is_hardly_stepped_along():
    weight = torch.nn.Parameter(torch.zeros(40, 24, dtype=torch.float64))
    optimizer = Soap([weight], lr=1e-2)
    for _ in range(20):
        weight.grad = torch.randn(40, 24, dtype=torch.float64)
        weight.grad[:, 12:] *= 1e-4
        optimizer.step()
    assert weight[:, 12:].abs().mean() < 0.02 * weight[:, :12].abs().mean()


def test_no_step_is_much_longer_than_the_learning_rate_whatever_turns_up():
    """Gradients of low rank leave directions unknown; one along them, after the bases were corrected, must not shoot off."""
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.zeros(40, 24, dtype=torch.float64))
    optimizer = Soap([weight], lr=1e-2, refresh_every=5)
    seen = torch.randn(2, 24, dtype=torch.float64)
    for step in range(30):
        before = weight.detach().clone()
        weight.grad = torch.randn(40, 2, dtype=torch.float64) @ seen * 1e-3
        if step >= 20:
            weight.grad = torch.randn(40, 24, dtype=torch.float64)
        optimizer.step()
        assert (weight - before).square().mean().sqrt() <= 1.0001e-2


def test_matrices_of_one_shape_do_not_mix():
    losses = [uneven(TALL, seed) for seed in (1, 2)]
    together, alone = [start(TALL), start(TALL)], start(TALL)
    pair = Soap(together, lr=1e-2, refresh_every=5)
    for _ in range(20):
        pair.zero_grad()
        sum(loss(weight) for loss, weight in zip(losses, together, strict=True)).backward()
        pair.step()
    run(losses[1], alone, 20, Soap([alone], lr=1e-2, refresh_every=5))
    torch.testing.assert_close(together[1], alone, rtol=0, atol=1e-9)


def test_resuming_changes_nothing():
    loss, weight = uneven(TALL), start(TALL)
    optimizer = Soap([weight], lr=1e-2, refresh_every=5)
    run(loss, weight, 12, optimizer)
    other = torch.nn.Parameter(weight.detach().clone())
    resumed = Soap([other], lr=1e-2, refresh_every=5)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    run(loss, weight, 12, optimizer)
    run(loss, other, 12, resumed)
    assert torch.equal(weight, other)
