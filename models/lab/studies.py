"""Comparisons that the report shows: one family trained in several ways, over several seeds.

Room: training.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hcodec.errors import ModelError
from hcodec.models.lab.families import configure
from hcodec.models.lab.objective import Options
from hcodec.models.lab.train import Run

# study -> (label, family, changes of the configuration, options)
STUDIES: dict[str, tuple[tuple[str, str, dict[str, Any], Options], ...]] = {
    "collapse": (
        ("plain", "ladder", {}, Options()),
        ("warm-up", "ladder", {}, Options(warmup=0.5)),
        ("free bits", "ladder", {}, Options(free_bits=4.0)),
    ),
    "skips": (
        ("with skip connections", "biva", {}, Options()),
        ("without", "biva", {"skips": False}, Options()),
    ),
    "posterior": (
        ("residual", "nvae", {}, Options(skip=5.0)),
        ("absolute", "nvae", {"residual": False}, Options(skip=5.0)),
    ),
}


def runs(study: str, channels: int, tiny: bool, minutes: float, batch: int, seeds: int) -> list[Run]:
    """Returns the runs of a study, each named STUDY.LABEL.SEED; ModelError if there is no such study."""
    if study not in STUDIES:
        raise ModelError(f"no study {study!r}; there are {', '.join(STUDIES)}")
    return [
        Run(f"{study}.{label}.{seed}", family, _changed(family, channels, tiny, changes), options, minutes, batch, seed)
        for label, family, changes, options in STUDIES[study] for seed in range(seeds)
    ]  # fmt: skip


def _changed(family: str, channels: int, tiny: bool, changes: dict[str, Any]) -> Any:
    return replace(configure(family, channels, tiny), **changes)
