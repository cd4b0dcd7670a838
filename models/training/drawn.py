"""Training pictures that are drawn by program: flat areas, gradients, shapes and lettering, as on screens and charts.

Room: training. Photographs chosen for their texture never show that a cell can be empty; these do. numpy and Pillow
alone, from a seed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

SIZE = 256
_LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyzaeiounrst      ABCDEFGHIKLMNOPRSTW0123456789.,:;-()/%"))
_NEUTRAL_SHARE = 0.6  # of all colors that are grays or nearly so, as most of a screen is

Color = tuple[int, int, int]


def pictures(count: int, seed: int) -> list[NDArray[np.uint8]]:
    """Returns pictures, uint8 (SIZE, SIZE, 3), the same for the same seed; one in five has no shapes on its ground."""
    random = np.random.default_rng(seed)
    return [_picture(random, number % 5 > 0) for number in range(count)]


def _picture(random: np.random.Generator, with_shapes: bool) -> NDArray[np.uint8]:
    image = Image.fromarray(_ground(random))
    if with_shapes:
        draw = ImageDraw.Draw(image)
        for _ in range(random.integers(1, 9)):
            _panel(draw, random)
        for _ in range(random.integers(0, 12)):
            _line(draw, random)
        for _ in range(random.integers(0, 4)):
            _paragraph(draw, random)
    return np.asarray(image)


def _ground(random: np.random.Generator) -> NDArray[np.uint8]:
    """Returns one color, or a gradient between two, half of the time with faint noise, as after dithering."""
    first, second = (np.array(_color(random), dtype=float) for _ in range(2))
    if random.random() < 0.5:
        second = first
    y, x = np.mgrid[0:SIZE, 0:SIZE] / (SIZE - 1)
    angle = random.uniform(0, 2 * np.pi)
    share = (np.cos(angle) * (x - 0.5) + np.sin(angle) * (y - 0.5)) / np.sqrt(2) + 0.5
    ground = first + share[..., None] * (second - first) * random.uniform(0.1, 1)
    if first is not second and random.random() < 0.5:
        ground = ground + random.uniform(-0.5, 0.5, ground.shape)
    return ground.round().clip(0, 255).astype(np.uint8)


def _color(random: np.random.Generator) -> Color:
    value = random.choice([0, 255, random.integers(256)])
    tint = 6 if random.random() < _NEUTRAL_SHARE else 200
    red, green, blue = (int(each) for each in (value + random.integers(-tint, tint + 1, 3)).clip(0, 255))
    return red, green, blue


def _box(random: np.random.Generator) -> tuple[int, int, int, int]:
    left, top = (int(each) for each in random.integers(-20, SIZE - 10, 2))
    width, height = (int(each) for each in random.exponential(70, 2) + 3)
    return left, top, left + width, top + height


def _panel(draw: ImageDraw.ImageDraw, random: np.random.Generator) -> None:
    """Draws a filled shape, half of the time with an outline."""
    box, fill = _box(random), _color(random)
    outline = _color(random) if random.random() < 0.5 else fill
    kind = random.integers(4)
    if kind < 2:
        draw.rectangle(box, fill, outline)
    elif kind == 2:
        draw.rounded_rectangle(box, int(random.integers(2, 12)), fill, outline)
    else:
        draw.ellipse(box, fill, outline)


def _line(draw: ImageDraw.ImageDraw, random: np.random.Generator) -> None:
    """Draws a rule across, down, or a curve through a few points, as in a chart."""
    left, top, right, bottom = _box(random)
    kind = random.integers(3)
    points = [(left, top), (right, top)] if kind == 0 else [(left, top), (left, bottom)]
    if kind == 2:
        steps = int(random.integers(3, 12))
        points = [(left + i * (right - left) // steps, int(y)) for i, y in enumerate(random.uniform(top, bottom, steps + 1))]
    draw.line(points, _color(random), int(random.integers(1, 4)))


def _paragraph(draw: ImageDraw.ImageDraw, random: np.random.Generator) -> None:
    """Draws a few lines of letters in Pillow's own font."""
    lines = ["".join(random.choice(_LETTERS, random.integers(2, 36))) for _ in range(random.integers(1, 8))]
    font = ImageFont.load_default(int(random.choice([9, 10, 11, 12, 13, 14, 16, 20, 28, 40])))
    where = tuple(int(each) for each in random.integers(-10, SIZE - 40, 2))
    draw.multiline_text((where[0], where[1]), "\n".join(lines), _color(random), font)
