"""What shapes a network for small pictures, and the dictionary of configurations. What is in capitals is part of the format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hcodec.models.small.planes import Colors, Grays
from hcodec.models.tables.likelihood import LOG_SCALE_STEP, MIN_LOG_SCALE

MIN_INDEX = 16  # format: the least scale index of a prior or posterior
MIN_POSTERIOR = MIN_LOG_SCALE + MIN_INDEX * LOG_SCALE_STEP
COARSEST = 8
NUM_COEFFICIENTS = 3  # of red on green, of blue on green and red


@dataclass(frozen=True)
class SmallConfig:
    """Everything that shapes a network; an unknown field is an error.

    channels: of a picture, 1 or 3. latents: (stride, channels) of each, strides 8, 4, 2 falling. width: of states at strides
    8, 4, 2, 1, at least 12, and 3 at stride 1. hidden: of the blocks there.
    """

    channels: int
    latents: tuple[tuple[int, int], ...]
    width: tuple[int, int, int, int]
    hidden: tuple[int, int, int, int]

    def at(self, stride: int) -> tuple[int, int]:
        """Returns width and hidden width at a stride."""
        position = (8, 4, 2, 1).index(stride)
        return self.width[position], self.hidden[position]

    def planes(self) -> Colors | Grays:
        """Returns the planes that pictures are coded as."""
        return Colors() if self.channels == 3 else Grays()


def config_from(values: Mapping[str, Any]) -> SmallConfig:
    """Returns the configuration that `dataclasses.asdict` and JSON made of it; TypeError on an unknown field."""
    fields: dict[str, Any] = {key: _restored(value) for key, value in values.items()}
    return SmallConfig(**fields)


def _restored(value: Any) -> Any:
    return tuple(map(_restored, value)) if isinstance(value, list | tuple) else value


CONFIGS: dict[str, SmallConfig] = {
    "mnist": SmallConfig(1, ((8, 12), (4, 8), (4, 8), (2, 2)), (64, 64, 32, 16), (128, 128, 64, 32)),
    "small": SmallConfig(3, ((8, 12), (4, 9), (4, 9), (2, 9), (2, 9), (2, 6)), (64, 64, 32, 24), (128, 128, 64, 48)),
    "tiny": SmallConfig(3, ((8, 2), (4, 2), (2, 3)), (16, 16, 16, 8), (16, 16, 16, 8)),
    "tiny-gray": SmallConfig(1, ((8, 2), (4, 2), (2, 3)), (16, 16, 16, 8), (16, 16, 16, 8)),
}
