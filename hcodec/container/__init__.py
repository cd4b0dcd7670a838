"""The room of the container: the file around the layers, and archives of many pictures.

Nothing here knows pixels, networks or entropy coding: a piece of a layer is opaque. FORMAT.md is the text of the format. Imports
`errors` and Python's own modules only: no numpy, no torch, no Pillow.
"""

from hcodec.container import whole
from hcodec.container.attachments import Attachments
from hcodec.container.header import Frame, Header
from hcodec.container.info import Info, LevelInfo, LosslessInfo, describe, info
from hcodec.container.reader import EVERYWHERE, Reader, read_all
from hcodec.container.table import Layer, Piece
from hcodec.container.window import Window, count_windows, windows
from hcodec.container.writer import truncate, write

__all__ = [
    "EVERYWHERE",
    "Attachments",
    "Frame",
    "Header",
    "Info",
    "Layer",
    "LevelInfo",
    "LosslessInfo",
    "Piece",
    "Reader",
    "Window",
    "count_windows",
    "describe",
    "info",
    "read_all",
    "truncate",
    "whole",
    "windows",
    "write",
]
