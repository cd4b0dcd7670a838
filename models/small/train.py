"""Trains a chain model: `python -m hcodec.models.small.train --config mnist --data FOLDER --out FOLDER --minutes 12`.

Room: small, a script. CPU or GPU; writes `checkpoint.pt` with the averaged weights and shows a line of progress;
`python -m hcodec.models.small.export` turns a checkpoint into integer weights. Imports neither the codec nor the
coder.

Loss: the negative evidence lower bound in bits per sub-pixel, but for borrowed bits, which count a little less than what they
give back: otherwise idle latents may be as wide as they like, and a chain would need many pictures to lend them their bits.
A few pictures of every batch go without latents, since the first pictures of a chain are coded that way.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor

from hcodec.models.small import thumbnails
from hcodec.models.small.config import CONFIGS, SmallConfig
from hcodec.models.small.network import SmallNetwork
from hcodec.models.small.planes import NUM_PLANES, Pixels
from hcodec.models.training import data

DIRECT_SHARE = 1 / 16
REFUND = 0.99  # what a borrowed bit is worth in training
_AVERAGE = 0.998


def to_values(config: SmallConfig, pixels: Pixels) -> tuple[Tensor, Tensor]:
    """Returns planes (B, H, W, 3) and where they are coded, both float32, from pixels (B, H, W[, 3])."""
    planes = config.planes()
    values = planes.split(pixels)
    coded = np.stack([planes.coded(values, plane) for plane in range(NUM_PLANES)], -1)
    return torch.from_numpy(values.astype(np.float32)), torch.from_numpy(coded.astype(np.float32))


class Trainer:
    """The training state: network, its moving average, optimizer, time spent."""

    def __init__(self, network: SmallNetwork, source: thumbnails.Digits | thumbnails.Thumbnails, minutes: float) -> None:
        self.network, self.source, self.minutes = network, source, minutes
        self.device = next(network.parameters()).device
        self.average = copy.deepcopy(network).requires_grad_(False)
        self.optimizer = torch.optim.AdamW(network.parameters(), lr=0.0, betas=(0.9, 0.95), weight_decay=0.0)
        self.step, self.seconds, self.skipped = 0, 0.0, 0

    @property
    def progress(self) -> float:
        """The share of the budget that is spent."""
        return min(1.0, self.seconds / (60 * self.minutes))

    def advance(self, count: int, rate: float) -> tuple[float, float]:
        """Takes one step with `count` pictures; returns bits per sub-pixel of pixels and latents, of those with latents."""
        start = time.perf_counter()
        pixels = self.source.batch(count)
        values, coded = (tensor.to(self.device) for tensor in to_values(self.network.config, pixels))
        direct = torch.arange(count, device=self.device) < round(count * DIRECT_SHARE)
        with torch.autocast(self.device.type, torch.bfloat16):
            pixel_bits, latent_bits, borrowed_bits = self.network(values, coded, direct)
        num_values = pixels[0].size
        loss = (pixel_bits + latent_bits - REFUND * borrowed_bits).mean() / num_values
        self._update(loss, rate)
        self.seconds += time.perf_counter() - start
        self.step += 1
        net = (latent_bits - borrowed_bits)[~direct].mean().item()
        return pixel_bits[~direct].mean().item() / num_values, net / num_values

    def _update(self, loss: Tensor, rate: float) -> None:
        """Steps the optimizer unless the gradient is not finite."""
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), 2.0).item()
        if math.isfinite(norm):
            for group in self.optimizer.param_groups:
                falling = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * self.progress))
                group["lr"] = rate * min(1.0, (self.step + 1) / 100) * falling
            self.optimizer.step()
            decay = min(_AVERAGE, self.step / (self.step + 10))
            torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), 1 - decay)
        else:
            self.skipped += 1
        self.optimizer.zero_grad(set_to_none=True)

    def save(self, path: Path) -> None:
        """Writes the averaged weights, atomically."""
        state = {"config": asdict(self.network.config), "average": self.average.state_dict(), "step": self.step}
        torch.save(state, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)


@torch.no_grad()
def lower_bound(network: SmallNetwork, pixels: Pixels, direct: bool = False) -> tuple[float, float]:
    """Returns the bits per sub-pixel of pixels and latents, a sample of the bound, for pictures (B, H, W[, 3])."""
    values, coded = to_values(network.config, pixels)
    device = next(network.parameters()).device
    chosen = torch.full((len(pixels),), direct, device=device)
    bits = [found.mean().item() / pixels[0].size for found in network(values.to(device), coded.to(device), chosen)]
    return bits[0], bits[1] - bits[2]


def run(trainer: Trainer, out: Path, valid: Pixels | None, count: int, rate: float) -> None:
    """Trains until the budget is spent; saves and validates every two minutes."""
    saved = shown = time.monotonic()
    while trainer.progress < 1:
        pixel_bits, latent_bits = trainer.advance(count, rate)
        if time.monotonic() - shown > 10:
            shown = time.monotonic()
            click.echo(f"{100 * trainer.progress:5.1f} %  step {trainer.step}  {pixel_bits:.3f} + {latent_bits:.3f} bits")
        if time.monotonic() - saved > 120 or trainer.progress >= 1:
            saved = time.monotonic()
            trainer.save(out / "checkpoint.pt")
            if valid is not None:
                bound, alone = lower_bound(trainer.average, valid), lower_bound(trainer.average, valid, direct=True)
                click.echo(f"validation: {bound[0]:.4f} + {bound[1]:.4f} = {sum(bound):.4f} bits; direct {alone[0]:.4f}")


def open_source(config: SmallConfig, sources: Sequence[str]) -> thumbnails.Digits | thumbnails.Thumbnails:
    """Returns the training pictures: of MNIST's folder all but the last 1,000, of shards and folders random crops."""
    if config.channels == 1:
        return thumbnails.Digits(thumbnails.mnist(Path(sources[0]), "train")[:-1000], seed=0)
    return thumbnails.Thumbnails(sources, seed=0)


def _held_out(config: SmallConfig, sources: Sequence[str], valid: str | None) -> Pixels | None:
    if config.channels == 1:
        return thumbnails.mnist(Path(sources[0]), "train")[-1000:]
    return None if valid is None else np.stack(thumbnails.tiles(data.load([valid])))[::8]


@click.command()
@click.option("--config", required=True, type=click.Choice(sorted(CONFIGS)), help="The configuration to train.")
@click.option("--data", "sources", multiple=True, required=True, help="MNIST's folder, or shards and folders; repeatable.")
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Where the checkpoint goes.")
@click.option("--minutes", required=True, type=float, help="Wall-clock budget.")
@click.option("--valid", default=None, help="Folder of validation photographs.")
@click.option("--start", default=None, type=click.Path(exists=True, path_type=Path), help="Checkpoint to start from.")
@click.option("--batch", default=32, help="Pictures a step.")
@click.option("--rate", default=3e-3, help="Highest learning rate.")
@click.option("--threads", default=0, help="CPU threads; 0 leaves the choice to torch.")
def main(
    config: str, sources: tuple[str, ...], out: Path, minutes: float, valid: str | None, start: Path | None, batch: int,
    rate: float, threads: int,
) -> None:  # fmt: skip
    """Trains a model."""
    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(0)
    torch.set_flush_denormal(True)  # vanishing gradients of idle channels otherwise slow a CPU down a hundredfold
    source, held_out = open_source(CONFIGS[config], sources), _held_out(CONFIGS[config], sources, valid)
    out.mkdir(parents=True, exist_ok=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = SmallNetwork(CONFIGS[config])
    if start is not None:
        network.load_state_dict(torch.load(start, map_location="cpu", weights_only=True)["average"])
    trainer = Trainer(network.to(device), source, minutes)
    click.echo(f"{sum(p.numel() for p in trainer.network.parameters())} parameters; training on {device}")
    run(trainer, out, held_out, batch, rate)
    click.echo(f"{trainer.step} steps in {trainer.seconds / 60:.1f} minutes; {trainer.skipped} skipped")


if __name__ == "__main__":
    main()
