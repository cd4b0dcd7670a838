"""Trains the lossless layer: `python -m hcodec.models.lossless.train --base photo --data TAR... --out FOLDER --minutes 60`.

Room: lossless, a script. Every training picture is coded once with the finished base model, and the exact states
after each of the START levels are kept in memory; so the layer learns from just the states that it will get in
coding. Writes `checkpoint.pt` (with all that exact resume needs) and a line of progress;
`python -m hcodec.models.lossless.export` makes integer weights of it.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from hcodec.models import registry, weights_file
from hcodec.models.integer.products import STATE_UNIT
from hcodec.models.lossless.config import BASE, ORDER, START_LEVELS
from hcodec.models.lossless.network import LosslessNetwork
from hcodec.models.lossless.unquantize import unquantize_lossless
from hcodec.models.photo.model import Model
from hcodec.models.photo.prefix import Prefix, posterior
from hcodec.models.tables.symbol_tables import MAX_SYMBOL
from hcodec.models.training import data


@torch.inference_mode()
def start_states(base: Model, pixels: np.ndarray, levels: Sequence[int]) -> Tensor:
    """Returns the exact states (len(levels), H/8, W/8, width) at stride 8 after each level, in the float network's units."""
    prefix = Prefix.empty(base.network, base.agreed, *pixels.shape[:2])
    wanted = posterior(base.network, base.network.analyze(data.to_float(torch.tensor(pixels[None]))))
    states = []
    for level in range(1, max(levels) + 1):
        prefix = prefix.extended(lambda *latent: wanted(*latent).round().clamp(-MAX_SYMBOL, MAX_SYMBOL))
        if level in levels:
            states.append(prefix.at_finest() * STATE_UNIT)
    return torch.cat(states)


@dataclass(frozen=True)
class Sample:
    """A picture (H, W, 3) uint8 in coding order, and its states (starts, H/8, W/8, width)."""

    pixels: Tensor
    states: Tensor


def samples(base: Model, pictures: Sequence[np.ndarray], seed: int, levels: Sequence[int] = START_LEVELS) -> list[Sample]:
    """Returns the pictures, cut to multiples of 64 and mirrored and turned at random, with their states after the levels."""
    random, found = np.random.default_rng(seed), []
    with click.progressbar(pictures, label="states of the base") as bar:
        for picture in bar:
            turned = np.rot90(picture, random.integers(4))[:, :: random.choice([-1, 1])]
            cut = np.ascontiguousarray(turned[: turned.shape[0] // 64 * 64, : turned.shape[1] // 64 * 64])
            pixels = torch.from_numpy(cut[..., list(ORDER)].copy())
            found.append(Sample(pixels, start_states(base, cut, levels).clone()))
    return found


def as_from_camera(picture: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Returns the picture with what a camera does and downscaling undoes: color at half the resolution, often some noise."""
    noise = random.standard_normal(picture.shape) * random.uniform(0, 4) * random.integers(2)
    if random.random() < 0.5:
        noise = (noise + np.roll(noise, 1, 0) + np.roll(noise, 1, 1) + np.roll(noise, 1, (0, 1))) / 2
    noisy = Image.fromarray((picture + noise).round().clip(0, 255).astype(np.uint8))
    light, *colors = noisy.convert("YCbCr").split()
    wider = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)[random.integers(2)]
    wide = [plane.reduce(2).resize(light.size, wider) for plane in colors]
    return np.asarray(Image.merge("YCbCr", [light, *wide]).convert("RGB"))


class Crops:
    """Random crops of samples, with a random start each."""

    def __init__(self, pool: Sequence[Sample], size: int, seed: int) -> None:
        self.pool, self.size, self.random = pool, size, np.random.default_rng(seed)

    def batch(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Returns states (count, size/8, size/8, width), pixels (count, size, size, 3) float and starts (count,)."""
        num_starts = len(self.pool[0].states)
        starts = (np.arange(count) + self.random.integers(num_starts)) % num_starts
        states, pixels = zip(*(self._crop(int(start)) for start in starts), strict=True)
        return torch.stack(states), torch.stack(pixels).float(), torch.from_numpy(starts)

    def _crop(self, start: int) -> tuple[Tensor, Tensor]:
        sample = self.pool[self.random.integers(len(self.pool))]
        y, x = (8 * int(self.random.integers((edge - self.size) // 8 + 1)) for edge in sample.pixels.shape[:2])
        cells = self.size // 8
        state = sample.states[start, y // 8 : y // 8 + cells, x // 8 : x // 8 + cells]
        return state, sample.pixels[y : y + self.size, x : x + self.size]


def initialize(network: LosslessNetwork, base: Model, levels: Sequence[int] = START_LEVELS) -> None:
    """Sets what shows the state to the base's own synthesis, so that training starts from its picture."""
    network.embed.data = base.network.synthesis.embed.data[[level - 1 for level in levels]].clone()
    weight = torch.randn(8, 8, BASE, network.show.weight.shape[1]) * 0.02
    dct = base.network.dct.T.reshape(8, 8, 3, -1)[:, :, list(ORDER)]
    weight[:, :, :3] = 0
    weight[:, :, :3, : dct.shape[-1]] = dct
    network.show.weight.data = weight.flatten(0, 2)
    network.show.gain_in[: dct.shape[-1]] = base.network.sigma


class Trainer:
    """Network, its moving average, optimizer and the time spent."""

    def __init__(self, network: LosslessNetwork, crops: Crops, minutes: float, rate: float, batch: int) -> None:
        self.network, self.crops, self.minutes, self.peak, self.batch = network, crops, minutes, rate, batch
        self.average = copy.deepcopy(network).requires_grad_(False)
        self.optimizer = torch.optim.AdamW(network.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.0)
        self.step, self.seconds, self.skipped = 0, 0.0, 0

    @property
    def progress(self) -> float:
        """The share of the budget that is spent."""
        return min(1.0, self.seconds / (60 * self.minutes))

    def advance(self) -> dict[str, Any]:
        """Takes one step; returns bits per sub-pixel without and with fine latents, and of each part."""
        start = time.perf_counter()
        states, x, starts = self.crops.batch(self.batch)
        present = (torch.arange(self.batch) // 2 % 2).float()
        with torch.autocast("cpu", torch.bfloat16):
            bits = self.network(states, x, starts, present)
        total = torch.stack(list(bits.values())).sum(0) / x[0].numel()
        norm = self._update(total.mean())
        self.seconds += time.perf_counter() - start
        self.step += 1
        parts = {name: round((value.mean() / x[0].numel()).item(), 4) for name, value in bits.items()}
        direct, fine = (total[present == kind].mean().item() for kind in (0, 1))
        return {"step": self.step, "direct": round(direct, 4), "latents": round(fine, 4), "norm": round(norm, 3), **parts}

    def _update(self, loss: Tensor) -> float:
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0).item()
        if math.isfinite(norm):
            warm = min(1.0, (self.step + 1) / 100)
            for group in self.optimizer.param_groups:
                group["lr"] = self.peak * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * self.progress)))
            self.optimizer.step()
            decay = min(0.998, self.step / (self.step + 10))
            torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), 1 - decay)
        else:
            self.skipped += 1
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    def save(self, path: Path) -> None:
        """Writes everything that resuming needs, atomically."""
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": torch.get_rng_state(),
            "crops": self.crops.random.bit_generator.state,
            "progress": (self.step, self.seconds, self.skipped),
        }
        torch.save(state, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)

    def restore(self, path: Path) -> None:
        """Continues where `save` left off."""
        state = torch.load(path, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])
        self.crops.random.bit_generator.state = state["crops"]
        self.step, self.seconds, self.skipped = state["progress"]


@torch.no_grad()
def validate(network: LosslessNetwork, pool: Sequence[Sample]) -> str:
    """Returns bits per sub-pixel (estimated, lossless layer alone) for each start, without and with fine latents."""
    totals = torch.zeros(len(pool[0].states), 2)
    for sample in pool:
        x = sample.pixels[None].float()
        for start in range(len(sample.states)):
            for kind in (0, 1):
                with torch.autocast("cpu", torch.bfloat16):
                    bits = network(sample.states[start : start + 1], x, torch.tensor([start]), torch.tensor([float(kind)]))
                totals[start, kind] += sum(value.item() for value in bits.values()) / x.numel() / len(pool)
    return "  ".join(f"{k}: {a:.4f} {b:.4f}" for k, (a, b) in enumerate(totals.tolist(), 1))


def run(trainer: Trainer, out: Path, pool: Sequence[Sample], checkpoint_minutes: float) -> None:
    """Trains until the budget is spent; checkpoints early, then every `checkpoint_minutes`."""
    saved, shown = time.monotonic() - 60 * checkpoint_minutes + 60, 0.0
    while trainer.progress < 1:
        values = trainer.advance()
        if time.monotonic() - shown > 10:
            shown = time.monotonic()
            speed = trainer.step * trainer.batch / trainer.seconds
            click.echo(f"{100 * trainer.progress:5.1f} %  {speed:.1f} crops/s  {values}")
        if time.monotonic() - saved > 60 * checkpoint_minutes or trainer.progress >= 1:
            saved = time.monotonic()
            trainer.save(out / "checkpoint.pt")
            click.echo(f"validation at step {trainer.step} (bits per sub-pixel): {validate(trainer.average, pool)}")


def start_from(network: LosslessNetwork, path: Path) -> None:
    """Fills the network with the averaged weights of a checkpoint, or those of a weights file."""
    if path.suffix == ".safetensors":
        unquantize_lossless(network, weights_file.read_exact(path)[1])
    else:
        network.load_state_dict(torch.load(path, weights_only=True)["average"])


@click.command()
@click.option("--base", default="photo", help="The installed model whose lossless layer this is.")
@click.option("--data", "sources", multiple=True, required=True, type=click.Path(exists=True), help="Lossless pictures.")
@click.option("--valid", required=True, type=click.Path(exists=True), help="Validation pictures.")
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Where the checkpoint goes.")
@click.option("--minutes", required=True, type=float, help="Wall-clock budget of the whole run.")
@click.option(
    "--start",
    default=None,
    type=click.Path(exists=True, path_type=Path),
    help="Checkpoint or weights file (.safetensors) whose weights to start from.",
)
@click.option("--level", "levels", multiple=True, type=int, default=START_LEVELS, help="Levels that it may start from.")
@click.option("--limit", default=None, type=int, help="Only so many training pictures.")
@click.option("--variants", default=2, help="How often each picture is coded; after the first time, as if from a camera.")
@click.option("--batch", default=16, help="Crops a step.")
@click.option("--crop", default=128, help="Edge of a crop in pixels, a multiple of 8.")
@click.option("--rate", default=2e-3, help="Highest learning rate.")
@click.option("--checkpoint-minutes", default=5.0, help="Time between checkpoints.")
@click.option("--threads", default=0, help="CPU threads; 0 leaves the choice to torch.")
@click.option("--seed", default=0)
def main(
    base: str, sources: tuple[str, ...], valid: str, out: Path, minutes: float, start: Path | None,
    levels: tuple[int, ...], limit: int | None, variants: int, batch: int, crop: int, rate: float,
    checkpoint_minutes: float, threads: int, seed: int,
) -> None:  # fmt: skip
    """Trains the lossless layer of a model, or continues a run that was cut off (checkpoint.pt in --out)."""
    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(seed)
    torch.set_flush_denormal(True)
    model = registry.load(base)
    pictures, random = data.load(sources)[:limit], np.random.default_rng(seed)
    more = [as_from_camera(picture, random) for _ in range(variants - 1) for picture in pictures]
    pool = samples(model, pictures + more, seed, levels)
    held_out = samples(model, data.load([valid])[::8], seed, levels)
    network = LosslessNetwork(model.agreed.config.width[8], model.agreed.config.hidden[8], len(levels))
    initialize(network, model, levels)
    resume = out / "checkpoint.pt"
    if start and not resume.exists():
        start_from(network, start)
    trainer = Trainer(network, Crops(pool, crop, seed), minutes, rate, batch)
    out.mkdir(parents=True, exist_ok=True)
    if resume.exists():
        trainer.restore(resume)
    run(trainer, out, held_out, checkpoint_minutes)
    click.echo(f"{trainer.step} steps in {trainer.seconds / 60:.1f} minutes; {trainer.skipped} skipped")


if __name__ == "__main__":
    main()
