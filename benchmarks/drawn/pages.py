"""Pages: text, forms, faxes and scans, of one bit, of gray, and in color."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from benchmarks.drawn.ink import font, gradient, number, paragraph, texture, words

Random = np.random.Generator
_A4 = (1240, 1754)  # at 150 dots an inch
_FINE = (1654, 2339)  # at 200
_FAX = (1728, 2292)


def _text(random: Random, mode: str, size: tuple[int, int], points: int, face: str = "DejaVuSerif") -> Image.Image:
    """A page of text in one column, with a heading."""
    white = 1 if mode == "1" else 255
    image = Image.new(mode, size, white)
    draw = ImageDraw.Draw(image)
    margin = size[0] // 10
    draw.text((margin, margin), words(random, 5), 0, font(2 * points, face))
    paragraph(draw, random, (margin, margin + 4 * points, size[0] - margin, size[1] - margin), font(points, face), 0)
    return image


def letter_1(random: Random) -> Image.Image:
    """A page of one bit a pixel."""
    return _text(random, "1", _FINE, 28)


def listing_1(random: Random) -> Image.Image:
    """A page of a program, small letters of one width."""
    return _text(random, "1", _FINE, 19, "DejaVuSansMono")


def fax_1(random: Random) -> Image.Image:
    """A page as a fax machine sends it: ragged edges and specks."""
    page = _text(random, "L", _FAX, 30).filter(ImageFilter.GaussianBlur(0.8))
    grain = random.normal(0, 28, (page.height, page.width))
    samples = np.asarray(page) + (grain + np.roll(grain, 1, axis=0) + np.roll(grain, 1, axis=1)) / 2
    specks = random.random(samples.shape) < 0.0004
    return Image.fromarray((samples > 140) ^ specks)


def scan_1(random: Random) -> Image.Image:
    """A page that lay askew, with a dark edge, thresholded."""
    page = _text(random, "L", _FINE, 26, "DejaVuSans").rotate(0.7, Image.Resampling.BICUBIC, fillcolor=255)
    shade = 40 * np.exp(-np.arange(page.width) / 40)[None, :]
    samples = np.asarray(page, dtype=np.float32) - shade * 5 + random.normal(0, 20, (page.height, page.width))
    return Image.fromarray(samples > 128)


def drawing_1(random: Random) -> Image.Image:
    """A technical drawing: lines, circles, hatching and labels."""
    image = Image.new("1", _FINE, 1)
    draw = ImageDraw.Draw(image)
    for _ in range(60):
        x, y, radius = random.integers(100, 1500), random.integers(100, 2200), random.integers(10, 160)
        draw.circle((x, y), radius, outline=0, width=int(random.integers(1, 5)))
        draw.line((x, y, random.integers(100, 1500), random.integers(100, 2200)), 0, 2)
        draw.text((x + radius, y), number(random), 0, font(22))
    for step in range(0, 500, 7):
        draw.line((200 + step, 1700, 100 + step, 2100), 0, 1)
    return image


def halftone_1(random: Random) -> Image.Image:
    """A page with a photograph in dots (error diffusion)."""
    image = _text(random, "1", _A4, 22)
    photo = Image.fromarray(texture(random, 600, 900)).convert("L").convert("1")
    image.paste(photo, (170, 500))
    return image


def letter_gray(random: Random) -> Image.Image:
    """A page with smooth edges."""
    return _text(random, "L", _A4, 21)


def form_gray(random: Random) -> Image.Image:
    """A form: ruled table, shaded rows, numbers."""
    image = Image.new("L", _A4, 255)
    draw = ImageDraw.Draw(image)
    for row in range(46):
        top = 120 + 33 * row
        draw.rectangle((100, top, 1140, top + 33), 232 if row % 2 else 255, 120)
        draw.text((110, top + 6), words(random, 4), 0, font(17))
        for column in range(4):
            draw.text((600 + 140 * column, top + 6), number(random), 40, font(17, "DejaVuSansMono"))
    return image


def notes_gray(random: Random) -> Image.Image:
    """Handwriting: smooth curves of a pen on white."""
    image = Image.new("L", (2 * _A4[0], 2 * _A4[1]), 255)
    draw = ImageDraw.Draw(image)
    for line in range(24):
        steps = np.arange(0, 2100, 6)
        wave = np.cumsum(random.normal(0, 1, (len(steps), 2)), axis=0)
        xs = 150 + steps + 14 * np.sin(steps / 9 + wave[:, 0])
        ys = 250 + 130 * line + 26 * np.sin(steps / 13 + wave[:, 1])
        draw.line([(float(x), float(y)) for x, y in zip(xs, ys, strict=True)], 30, 5)
    return image.resize(_A4, Image.Resampling.BOX)


def scan_gray(random: Random) -> Image.Image:
    """A page as a scanner gives it: blur, grain and uneven light."""
    page = np.asarray(_text(random, "L", _A4, 21).filter(ImageFilter.GaussianBlur(1.0)), dtype=np.float32)
    light = 235 - 25 * np.linspace(0, 1, page.shape[1])[None, :]
    return Image.fromarray(np.clip(30 + page / 255 * (light - 30) + random.normal(0, 4, page.shape), 0, 255).astype(np.uint8))


def slide(random: Random) -> Image.Image:
    """A slide: gradient, a title, bullets."""
    image = gradient(1080, 1440, (20, 40, 90), (60, 110, 170))
    draw = ImageDraw.Draw(image)
    draw.text((90, 80), words(random, 4), (255, 255, 255), font(64, "DejaVuSans-Bold"))
    for row in range(6):
        draw.ellipse((100, 305 + 110 * row, 116, 321 + 110 * row), (255, 200, 60))
        draw.text((140, 290 + 110 * row), words(random, 7), (235, 240, 250), font(36))
    return image


def magazine(random: Random) -> Image.Image:
    """A page in color, two columns around a photograph."""
    image = Image.new("RGB", _A4, (252, 250, 244))
    draw = ImageDraw.Draw(image)
    draw.text((90, 80), words(random, 3), (150, 20, 30), font(60, "DejaVuSerif-Bold"))
    for left in (90, 640):
        paragraph(draw, random, (left, 200, left + 510, 1650), font(19, "DejaVuSerif"), (25, 25, 25))
    image.paste(Image.fromarray(texture(random, 420, 720)), (260, 600))
    return image


PAGES: tuple[Callable[[Random], Image.Image], ...] = (
    letter_1, listing_1, fax_1, scan_1, drawing_1, halftone_1, letter_gray, form_gray, notes_gray, scan_gray, slide, magazine,
)  # fmt: skip
