"""The models: `load(name)`, `names()`, `summary(name)`, `card(name)`. Importing this does not import torch."""

from hcodec.models.registry import Model, card, find, load, load_file, names, summary
from hcodec.models.weights_file import ModelSummary

__all__ = ["Model", "ModelSummary", "card", "find", "load", "load_file", "names", "summary"]
