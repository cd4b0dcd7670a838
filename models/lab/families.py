"""The registry of the lab: one entry a family.

Room: network. The options are those that each paper trains with, as far as they help at this size; VDVAE needs a warm-up here
that it does without at full depth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from hcodec.errors import ModelError
from hcodec.models.lab import biva, diffusion, ladder, nvae, pixelvae, resnet, small, vae, vdvae
from hcodec.models.lab.objective import Options
from hcodec.models.lab.protocol import Family


@dataclass(frozen=True)
class Entry:
    """A family: its title, the classes of its file, its smallest configuration, and how it is trained."""

    title: str
    config: Any
    network: Callable[[Any], Family]
    tiny: Any
    options: Options = field(default_factory=Options)


FAMILIES: dict[str, Entry] = {
    "vae": Entry("VAE", vae.Config, vae.Network, vae.TINY),
    "ladder": Entry("Ladder VAE", ladder.Config, ladder.Network, ladder.TINY, Options(warmup=0.2)),
    "resnet": Entry("ResNet-VAE", resnet.Config, resnet.Network, resnet.TINY, Options(free_bits=2.0)),
    "biva": Entry("BIVA", biva.Config, biva.Network, biva.TINY, Options(warmup=0.1, free_bits=2.0)),
    "nvae": Entry("NVAE", nvae.Config, nvae.Network, nvae.TINY, Options(warmup=0.2, balance=True)),
    "vdvae": Entry("VDVAE", vdvae.Config, vdvae.Network, vdvae.TINY, Options(warmup=0.2, skip=5.0)),
    "pixelvae": Entry("PixelVAE", pixelvae.Config, pixelvae.Network, pixelvae.TINY, Options(warmup=0.2)),
    "diffusion": Entry("Diffusion", diffusion.Config, diffusion.Network, diffusion.TINY),
    "small": Entry("HVAE of the chains", small.Config, small.Network, small.TINY),
}


def entry(family: str) -> Entry:
    """Returns the entry of a family; ModelError if there is none of that name."""
    if family not in FAMILIES:
        raise ModelError(f"no family {family!r}; there are {', '.join(FAMILIES)}")
    return FAMILIES[family]


def configure(family: str, channels: int, tiny: bool = False) -> Any:
    """Returns the configuration of a family for pictures of so many channels."""
    found = entry(family)
    return replace(found.tiny if tiny else found.config(), channels=channels)
