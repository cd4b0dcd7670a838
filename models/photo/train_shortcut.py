"""Makes what a photo model has for previews: `python -m hcodec.models.photo.train_shortcut MODEL --data TAR...`.

Room: photo, a script. What the long way shows of each level is the teacher; products that end in pixels are fitted in closed
form, before and after the hidden units are trained. Each picture counts as its own mean square error is small, so that what is
lost is a mean of decibels. Drafts are taken from the model as they are. A quarter of an hour on one core.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor

from hcodec.models import registry
from hcodec.models.integer.products import STATE_UNIT
from hcodec.models.photo import draft, preview
from hcodec.models.photo.config import FINEST, NUM_COEFFICIENTS, Config
from hcodec.models.photo.fit_preview import Examples, begin, fit_output, fit_tail, narrow
from hcodec.models.photo.model import Model, torch_networks
from hcodec.models.photo.network import Network
from hcodec.models.photo.prefix import Prefix, posterior, sampled, synthesize
from hcodec.models.photo.preview import Preview
from hcodec.models.photo.shortcut import Shape, Shortcut
from hcodec.models.photo.walk import Floats, LatentSteps, Prior, analyze
from hcodec.models.runtime import graphs
from hcodec.models.runtime.backend import GRAPHS
from hcodec.models.runtime.torch_steps import TorchSteps
from hcodec.models.tables.symbol_tables import MAX_SYMBOL
from hcodec.models.training import data
from hcodec.models.training.loop import Recipe, Trainer
from hcodec.models.training.soap import Soap

_SIDE = 256  # pixels of a crop
_LEAST_MSE = 1e-5  # of a picture, whose own error is smaller
_BATCH = 4
_WARM = 50  # steps
Show = Callable[[str], None]


@torch.no_grad()
def examples(
    model: Model, drafts: Preview, crops: Sequence[np.ndarray], levels: Sequence[int], show: Show
) -> dict[int, Examples]:
    """Returns the examples of each level, from crops uint8 (256, 256, 3); drafts: of the latents that are missing."""
    grid = _SIDE // FINEST
    states = {level: np.empty((len(crops), grid, grid, model.config.width[FINEST]), np.float16) for level in levels}
    pixels = {level: np.empty((len(crops), grid, grid, NUM_COEFFICIENTS), np.float16) for level in levels}
    weights = {level: np.empty(len(crops), np.float32) for level in levels}
    for number, crop in enumerate(crops):
        for level, prefix in _prefixes(model, crop):
            if level not in states:
                continue
            states[level][number] = preview.state_of(drafts.of(prefix), level, sampled())[0] * STATE_UNIT
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


def shortened(model: Model) -> Network:
    """Returns a model's network whose tail of synthesis lacks its last blocks."""
    network, config = torch_networks(model.path)[0], preview.drafted(model.config)
    del network.synthesis.fine_blocks[config.tail_blocks + config.tail_float_blocks :]
    return network


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


def train(
    model: Model, network: Network, crops: Sequence[np.ndarray], shapes: Sequence[Shape], recipe: Recipe, show: Show
) -> list[Shortcut]:
    """Returns the shortcuts of a model, one of each shape, and fits a shortened network.

    recipe: its minutes are those of one level.
    """
    last = model.config.num_levels - 1
    steps = preview.torch_steps(_tensors(model, network), model.config)
    drafts = preview.over(model.walk, TorchSteps(steps, torch.device("cpu")))
    known = examples(model, drafts, crops, [*(level for shape in shapes for level in shape.levels), last], show)
    fit_tail(network, last, known[last])
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


def write(model: Model, network: Network, shortcuts: Sequence[Shortcut]) -> Path:
    """Writes what a model has for previews, and beside it the graphs that ONNX Runtime runs that by; returns its path.

    network: the model's, shortened.
    """
    path, tensors = preview.path_of(model.path), _tensors(model, network, shortcuts)
    path.parent.mkdir(exist_ok=True)
    graphs.write(path.with_suffix(GRAPHS), preview.torch_steps(tensors, model.config), tensors)
    preview.save(path, model.fingerprint, tensors)
    return path


def _tensors(model: Model, network: Network, shortcuts: Sequence[Shortcut] = ()) -> preview.Arrays:
    """Returns the tensors of a file for previews."""
    expected = [preview.expected(model.config, level) for level in range(1, model.config.num_levels)]
    states = draft.drafts(network, torch_networks(model.path)[1], expected)
    states |= {f"{preview.SHORTCUT}{number}": each.state_dict() for number, each in enumerate(shortcuts)}
    return preview.packed({name: {key: x.numpy() for key, x in state.items()} for name, state in states.items()})


def shapes_of(config: Config, hidden: int, near: int) -> list[Shape]:
    """Returns the shapes of a model's shortcuts: for coarse levels, with a third of the hidden units, and for others.

    The last two levels have none: nothing but synthesis is missing then.
    """
    coarse, end = min(config.num_coarse, config.num_levels - 2), config.num_levels - 1
    groups = (range(1, coarse + 1), hidden // 3), (range(coarse + 1, end), hidden)
    return [Shape(tuple(levels), config.width[FINEST], count, near) for levels, count in groups if levels]


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
@click.option("--hidden", default=768, help="Hidden units; a third of them for coarse levels.")
@click.option("--near", default=64, help="Numbers that a cell takes of each neighbor.")
def main(name: str, sources: tuple[str, ...], count: int, minutes: float, rate: float, hidden: int, near: int) -> None:
    """Makes what an installed photo model has for previews, and writes it into the folder `preview` beside the model."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = registry.load(name)
    network = shortened(model)
    shapes = shapes_of(model.config, hidden, near)
    recipe = Recipe(minutes, _BATCH, rate, _WARM, clip=math.inf)
    path = write(model, network, train(model, network, _crops(sources, count), shapes, recipe, click.echo))
    click.echo(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
