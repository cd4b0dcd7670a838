"""The models: `load(name)`, `names()`, `summary(name)`, `card(name)`. Importing this does not import torch."""

from hcodec.models.photo.model import Model
from hcodec.models.registry import card, find, load, names, summary
from hcodec.models.weights_file import ModelSummary

__all__ = ["Model", "ModelSummary", "card", "find", "load", "names", "summary"]
