"""Prediction fit: corrections of the means, scales and shapes that the network predicts, fitted to one tile and sent along.

Room: coders, below `tiles`. The corrections of a site stand on the stack before its values. Predictors that are
fitted to a picture and sent with it are those of TMW (Meyer and Tischer 1997); here they correct a network.
FORMAT.md, "Prediction fit".
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hcodec.coding.stack import Stack
from hcodec.coding.tables import PixelTables
from hcodec.errors import FormatError
from hcodec.models.tables import likelihood
from hcodec.models.tables.likelihood import MAX_DISTANCE, MEAN_STEPS, NUM_SCALES, NUM_SHAPES, OFFSET_TABLE

LEAST_VALUES = 256  # format: sites of fewer have no corrections
MOST_CLASSES = 4  # format
_WEIGHT_TABLE = int(likelihood.locate(*np.array([[0], [35], [3]], dtype=np.int32))[1][0])  # format: of that scale and shape
_WEIGHT_STEPS = 256  # format: of a weight, for terms in 32nds and means in eighths
_TRIED = (1, 3)  # numbers of classes
_ENOUGH, _ENOUGH_FOR_WEIGHTS = 1024, 4096  # values of a class on which offsets are tried, and weights fitted
_FAR, _RIDGE = 4.0, 1e-3  # scales beyond which a residual counts no more; what keeps weights of idle terms small
_SPREAD = 2 + MEAN_STEPS * np.exp(likelihood.MIN_LOG_SCALE + np.arange(NUM_SCALES) * likelihood.LOG_SCALE_STEP)
Ints = NDArray[np.int32]
Coded = tuple[Ints, Ints, Ints]  # values, whole and table


@dataclass(frozen=True)
class Prediction:
    """What the network says of values: mean in eighths, scale and shape index (...), and terms in 32nds (num_terms, ...)."""

    mean: Ints
    scale: Ints
    shape: Ints
    terms: Ints

    def flat(self) -> Prediction:
        """Returns the same of the values in one row."""
        return Prediction(self.mean.ravel(), self.scale.ravel(), self.shape.ravel(), self.terms.reshape(len(self.terms), -1))

    def part(self, where: NDArray[np.bool_] | slice) -> Prediction:
        """Returns the same of some of the values."""
        return Prediction(self.mean[where], self.scale[where], self.shape[where], self.terms[:, where])


@dataclass(frozen=True)
class Correction:
    """Offsets of scale and shape indices, and weights (num_terms,) in 64ths, of the values of one class."""

    scale: int
    shape: int
    weights: Ints


def located(prediction: Prediction, corrections: tuple[Correction, ...]) -> tuple[Ints, Ints]:
    """Returns whole and table of values with their corrections, one for each class; with none as the network predicted them."""
    if not corrections:
        return likelihood.locate(prediction.mean, prediction.scale, prediction.shape)
    classes = _classes(prediction.scale, len(corrections))
    weights, scale, shape = (
        np.array([getattr(correction, name) for correction in corrections], dtype=np.int32)
        for name in ("weights", "scale", "shape")
    )
    total = sum(weight[classes] * term for weight, term in zip(weights.T, prediction.terms, strict=True))
    return _placed(_mean(prediction, total), prediction.scale + scale[classes], prediction.shape + shape[classes])


def _mean(prediction: Prediction, total: Ints) -> Ints:
    """Returns the means, moved by total in _WEIGHT_STEPS of an eighth."""
    return _limited(prediction.mean + ((total + _WEIGHT_STEPS // 2) >> 8), 255 * MEAN_STEPS)


def _placed(mean: Ints, scale: Ints, shape: Ints) -> tuple[Ints, Ints]:
    """Returns whole and table of means and of indices that may be out of range."""
    return likelihood.locate(mean, _limited(scale, NUM_SCALES - 1), _limited(shape, NUM_SHAPES - 1))


def _limited(values: Ints, most: int) -> Ints:
    """Returns the values within 0 .. most; several times as fast as `np.clip` on few of them."""
    limited: Ints = np.minimum(np.maximum(values, 0), most)
    return limited


def _classes(scale: Ints, count: int) -> NDArray[np.intp]:
    """Returns the class of each value: how many of the cuts, which divide all into equal numbers, lie below its scale index."""
    ends = np.bincount(scale.ravel(), minlength=NUM_SCALES).cumsum()  # instead of sorting all
    cuts = np.searchsorted(ends, [scale.size * i // count for i in range(1, count)], side="right")
    return np.searchsorted(cuts, np.arange(NUM_SCALES), side="left")[scale]


def choose(tables: PixelTables, values: Ints, prediction: Prediction) -> tuple[Correction, ...]:
    """Returns the corrections that shorten the values of a site (H, W) most; none if none pay."""
    best: tuple[Correction, ...] = ()
    if values.size < LEAST_VALUES:
        return best
    least = _price(tables, values, prediction, best)
    for count in _TRIED:
        corrections = _all_fitted(tables, values, prediction, count)
        price = _price(tables, values, prediction, corrections)
        if price < least:
            best, least = corrections, price
    return best


def _price(tables: PixelTables, values: Ints, prediction: Prediction, corrections: tuple[Correction, ...]) -> float:
    return tables.estimate(values, *located(prediction, corrections)) + sum(
        tables.estimate(*part) for part in coded(corrections, values.size)
    )


def _all_fitted(tables: PixelTables, values: Ints, prediction: Prediction, count: int) -> tuple[Correction, ...]:
    """Returns the corrections of so many classes, fitted to enough of the values."""
    every = slice(None, None, 1 + values.size // (count * _ENOUGH_FOR_WEIGHTS))
    some, of_them = values.ravel()[every], prediction.flat().part(every)
    classes = _classes(prediction.scale, count).ravel()[every]
    return tuple(_fitted(tables, some[classes == i], of_them.part(classes == i)) for i in range(count))


def _fitted(tables: PixelTables, values: Ints, prediction: Prediction) -> Correction:
    """Returns the correction of one class of values (N,): weights by least squares, then indices step by step downhill."""
    weights = _weights(values, prediction)
    every = 1 + len(values) // _ENOUGH
    values, prediction = values[::every], prediction.part(slice(None, None, every))
    mean = _mean(prediction, weights @ prediction.terms)

    def bits(scale: int, shape: int) -> float:
        """What the values and the offsets cost."""
        price = tables.bits[OFFSET_TABLE, [MAX_DISTANCE + scale, MAX_DISTANCE + shape]].sum()
        placed = _placed(mean, prediction.scale + scale, prediction.shape + shape)
        return every * tables.estimate(values, *placed) + float(price)

    scale, shape = _downhill(functools.cache(bits))
    return Correction(scale, shape, weights)


def _downhill(bits: Callable[[int, int], float]) -> tuple[int, int]:
    """Returns offsets from which no step leads lower; scales are moved as far as they go before shapes are tried."""
    scale, shape, least, found = 0, 0, bits(0, 0), True
    while found:
        found = False
        for wider, heavier in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            while (price := bits(scale + wider, shape + heavier)) < least:
                scale, shape, least, found = scale + wider, shape + heavier, price, True
    return scale, shape


def _weights(values: Ints, prediction: Prediction) -> Ints:
    """Returns weights by least squares, in two rounds; what was predicted to be wide counts less, and so does what is far off."""
    if not values.size:
        return np.zeros(len(prediction.terms), dtype=np.int32)
    spread = _SPREAD[prediction.scale]
    residual = (values * MEAN_STEPS - prediction.mean) / spread
    terms = prediction.terms / (4 * spread)
    products = np.einsum("in,jn->ij", terms, terms)  # not @, whose threads would wait for each other
    products += np.diag(_RIDGE * products.diagonal() + 1e-6)
    weights = np.linalg.solve(products, np.einsum("in,n->i", terms, residual.clip(-_FAR, _FAR)))
    far = residual - np.einsum("i,in->n", weights, terms)
    weights += np.linalg.solve(products, np.einsum("in,n->i", terms, far.clip(-_FAR, _FAR)))
    return np.rint(weights * (_WEIGHT_STEPS // 4)).clip(-MAX_DISTANCE, MAX_DISTANCE).astype(np.int32)


def coded(corrections: tuple[Correction, ...], num_values: int) -> list[Coded]:
    """Returns the symbols of corrections as those of values: how many, then for each its offsets and its weights."""
    if num_values < LEAST_VALUES:
        return []
    parts = [_symbols([len(corrections)], OFFSET_TABLE)]
    for correction in corrections:
        parts += [_symbols([correction.scale, correction.shape], OFFSET_TABLE), _symbols(correction.weights, _WEIGHT_TABLE)]
    return parts


def _symbols(values: list[int] | Ints, table: int) -> Coded:
    symbols = np.array(values, dtype=np.int32)
    return symbols, np.zeros_like(symbols), np.full_like(symbols, table)


def pop(tables: PixelTables, stack: Stack, prediction: Prediction) -> tuple[Correction, ...]:
    """Takes the corrections of a site from the stack. FormatError if there are no such."""

    def popped(count: int, table: int) -> Ints:
        """Takes so many symbols of a table."""
        _, whole, where = _symbols([0] * count, table)
        return tables.pop(stack, whole, where)

    if prediction.mean.size < LEAST_VALUES:
        return ()
    (count,) = popped(1, OFFSET_TABLE).tolist()
    if count not in range(MOST_CLASSES + 1):
        raise FormatError(f"the lossless layer holds {count} corrections for a site")
    corrections = []
    for _ in range(count):
        scale, shape = popped(2, OFFSET_TABLE).tolist()
        corrections.append(Correction(scale, shape, popped(len(prediction.terms), _WEIGHT_TABLE)))
    return tuple(corrections)
