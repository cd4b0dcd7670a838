"""The models: `load(name)`, `names()`, `summary(name)`, `card(name)`. Importing this does not import torch."""

from hcodec.models.storage import ModelSummary
from hcodec.models.zoo import Model, card, find, load, load_file, names, summary

__all__ = ["Model", "ModelSummary", "card", "find", "load", "load_file", "names", "summary"]
