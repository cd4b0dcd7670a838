"""What is found of one promise."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """One promise. `number`: in the list of requirements; `details`: lines for who wants to know more."""

    number: str
    promise: str
    wanted: str
    found: str
    kept: bool
    details: tuple[str, ...] = ()
