"""How much is measured: a test measures little."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Extent:
    """`rounds`: of what is repeated; `edge`: pixels of the square that is coded under load and by several callers.

    `sizes`: of the growth, in megapixels; `seconds`: of each kind of caller; `count`: encodes and decodes of the soak.
    """

    rounds: int = 5
    edge: int = 500
    sizes: tuple[float, ...] = (0.1, 1, 4, 12, 40)
    seconds: float = 10.0
    count: int = 2000
