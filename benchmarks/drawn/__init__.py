"""Pictures that are drawn and not taken: documents, screens and charts, the same from the same versions of what draws them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image

from benchmarks.drawn.pages import PAGES
from benchmarks.drawn.screens import SCREENS


def drawn() -> Iterator[tuple[str, Image.Image]]:
    """Yields each picture with its name; mode 1, L, P or RGB."""
    for seed, draw in enumerate((*PAGES, *SCREENS)):
        yield draw.__name__.replace("_", "-"), draw(np.random.default_rng(seed))
