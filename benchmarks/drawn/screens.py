"""Screens and charts, in color or with a palette."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.drawn.ink import font, gradient, number, paragraph, texture, words

Random = np.random.Generator
_SCREEN = (1440, 900)
_SYNTAX = ((198, 120, 221), (97, 175, 239), (152, 195, 121), (229, 192, 123), (171, 178, 191), (92, 99, 112))


def editor(random: Random) -> Image.Image:
    """A program in an editor, dark, in the colors of its syntax."""
    image = Image.new("RGB", _SCREEN, (40, 44, 52))
    draw = ImageDraw.Draw(image)
    face = font(15, "DejaVuSansMono")
    draw.rectangle((0, 0, 220, 900), (33, 37, 43))
    for row in range(44):
        y = 14 + 20 * row
        draw.text((20, y), words(random, 2)[:20], (157, 165, 180), font(13))
        draw.text((236, y), f"{row + 100}", (75, 82, 99), face)
        x = 290 + 32 * int(random.integers(0, 4))
        for word in words(random, int(random.integers(2, 11))).split():
            draw.text((x, y), word, _SYNTAX[random.integers(len(_SYNTAX))], face)
            x += int(draw.textlength(word + " ", face))
    return image


def terminal(random: Random) -> Image.Image:
    """A terminal without smooth edges: a palette of a few colors."""
    image = Image.new("P", (1280, 800), 0)
    image.putpalette([0, 0, 0, 204, 204, 204, 78, 154, 6, 196, 160, 0, 114, 159, 207])
    draw = ImageDraw.Draw(image)
    draw.fontmode = "1"
    for row in range(44):
        line = f"{random.integers(10, 99)}:{random.integers(10, 99)} {words(random, 9)} {number(random)}"
        draw.text((8, 6 + 18 * row), line, int(random.choice([1, 1, 1, 2, 3, 4])), font(14, "DejaVuSansMono"))
    return image


def _button(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], label: str) -> None:
    draw.rounded_rectangle(box, 6, (225, 228, 232), (170, 175, 180))
    draw.text((box[0] + 12, box[1] + 6), label[:14], (20, 20, 20), font(14))


def settings(random: Random) -> Image.Image:
    """A window with gradients, icons, buttons and fields."""
    image = gradient(900, 1440, (90, 130, 190), (30, 50, 90))
    draw = ImageDraw.Draw(image)
    draw.rounded_rectangle((160, 80, 1280, 820), 12, (246, 247, 249))
    image.paste(gradient(44, 1120, (235, 236, 238), (206, 208, 212)), (160, 92))
    for row in range(7):
        y = 160 + 90 * row
        icon = gradient(48, 48, tuple(random.integers(0, 256, 3).tolist()), tuple(random.integers(0, 256, 3).tolist()))
        image.paste(icon, (190, y))
        draw.ellipse((202, y + 12, 226, y + 36), (255, 255, 255))
        draw.text((260, y), words(random, 4), (20, 20, 20), font(18, "DejaVuSans-Bold"))
        draw.text((260, y + 26), words(random, 9), (110, 110, 110), font(14))
        _button(draw, (1100, y + 8, 1240, y + 40), words(random, 1))
    return image


def sheet(random: Random) -> Image.Image:
    """A spreadsheet."""
    image = Image.new("RGB", _SCREEN, (255, 255, 255))
    draw = ImageDraw.Draw(image)
    for row in range(36):
        for column in range(12):
            box = (120 * column, 25 * row, 120 * column + 120, 25 * row + 25)
            head = row == 0 or column == 0
            draw.rectangle(box, (230, 236, 242) if head else (255, 255, 255), (200, 204, 208))
            draw.text((box[0] + 5, box[1] + 5), words(random, 1) if head else number(random), (30, 30, 30), font(13))
    return image


def web_page(random: Random) -> Image.Image:
    """A page in a browser with a photograph."""
    image = Image.new("RGB", _SCREEN, (255, 255, 255))
    draw = ImageDraw.Draw(image)
    image.paste(gradient(64, 1440, (250, 250, 252), (225, 228, 233)), (0, 0))
    draw.rounded_rectangle((220, 16, 1220, 48), 15, (255, 255, 255), (190, 190, 195))
    draw.text((240, 22), "https://example.org/" + words(random, 1).lower(), (60, 60, 60), font(15))
    image.paste(Image.fromarray(texture(random, 380, 620)), (120, 180))
    draw.text((120, 96), words(random, 6), (20, 20, 20), font(40, "DejaVuSans-Bold"))
    paragraph(draw, random, (780, 180, 1340, 860), font(17), (40, 40, 40))
    paragraph(draw, random, (120, 590, 740, 860), font(17), (40, 40, 40))
    return image


def dashboard(random: Random) -> Image.Image:
    """Tiles with bars, curves and large numbers."""
    image = Image.new("RGB", _SCREEN, (240, 242, 245))
    draw = ImageDraw.Draw(image)
    for tile in range(12):
        left, top = 30 + 350 * (tile % 4), 30 + 290 * (tile // 4)
        draw.rounded_rectangle((left, top, left + 325, top + 265), 10, (255, 255, 255), (220, 222, 226))
        draw.text((left + 16, top + 12), words(random, 3), (90, 95, 100), font(15))
        draw.text((left + 16, top + 36), number(random), (15, 20, 30), font(34, "DejaVuSans-Bold"))
        heights = np.abs(np.cumsum(random.normal(0, 18, 18))) % 140
        for bar, height in enumerate(heights.astype(int).tolist()):
            draw.rectangle((left + 16 + 16 * bar, top + 245 - height, left + 27 + 16 * bar, top + 245), (66, 133, 244))
    return image


def street_map(random: Random) -> Image.Image:
    """A map: areas of flat color, streets with smooth edges, names."""
    image = Image.new("RGB", (2400, 1800), (242, 239, 233))
    draw = ImageDraw.Draw(image)
    for _ in range(60):
        corner = random.integers(0, 2400, 2)
        points = corner + np.cumsum(random.integers(-160, 160, (6, 2)), axis=0)
        draw.polygon(
            [tuple(point) for point in points.tolist()],
            tuple(random.choice([[200, 230, 190], [170, 210, 230], [225, 220, 210]]).tolist()),
        )
    for _ in range(70):
        points = random.integers(0, 2400, 2) + np.cumsum(random.integers(-300, 300, (5, 2)), axis=0)
        draw.line([tuple(point) for point in points.tolist()], (255, 255, 255), int(random.integers(6, 22)), "curve")
    image = image.resize((1200, 900), Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(image)
    for _ in range(80):
        draw.text(tuple(random.integers(0, 1100, 2).tolist()), words(random, 2), (70, 70, 70), font(13))
    return image


def game(random: Random) -> Image.Image:
    """Pixel art: repeated tiles of 16 colors, every pixel three wide."""
    image = Image.new("P", (320, 240))
    image.putpalette(random.integers(0, 256, 48).tolist())
    tiles = random.integers(0, 16, (10, 4, 4)).repeat(4, axis=1).repeat(4, axis=2)
    tiles ^= random.random(tiles.shape) < 0.1
    plan = random.integers(0, 10, (15, 20))
    pixels = tiles[plan].transpose(0, 2, 1, 3).reshape(240, 320).astype(np.uint8)
    image.putdata(pixels.ravel().tolist())
    return image.resize((960, 720), Image.Resampling.NEAREST)


def _chart(plot: Callable[[Any], object], size: tuple[float, float] = (10, 6.5)) -> Image.Image:
    """Returns what matplotlib makes of a function that draws into axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(size, dpi=120)
    plot(figure.subplots())
    file = io.BytesIO()
    FigureCanvasAgg(figure).print_png(file)
    return Image.open(file).convert("RGB")


def chart_lines(random: Random) -> Image.Image:
    """Curves with a legend and a grid."""

    def plot(axes: Any) -> None:
        """Draws."""
        for _ in range(6):
            axes.plot(np.cumsum(random.normal(size=400)), label=words(random, 2))
        axes.legend()
        axes.grid()

    return _chart(plot)


def chart_heat(random: Random) -> Image.Image:
    """A map of values in the colors of a scale."""
    return _chart(lambda axes: axes.imshow(random.normal(size=(30, 48)).cumsum(axis=1), cmap="viridis"))


def chart_points(random: Random) -> Image.Image:
    """Many points that shine through each other."""

    def plot(axes: Any) -> None:
        """Draws."""
        axes.scatter(*random.normal(size=(2, 3000)), c=random.random(3000), s=30, alpha=0.4)
        axes.set_title(words(random, 5))

    return _chart(plot)


def presentation(random: Random) -> Image.Image:
    """A video call: names under photographs, a dark frame."""
    image = Image.new("RGB", _SCREEN, (28, 28, 30))
    draw = ImageDraw.Draw(image)
    image.paste(letterhead(random), (20, 20))
    for row in range(3):
        image.paste(Image.fromarray(texture(random, 200, 300)), (1120, 20 + 230 * row))
        draw.text((1130, 195 + 230 * row), words(random, 2), (255, 255, 255), font(15))
    return image


def letterhead(random: Random) -> Image.Image:
    """A part of a page, as shared in a call."""
    image = Image.new("RGB", (1080, 860), (255, 255, 255))
    paragraph(ImageDraw.Draw(image), random, (60, 60, 1020, 820), font(20), (0, 0, 0))
    return image


SCREENS: tuple[Callable[[Random], Image.Image], ...] = (
    editor, terminal, settings, sheet, web_page, dashboard, street_map, game, chart_lines, chart_heat, chart_points, presentation,
)  # fmt: skip
