"""The models: `load(name)`, `names()`, `summary(name)`, `card(name)`. Importing this imports neither numpy nor torch."""

from typing import TYPE_CHECKING

from hcodec.models.registry import card, find, load, names, summary
from hcodec.models.weights_file import ModelSummary

if TYPE_CHECKING:
    from hcodec.models.photo.model import Model as Model  # for annotations

__all__ = ["ModelSummary", "card", "find", "load", "names", "summary"]
