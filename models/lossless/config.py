"""What shapes the lossless layer: sizes, the order of colors and of phases. Part of the format; no torch here."""

from __future__ import annotations

CHANNELS = 3  # in coding order: green, red, blue
ORDER = (1, 0, 2)
BASE = 6  # maps made of the state at full resolution: what it shows (3, in coding order), and 3 more
VALUES = 9  # what is fed back of a decoded pixel: its distance from the base, its residual and its magnitude
PHASES = {4: ((0, 0), (1, 1), (0, 1), (1, 0)), 2: ((1, 1), (0, 1), (1, 0)), 1: ((1, 1), (0, 1), (1, 0))}  # by pitch
WIDTH = {4: 128, 2: 96, 1: 64}
REFINE = {4: 192, 2: 128, 1: 96}  # hidden width of the refining blocks
GROUP = 48  # hidden width of the prediction of one channel
SPREAD = 16.0  # gray levels that count as one in the network
OUTPUTS = 5  # correction, log scale, tail, share of the base's detail, slant; then one coefficient for each channel before
HEAD_START = (0.0, 1.0, -2.0, 0.5, 0.0, 0.0, 0.0)

START_LEVELS = (3, 4, 5, 7)  # after which of the base's levels the lossless layer may start
