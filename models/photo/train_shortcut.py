"""Trains the shortcut of a photo model: `python -m hcodec.models.photo.train_shortcut MODEL --data TAR...`.

Room: photo, a script. What the long way shows of each level is the teacher; products that end in pixels are fitted in closed
form, before and after the hidden units are trained. Each picture counts as its own mean square error is small, so that what is
lost is a mean of decibels. A quarter of an hour on one core; the weights file of the shortcut lies beside that of its model.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import click
import numpy as np
import torch
from torch import Tensor

from hcodec.models import registry
from hcodec.models.blocks import FloatBlock
from hcodec.models.integer.products import STATE_UNIT
from hcodec.models.photo import preview
from hcodec.models.photo.config import FINEST, NUM_COEFFICIENTS, Config
from hcodec.models.photo.model import Model, torch_networks
from hcodec.models.photo.network import Network
from hcodec.models.photo.prefix import Prefix, posterior, sampled, synthesize
from hcodec.models.photo.shortcut import Shape, Shortcut, neighbors
from hcodec.models.photo.walk import Floats, LatentSteps, Prior, analyze
from hcodec.models.runtime import graphs
from hcodec.models.runtime.backend import GRAPHS
from hcodec.models.tables.symbol_tables import MAX_SYMBOL
from hcodec.models.training import data
from hcodec.models.training.loop import Recipe, Trainer
from hcodec.models.training.soap import Soap

_SIDE = 256  # pixels of a crop
_LEAST_MSE = 1e-5  # of a picture, whose own error is smaller
_RIDGE = 1e-6
_BATCH = 4
_WARM = 50  # steps
Show = Callable[[str], None]


@dataclass(frozen=True)
class Examples:
    """What one level's shortcut is trained on: states and the teacher's pixels, float16 (N, 32, 32, C), and weights (N,)."""

    states: Tensor
    pixels: Tensor
    weights: Tensor


@torch.no_grad()
def examples(model: Model, crops: Sequence[np.ndarray], levels: Sequence[int], show: Show) -> dict[int, Examples]:
    """Returns the examples of each level, from crops uint8 (256, 256, 3)."""
    grid = _SIDE // FINEST
    states = {level: np.empty((len(crops), grid, grid, model.config.width[FINEST]), np.float16) for level in levels}
    pixels = {level: np.empty((len(crops), grid, grid, NUM_COEFFICIENTS), np.float16) for level in levels}
    weights = {level: np.empty(len(crops), np.float32) for level in levels}
    for number, crop in enumerate(crops):
        for level, prefix in _prefixes(model, crop):
            if level not in states:
                continue
            states[level][number] = preview.state_of(prefix, level, sampled())[0] * STATE_UNIT
            long = synthesize(model.walk, prefix.completed(sampled()), float(level))
            weights[level][number] = 1 / max(float(np.square(long - crop / np.float32(255)).mean()), _LEAST_MSE)
            pixels[level][number] = _in_cells(long - np.float32(0.5))
        if number % 50 == 49:
            show(f"looked at {number + 1} of {len(crops)} pictures")
    return {
        level: Examples(*(torch.from_numpy(x) for x in (states[level], pixels[level], weights[level] / weights[level].mean())))
        for level in levels
    }


def _prefixes(model: Model, crop: np.ndarray) -> list[tuple[int, Prefix]]:
    """Returns the prefixes of a picture with their numbers of levels, the last one left out."""
    config, prefix = model.config, Prefix.empty(model.walk, *crop.shape[:2])
    wanted = posterior(model.walk.steps, analyze(config, model.walk.steps, crop, sorted(config.width)))

    def answer(latent: LatentSteps, state: Floats, prior: Prior) -> Floats:
        """Returns the rounded posterior."""
        return np.rint(wanted(latent, state, prior)).clip(-MAX_SYMBOL, MAX_SYMBOL)

    found = []
    for level in range(1, config.num_levels):
        prefix = prefix.extended(answer).foreseeing()
        found.append((level, prefix))
    return found


def _in_cells(pixels: Floats) -> Floats:
    """Returns pixels (H, W, 3) cell by cell, (H/8, W/8, 192)."""
    high, wide = pixels.shape[0] // FINEST, pixels.shape[1] // FINEST
    return pixels.reshape(high, FINEST, wide, FINEST, 3).transpose(0, 2, 1, 3, 4).reshape(high, wide, NUM_COEFFICIENTS)


@torch.no_grad()
def begin(shortcut: Shortcut, network: Network, known: dict[int, Examples]) -> None:
    """Fills a new shortcut: hidden units of the first block of synthesis and others at random, and what neighbors say most of."""
    block, levels = cast(FloatBlock, network.synthesis.blocks[0]), [level - 1 for level in shortcut.shape.levels]
    shortcut.center.copy_(block.center - network.synthesis.embed[levels].mean(0))
    shortcut.balance.copy_(block.balance)
    shortcut.kernel.copy_(block.kernel)
    shortcut.kernel_bias.copy_(block.kernel_bias)
    count = min(shortcut.shape.hidden, len(block.fc1.weight))
    torch.nn.init.normal_(shortcut.fc1.weight, std=shortcut.shape.width**-0.5)
    shortcut.fc1.weight[:count] = block.fc1.weight[:count]
    for level in shortcut.shape.levels:
        shortcut.output(level).bias1[:count] = block.fc1.bias[:count]
    shortcut.near.weight.copy_(_nearest(shortcut, known[max(known)]))


def _nearest(shortcut: Shortcut, known: Examples, count: int = 60) -> Tensor:
    """Returns the directions (near, width) of a neighbor's state that say most of a cell's pixels."""
    width, near = shortcut.shape.width, shortcut.shape.near
    x = shortcut.balanced(known.states[:count].float())
    own, beside, pixels = (each.flatten(0, 2) for each in (x, neighbors(x), known.pixels[:count].float()))
    features = torch.cat([torch.ones(len(own), 1), own, beside], 1)
    fit = _solved((features.T @ features).double(), (features.T @ pixels).double())
    say = fit[1 + width :].reshape(4, width, -1).permute(1, 0, 2).flatten(1)
    spread, axes = torch.linalg.eigh(own.T @ own / len(own))
    root = spread.clamp(min=1e-6).sqrt()
    directions = torch.linalg.svd((axes * root).T @ say, full_matrices=False).U[:, :near]
    return ((axes / root) @ directions).T


def _solved(gram: Tensor, right: Tensor) -> Tensor:
    """Returns the solution of normal equations, with a little ridge."""
    return torch.linalg.solve(gram + _RIDGE * torch.diag(gram.diagonal().clamp(min=1e-9)), right).float()


@torch.no_grad()
def fit_output(shortcut: Shortcut, level: int, known: Examples, count: int) -> None:
    """Fits what ends in pixels, of one level, to its first `count` examples, in closed form."""
    gram, right = torch.zeros(()), torch.zeros(())
    for start in range(0, min(count, len(known.states)), 8):
        state, pixels = known.states[start : start + 8].float(), known.pixels[start : start + 8].float()
        root = known.weights[start : start + 8].sqrt()[:, None, None, None].expand(*state.shape[:3], 1).flatten(0, 2)
        seen, beside = (x.flatten(0, 2) for x in shortcut.gathered(state))
        x = shortcut.balanced(state).flatten(0, 2)
        features = torch.cat([torch.ones(len(x), 1), x, beside, shortcut.hidden(seen, level)], -1) * root
        gram = gram + (features.T @ features).double()
        right = right + (features.T @ (pixels.flatten(0, 2) * root)).double()
    output, width, near = shortcut.output(level), shortcut.shape.width, 4 * shortcut.shape.near
    bias, own, beside, hidden = _solved(gram, right).split([1, width, near, shortcut.shape.hidden])
    output.fc2.bias.copy_(bias[0])
    for layer, value in ((output.own, own), (output.beside, beside), (output.fc2, hidden)):
        layer.weight.copy_(value.T)


class ShortcutTask:
    """Training of one shortcut, as the trainer takes it: a batch is of one level, all take turns."""

    def __init__(self, shortcut: Shortcut, known: dict[int, Examples]) -> None:
        self.network, self.known = shortcut, known
        self.turns, self.random = itertools.cycle(known), np.random.default_rng(0)

    def batch(self, count: int) -> tuple[int, Examples]:
        """Returns a level and some of its examples."""
        level = next(self.turns)
        its, size = self.known[level], len(self.known[level].states)
        chosen = torch.from_numpy(self.random.choice(size, min(count, size), replace=False))
        return level, Examples(*(x[chosen].float() for x in (its.states, its.pixels, its.weights)))

    def loss(self, batch: tuple[int, Examples], progress: float) -> tuple[Tensor, dict[str, Any]]:
        """Returns the weighted mean square error."""
        level, its = batch
        seen, beside = self.network.gathered(its.states)
        with torch.autocast("cpu", torch.bfloat16):
            found = self.network.joined(its.states, seen, beside, level)
        loss = ((found.float() - its.pixels).square().mean((1, 2, 3)) * its.weights).mean()
        return loss, {"level": level}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Returns all parameters, whose steps are counted in how large they are."""
        return [{"params": [p], "share": _size(name, p)} for name, p in self.network.named_parameters()]

    def optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """Returns SOAP."""
        return Soap(groups, lr=0.0)

    def validate(self, average: Any) -> str:
        """Returns nothing: there are no other examples."""
        return ""

    def state_dict(self) -> dict[str, Any]:
        """Returns nothing: a run this short is not gone on with."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes nothing over."""


def improve(shortcut: Shortcut, known: dict[int, Examples], recipe: Recipe, show: Show) -> None:
    """Trains everything for as much processor time as the recipe says."""
    trainer, said = Trainer(ShortcutTask(shortcut, known), recipe, clock=time.process_time), 0.0
    losses: dict[int, float] = {}
    while trainer.progress < 1:
        values = trainer.advance()
        level, loss = values["level"], float(values["loss"])
        losses[level] = 0.95 * losses.get(level, loss) + 0.05 * loss
        if trainer.progress > said + 0.1:
            said = trainer.progress
            show(f"{trainer.step} steps: " + " ".join(f"{-10 * np.log10(losses[level]):.2f}" for level in losses) + " dB")


def _size(name: str, parameter: Tensor) -> float:
    """Returns how large a parameter's numbers are, in which its steps are counted."""
    if "kernel" in name or "bias" in name:
        return 0.03
    return max(float(parameter.detach().square().mean().sqrt()), 1e-3)


@torch.no_grad()
def narrow(layer: torch.nn.Linear) -> None:
    """Rounds a layer's weights to what their file will hold."""
    layer.weight.copy_(torch.from_numpy(preview.widened(*preview.narrowed(layer.weight.numpy()))))


def train(model: Model, crops: Sequence[np.ndarray], shapes: Sequence[Shape], recipe: Recipe, show: Show) -> list[Shortcut]:
    """Returns the shortcuts of a model, one of each shape. recipe: its minutes are those of one level."""
    known = examples(model, crops, [level for shape in shapes for level in shape.levels], show)
    network, _ = torch_networks(model.path)
    return [_trained(network, {level: known[level] for level in shape.levels}, shape, recipe, show) for shape in shapes]


def _trained(network: Network, known: dict[int, Examples], shape: Shape, recipe: Recipe, show: Show) -> Shortcut:
    shortcut, count = Shortcut(shape), len(known[shape.levels[0]].states)
    begin(shortcut, network, known)
    for level, its in known.items():
        fit_output(shortcut, level, its, -(-count // 4))
    show(f"fitted what shows the levels {', '.join(map(str, shape.levels))}; training hidden units")
    improve(shortcut, known, replace(recipe, minutes=recipe.minutes * len(shape.levels)), show)
    narrow(shortcut.fc1)
    for level, its in known.items():
        fit_output(shortcut, level, its, -(-count // 2))
    return shortcut


def write(model: Model, shortcuts: Sequence[Shortcut]) -> Path:
    """Writes the file of a model's shortcuts, and beside it the graphs that ONNX Runtime runs them by; returns its path."""
    path = preview.path_of(model.path)
    path.parent.mkdir(exist_ok=True)
    tensors = preview.packed([{name: value.numpy() for name, value in each.state_dict().items()} for each in shortcuts])
    graphs.write(path.with_suffix(GRAPHS), preview.torch_steps(tensors), tensors)
    preview.save(path, model.fingerprint, tensors)
    return path


def shapes_of(config: Config, hidden: int, near: int) -> list[Shape]:
    """Returns the shapes of a model's shortcuts: for coarse levels, whose states are brought to the finest stride, and others.

    The last two levels have none: nothing but synthesis is missing then.
    """
    coarse, end = min(config.num_coarse, config.num_levels - 2), config.num_levels - 1
    groups = tuple(range(1, coarse + 1)), tuple(range(coarse + 1, end))
    return [Shape(levels, config.width[FINEST], hidden, near) for levels in groups if levels]


def _crops(sources: Sequence[str], count: int) -> list[np.ndarray]:
    """Returns so many crops of different pictures."""
    random, pictures = np.random.default_rng(0), [p for p in data.load(sources) if min(p.shape[:2]) >= _SIDE]
    chosen = random.choice(len(pictures), min(count, len(pictures)), replace=False)
    return [np.ascontiguousarray(_crop(pictures[index], random)) for index in chosen]


def _crop(picture: np.ndarray, random: np.random.Generator) -> np.ndarray:
    top, left = (int(random.integers(edge - _SIDE + 1)) for edge in picture.shape[:2])
    return picture[top : top + _SIDE, left : left + _SIDE]


@click.command()
@click.argument("name")
@click.option(
    "--data", "sources", multiple=True, required=True, type=click.Path(exists=True), help="Shards, folders or pictures."
)
@click.option("--count", default=480, help="Crops to train on.")
@click.option("--minutes", default=2.0, help="Processor time to train hidden units, for each level.")
@click.option("--rate", default=0.015, help="Learning rate, of each parameter's size.")
@click.option("--hidden", default=768, help="Hidden units.")
@click.option("--near", default=64, help="Numbers that a cell takes of each neighbor.")
def main(name: str, sources: tuple[str, ...], count: int, minutes: float, rate: float, hidden: int, near: int) -> None:
    """Trains the shortcuts of an installed photo model and writes them into the folder `preview` beside the model."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = registry.load(name)
    shapes = shapes_of(model.config, hidden, near)
    recipe = Recipe(minutes, _BATCH, rate, _WARM, clip=math.inf)
    path = write(model, train(model, _crops(sources, count), shapes, recipe, click.echo))
    click.echo(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
