"""The picture that `hcodec demo` draws itself: an evening lake with smooth sky, ridges, ripples, reeds and a sign.

Drawn with numpy from fixed seeds (the lettering with Pillow's own font), so that the demo needs no file and no
download. It holds what codecs find easy (gradients) and hard (texture, thin edges, text) at once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Plane = NDArray[np.float64]

WIDTH, HEIGHT = 768, 512
_SHORE = 330  # the row where the water begins
_SUN = (540.0, 258.0)  # x, y
_ZENITH, _HORIZON, _GLOW = (58, 92, 148), (246, 196, 150), (255, 226, 170)
_WATER, _REEDS = (36, 58, 82), (38, 44, 26)
_RIDGES = ((268.0, 70.0, (150, 140, 160), 5), (292.0, 58.0, (96, 98, 122), 9), (318.0, 42.0, (46, 62, 66), 12))
_TEXT = ("LAKE PATH", "Every prefix of this", "file is a picture.", "3.2 km   elev. 1480 m")


def render() -> NDArray[np.uint8]:
    """The picture as uint8 (512, 768, 3), the same on every call."""
    image = _sky()
    for seed, (height, roughness, color, octaves) in enumerate(_RIDGES):
        _add_ridge(image, height, roughness, np.array(color, float), octaves, seed)
    _add_water(image)
    _add_reeds(image)
    grain = np.random.default_rng(5).normal(0, 1.2, (HEIGHT, WIDTH, 1))  # as a good camera's
    return _add_sign(np.clip(np.rint(image + grain), 0, 255).astype(np.uint8))


def _noise(height: int, width: int, cell: float, octaves: int, seed: int, stretch: float = 1.0) -> Plane:
    """Smooth noise (height, width) in [0, 1]: octaves of interpolated random grids, each finer and fainter.

    The coarsest grid's cells are `cell` pixels high and `stretch` times as wide.
    """
    random = np.random.default_rng(seed)
    total, weight = np.zeros((height, width)), 1.0
    for octave in range(octaves):
        size = max(cell / 2**octave, 1.0)
        total += weight * _grid(random, np.arange(height) / size, np.arange(width) / (size * stretch))
        weight /= 2
    low, high = total.min(), total.max()
    return (total - low) / (high - low)


def _grid(random: np.random.Generator, rows: Plane, columns: Plane) -> Plane:
    values = random.random((int(rows[-1]) + 2, int(columns[-1]) + 2))
    top, left = rows.astype(int), columns.astype(int)
    down, right = (_ease(part % 1.0) for part in (rows, columns))
    upper = values[top][:, left] * (1 - right) + values[top][:, left + 1] * right
    lower = values[top + 1][:, left] * (1 - right) + values[top + 1][:, left + 1] * right
    return upper * (1 - down)[:, None] + lower * down[:, None]


def _ease(part: Plane) -> Plane:
    return part * part * (3 - 2 * part)


def _blend(image: Plane, color: object, amount: Plane) -> Plane:
    """`image` (H, W, 3) moved toward `color` by `amount` (H, W) in [0, 1]."""
    return image + (np.asarray(color, float) - image) * amount[..., None]


def _sky() -> Plane:
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(float)
    image = _blend(np.full((HEIGHT, WIDTH, 3), _ZENITH, float), _HORIZON, np.clip(y / _SHORE, 0, 1) ** 1.4)
    distance = np.hypot(x - _SUN[0], y - _SUN[1])
    image = _blend(image, _GLOW, np.exp(-distance / 130) * 0.9)
    clouds = _noise(HEIGHT, WIDTH, 64, 6, seed=11, stretch=3.5)
    fading = np.clip((clouds - 0.5) * 3, 0, 0.8) * np.clip(1.2 - y / 250, 0, 1)
    image = _blend(image, (255, 238, 226), fading)
    return _blend(image, (255, 248, 220), np.clip(24 - distance, 0, 1))  # the disk, one pixel of soft rim


def _add_ridge(image: Plane, height: float, roughness: float, color: Plane, octaves: int, seed: int) -> None:
    line = height - roughness * (_noise(1, WIDTH, 190 / (seed + 1), octaves, seed=21 + seed)[0] - 0.35)
    y = np.arange(HEIGHT, dtype=float)[:, None]
    cover = np.clip(y - line, 0, 1)  # one pixel of soft edge
    texture = (_noise(HEIGHT, WIDTH, 22, 5, seed=31 + seed) - 0.5) * 24 * (seed + 1)
    haze = np.clip((y - line) / 90, 0, 1)[..., None] * 22
    image[:] = _blend(image, color + texture[..., None] + haze, cover)


def _add_water(image: Plane) -> None:
    rows = np.arange(_SHORE, HEIGHT)
    depth = (rows - _SHORE) / (HEIGHT - _SHORE)
    ripples = _noise(len(rows), WIDTH, 14, 3, seed=41, stretch=8) - 0.5
    ripples += np.sin(rows[:, None] * 2.1 / (0.35 + depth[:, None]) + 9 * ripples) * 0.35
    shift = (ripples * (2 + 16 * depth[:, None])).astype(int)
    mirrored = np.clip(2 * _SHORE - rows[:, None] * 1.0 + shift, 0, _SHORE - 1).astype(int)
    columns = np.clip(np.arange(WIDTH)[None, :] + shift // 2, 0, WIDTH - 1)
    water = _blend(image[mirrored, columns], _WATER, np.repeat(0.25 + 0.4 * depth[:, None], WIDTH, axis=1))
    image[_SHORE:] = water + (ripples * 18 * (0.4 + depth[:, None]))[..., None]


def _add_reeds(image: Plane) -> None:
    random = np.random.default_rng(51)
    for x, length in zip(random.uniform(0, 330, 260), random.gamma(4.0, 24.0, 260), strict=True):
        steps = np.arange(int(length))
        lean = random.normal(0, 0.12)
        columns = (x + lean * steps + random.normal(0, 2e-3) * steps**2).astype(int)
        rows = HEIGHT - 1 - steps
        inside = (columns >= 0) & (columns < WIDTH) & (rows > 0)
        shade = np.array(_REEDS) * random.uniform(0.6, 2.4)
        image[rows[inside], columns[inside]] = shade
        image[rows[inside], np.minimum(columns[inside] + 1, WIDTH - 1)] *= 0.7


def _add_sign(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    left, top, right, bottom = 556, 366, 742, 470
    for x in (left + 26, right - 34):
        draw.rectangle((x, bottom - 10, x + 8, HEIGHT), fill=(58, 44, 34))
    wood = 196 + 36 * (_noise(bottom - top, right - left, 60, 6, seed=61) - 0.5)
    boards = np.stack([wood, wood * 0.86, wood * 0.66], axis=-1).astype(np.uint8)
    image.paste(Image.fromarray(boards), (left, top))
    draw.rectangle((left, top, right - 1, bottom - 1), outline=(70, 52, 38), width=3)
    for line, text in enumerate(_TEXT):
        size = 22 if line == 0 else 14 if line < 3 else 10
        position = (left + 14, top + (10, 40, 58, 82)[line])
        draw.text(position, text, fill=(44, 32, 24), font=ImageFont.load_default(size))
    return np.asarray(image)
