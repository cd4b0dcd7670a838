"""What all drawings are made of: words, fonts, paragraphs, textures. Random numbers come from the drawing's own generator."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Color = int | tuple[int, int, int]
_TEXT = """
the of and to in a is that for it as was with be by on not he his but at are this have from or had an they which
one you were her all she there would their we him been has when who will more no if out so said what up its
about into than them can only other new some could time these two may then do first any my now such like our
over man me even most made after also did many before must through back years where much your way well down
should because each just those people how too little state good very make world still own see men work long get
here between both life being under never day same another know while last might us great old year off come since
against go came right used take three picture file level signal window measure paper margin contract invoice
schedule quarter total balance delivery
"""
_WORDS = _TEXT.split()


@cache
def font(size: int, face: str = "DejaVuSans") -> ImageFont.FreeTypeFont:
    """Returns one of the fonts that come with matplotlib, in pixels."""
    import matplotlib

    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", f"{face}.ttf"), size)


def words(random: np.random.Generator, count: int) -> str:
    """Returns so many words, frequent ones more often."""
    ranks = (random.pareto(1.2, count) * 25).astype(int) % len(_WORDS)
    chosen = [_WORDS[rank] for rank in ranks]
    return " ".join(chosen).capitalize() + random.choice([".", ".", ",", ";"])


def number(random: np.random.Generator) -> str:
    """Returns a number as it stands in tables."""
    return f"{random.integers(1, 90_000) / 100:,.2f}"


def paragraph(
    draw: ImageDraw.ImageDraw, random: np.random.Generator, box: tuple[int, int, int, int],
    face: ImageFont.FreeTypeFont, ink: Color,
) -> None:  # fmt: skip
    """Fills a box (left, top, right, bottom) with lines of words."""
    left, top, right, bottom = box
    leading = int(face.size * 1.35)
    for y in range(top, bottom - leading, leading):
        if random.random() < 0.08:  # between paragraphs
            continue
        line = ""
        for word in words(random, 40).split():
            if draw.textlength(f"{line} {word}", face) > right - left:
                break
            line = f"{line} {word}".strip()
        draw.text((left, y), line, ink, face)


def texture(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Returns something like a photograph, uint8 (H, W, 3): noise whose power falls with frequency, and a little grain."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    frequency[0, 0] = 1 / max(height, width)
    planes = []
    shared = random.normal(size=(height, width))
    for _ in range(3):
        noise = np.fft.rfft2(shared + 0.5 * random.normal(size=(height, width)))
        plane = np.fft.irfft2(noise / frequency**1.4, s=(height, width))
        planes.append(128 + 45 * plane / plane.std() + random.normal(0, 1.5, (height, width)))
    return np.clip(np.rint(np.stack(planes, axis=2)), 0, 255).astype(np.uint8)


def gradient(height: int, width: int, top: tuple[int, int, int], bottom: tuple[int, int, int]) -> Image.Image:
    """Returns a vertical gradient between two colors."""
    share = np.linspace(0, 1, height)[:, None, None]
    rows = np.rint(np.array(top) * (1 - share) + np.array(bottom) * share).astype(np.uint8)
    return Image.fromarray(np.repeat(rows, width, axis=1))
