"""Two sections of FORMAT.md, as programs in numpy's integers, against the ones that code.

"The agreed path" and "The network of the lossless layer".
"""

from __future__ import annotations

import json

import numpy as np
import pytest
from conftest import render
from test_tiles import last_model, source_of

from hcodec import models
from hcodec.models import registry, weights_file
from hcodec.models.descend import descend
from hcodec.models.lossless.walk import following

STATE = 2**22 - 1


def clamp(x, limit):
    return np.clip(x, -limit, limit)


def children(x, size):
    """Returns (size * H, size * W, C) from cells whose channels are pixels by row, column, channel."""
    h, w, c = x.shape
    return x.reshape(h, w, size, size, c // size**2).swapaxes(1, 2).reshape(size * h, size * w, c // size**2)


def cells(x, size):
    """Returns (H / size, W / size, ...), a cell's pixels by row, column, channel."""
    h, w, c = x.shape
    return x.reshape(h // size, size, w // size, size, c).swapaxes(1, 2).reshape(h // size, w // size, size**2 * c)


def moved(x, down, right):
    """Returns for each cell the one so far away; where the tile has none, the nearest that it has."""
    rows = np.clip(np.arange(x.shape[0]) + down, 0, x.shape[0] - 1)
    columns = np.clip(np.arange(x.shape[1]) + right, 0, x.shape[1] - 1)
    return x[rows][:, columns]


def pairs(maps, pixel):
    """Returns P and Q; maps: each pixel (row, column) of all cells."""
    corner, center = maps.get((0, 0)), maps.get((1, 1))
    if pixel == (1, 1):
        return (corner + moved(corner, 1, 1)) / 2, (moved(corner, 0, 1) + moved(corner, 1, 0)) / 2
    if pixel == (0, 1):
        return (corner + moved(corner, 0, 1)) / 2, (center + moved(center, -1, 0)) / 2
    return (corner + moved(corner, 1, 0)) / 2, (center + moved(center, 0, -1)) / 2


class Arithmetic:
    """Products and blocks; the state is int64 (H, W, width)."""

    def __init__(self, tensors):
        self.t = tensors
        self.state = None

    def product(self, name, x, limit, low=None, wide=False):
        kind = np.float64 if wide else np.float32
        sums = x @ self.t[f"{name}.weight"].astype(np.int64).T + self.t[f"{name}.bias"]
        found = np.rint(sums.astype(kind) * self.t[f"{name}.gain"].astype(kind)).astype(np.int64)
        return np.clip(found, -limit if low is None else low, limit)

    def expand(self, name, state):
        a = clamp(np.rint(state.astype(np.float32) * self.t[f"{name}.gain"]), 1023).astype(np.int64)
        padded = np.pad(a, ((1, 1), (1, 1), (0, 0)))
        kernel = self.t[f"{name}.kernel.weight"].astype(np.int64)[:, 0]
        h, w = a.shape[:2]
        sums = sum(padded[i : i + h, j : j + w] * kernel[:, i, j] for i in range(3) for j in range(3))
        sums = sums + self.t[f"{name}.kernel.bias"]
        return clamp(np.rint(sums.astype(np.float32) * self.t[f"{name}.kernel.gain"]), 1023).astype(np.int64)

    def block(self, name):
        h = self.product(f"{name}.fc1", self.expand(name, self.state), 1023, low=0)
        self.add(f"{name}.fc2", h)
        return h

    def add(self, name, x, wide=False):
        self.state = clamp(self.state + self.product(name, x, STATE, wide=wide), STATE)


class AgreedText(Arithmetic):
    """What the text says of the agreed path of a picture, or of a window from the state at a stride that it begins with."""

    def __init__(self, config, tensors, height, width, state=None, stride=64):
        super().__init__(tensors)
        self.strides = [stride for latents in config["levels"] for stride, _ in latents]
        self.config, self.height, self.width, self.stride, self.state = config, height, width, stride, state
        if state is None:
            self.state = np.broadcast_to(self.t["start"].astype(np.int64), (*self.grid(), len(self.t["start"])))

    def grid(self):
        return -(-self.height // self.stride), -(-self.width // self.stride)

    def ascend(self, stride):
        while self.stride > stride:
            self.stride //= 2
            rows, columns = self.grid()
            self.state = children(self.product(f"up.{self.stride}", self.state, STATE, wide=True), 2)[:rows, :columns]

    def prior(self, i):
        """Returns prior mean and scale index of latent i."""
        self.ascend(self.strides[i])
        for j in range(self.config["refine_blocks"][str(self.stride)]):
            self.block(f"latents.{i}.refine.{j}")
        y = self.product(f"latents.{i}.block.head", self.block(f"latents.{i}.block"), 2**60)
        mean, index = np.split(y, 2, -1)
        return clamp(mean, 2**18), np.clip(index, 0, 79)

    def advance(self, i, mean, symbols):
        self.add(f"latents.{i}.project", mean + 256 * symbols, wide=True)


class Text(Arithmetic):
    """What the text says of the lossless layer."""

    def __init__(self, tensors, level_state, start):
        super().__init__(tensors)
        self.state = clamp(level_state + self.t["embed"][start], STATE)
        self.block("block")
        self.base = children(self.product("show", self.state, 1023, wide=True), 8)
        self.shown = self.base[..., :3] + 1024
        self.state = self.product("enter", self.state, STATE, wide=True)

    def head(self, name, x):
        return self.product(f"{name}.head", self.product(f"{name}.fc1", x, 1023, low=0), 2**60)

    def stages(self, x):
        """Yields pitch, pixel, channel, mean, scale index and shape index, all of x (H, W, 3) given."""
        fed = None
        for p in (4, 2, 1):
            if p < 4:
                self.state = children(self.product(f"stages.{p}.up", self.state, STATE, wide=True), 2)
                self.add(f"stages.{p}.base", cells(self.base, 2 * p))
                self.add(f"stages.{p}.known", fed)
            pixels = [(0, 0)] * (p == 4) + [(1, 1), (0, 1), (1, 0)]
            found = {} if p == 4 else {(0, 0): fed}
            for i, pixel in enumerate(pixels):
                found[pixel] = yield from self.phase(p, f"stages.{p}.phases.{i}", pixel, x)
            fed = children(np.concatenate([found[0, 0], found[0, 1], found[1, 0], found[1, 1]], -1), 2)

    def phase(self, p, name, pixel, x):
        grid = {(r, c): np.s_[r * p :: 2 * p, c * p :: 2 * p] for r in (0, 1) for c in (0, 1)}
        shown = {place: self.shown[where] for place, where in grid.items()}
        known = {place: 8 * x[where] for place, where in grid.items()}
        fixed, detail, slant = shown[pixel], 0 * shown[pixel], 0 * shown[pixel]
        if pixel != (0, 0):
            (first, second), (shown_first, shown_second) = pairs(known, pixel), pairs(shown, pixel)
            fixed, slant = (first + second) / 2, (first - second) / 2
            detail = shown[pixel] - (shown_first + shown_second) / 2
        self.block(f"{name}.refine")
        e, r = self.expand(f"{name}.predict", self.state), []
        for c in range(3):
            before = [clamp(part, 1023)[..., None] for part in (*r, *map(np.abs, r))]
            y = self.head(f"{name}.heads.{c}", np.concatenate([e, *before], -1))
            terms = [detail[..., c], slant[..., c], *r]
            weighed = sum(clamp(y[..., 3 + i], 256) * term for i, term in enumerate(terms))
            mean = np.clip(np.rint(fixed[..., c] + clamp(y[..., 0], 8192) + weighed / 64), 0, 2040).astype(np.int64)
            yield p, pixel, c, mean, np.clip(y[..., 1], 0, 47), np.clip(y[..., 2], 0, 3)
            r.append(known[pixel][..., c] - mean)
        r = np.stack(r, -1)
        v = clamp(np.concatenate([known[pixel] - shown[pixel], r, np.abs(r)], -1), 2047)
        self.add(f"{name}.feed", v)
        return v


@pytest.mark.parametrize(("name", "backend"), [("tiny", "torch"), ("photo-1", "onnx"), ("photo-1", "torch")])
def test_the_text_gives_the_same_agreed_path(name, backend):
    path, walk = registry.PHOTO.path(name), models.load(name, backend=backend).walk
    _, tensors, _, _ = weights_file.read(path)
    random = np.random.default_rng(0)
    text = AgreedText(json.loads(weights_file.header(path)["config"]), tensors, 70, 150)

    def answer(latent, state, prior):
        """Returns random symbols, with which the text goes on, too."""
        mean, index = text.prior(latent.index)
        assert (mean == prior.mean[0]).all() and (index == prior.index[0]).all(), latent.index
        assert (text.state == state[0]).all()
        symbols = random.integers(-3, 4, mean.shape)
        text.advance(latent.index, mean, symbols)
        return symbols[None].astype(np.float32)

    position = descend(walk, walk.begin(70, 150), answer)
    assert position.index == len(text.strides) and (text.state == position.state[0]).all()


@pytest.mark.parametrize("start", [2, 3])
def test_the_text_gives_the_same_integers(tiny, start):
    _, tensors, _ = weights_file.read_exact(tiny.parent / "lossless" / tiny.name)
    pixels = render(16, 40, 5)[..., [1, 0, 2]].astype(np.int64)
    pixels[11:], pixels[:, 37:] = 77, 200  # as if beyond the edge
    state = source_of(render(16, 40, 5), start).state
    text, sites, count = Text(tensors, state[0].astype(np.int64), start - 2), last_model().walk(state, start), 0
    site = next(sites)
    for p, pixel, channel, mean, scale, shape in text.stages(pixels):
        assert (site.pitch, site.offset, site.channel) == (p, pixel, channel)
        for a, b in ((mean, site.mean), (scale, site.scale), (shape, site.shape)):
            assert (a == b).all()
        count += mean.size
        site = following(sites, pixels[site.where].astype(np.float32))
    assert site is None and count == pixels.size
