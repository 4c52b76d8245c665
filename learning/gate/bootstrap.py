"""Bounds of the difference between two versions: the studentised bootstrap over photos.

Each resample's difference is divided by its own standard error (bootstrap-t: Efron & Tibshirani 1993, section 12.5), so
that the bounds keep their level with few photos, where percentiles are too narrow. The standard errors are those of the
linearised ratio (the infinitesimal jackknife, ibid. section 21).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from learning.gate.pairs import Floats, Pairs, iou_differences, mean_over_classes, overlaps

FEWEST_ROUNDS = 2000
BEYOND = 20  # resamples beyond a bound, on average
CHUNK = 1 << 20  # photos of a block of resamples


@dataclass(frozen=True)
class Bounds:
    """A difference, one-sided bounds and the standard error."""

    value: float
    low: float
    high: float
    error: float

    def to_dict(self) -> dict[str, float | None]:
        """A bound that is infinite becomes None."""
        return {
            name: round(float(one), 5) if np.isfinite(one) else None
            for name, one in (("value", self.value), ("low", self.low), ("high", self.high), ("error", self.error))
        }


def rounds_for(alpha: float) -> int:
    return max(FEWEST_ROUNDS, ceil(BEYOND / alpha))


def blocks(rounds: int, photos: int) -> Iterator[int]:
    """The sizes of blocks of rounds that fit into memory."""
    size = max(1, CHUNK // photos)
    for start in range(0, rounds, size):
        yield min(size, rounds - start)


def bounds(pairs: Pairs, alpha: float, refusal: float) -> tuple[Bounds, list[Bounds]]:
    """Of mean IoU, and of each class: the lower bound errs with probability `alpha`, the upper one with `refusal`.

    The bounds of a class that nowhere occurs are NaN. Needs two photos or more; see `Limits.fewest_photos`.
    """
    sides = (*overlaps(pairs.after), *overlaps(pairs.before), pairs.truth)
    rng, n = np.random.default_rng(0), len(pairs)
    [value], [error] = _differences(sides, np.ones((1, n)))
    found = [_differences(sides, _resamples(rng, size, n)) for size in blocks(rounds_for(min(alpha, refusal)), n)]
    values, errors = (np.concatenate(parts) for parts in zip(*found, strict=True))
    mean, *classes = (
        _bounds(value[i], error[i], values[:, i], errors[:, i], alpha, refusal) for i in range(len(value))
    )
    return mean, classes


def _resamples(rng: np.random.Generator, size: int, n: int) -> Floats:
    """How often each photo is drawn, float64[size,n]."""
    drawn = rng.integers(0, n, (size, n)) + n * np.arange(size)[:, None]
    return np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n).astype(np.float64)


def _differences(sides: tuple[Floats, ...], counts: Floats) -> tuple[Floats, Floats]:
    """Differences and their standard errors in each resample, float64[rounds,1+classes]: of mean IoU, of each class."""
    n = counts.shape[1]
    totals = [counts @ side for side in sides]
    classes = iou_differences(*totals)
    occurring = np.maximum((~np.isnan(classes)).sum(1), 1)[:, None]
    influence, errors = np.zeros(counts.shape), []
    for one in range(classes.shape[1]):
        ours = np.nan_to_num(_influence(sides, totals, one) * n)
        influence += ours / occurring
        errors.append(_error(ours, counts))
    values = np.column_stack([mean_over_classes(classes), classes])
    return values, np.column_stack([_error(influence, counts), *errors])


def _influence(sides: tuple[Floats, ...], totals: list[Floats], one: int) -> Floats:
    """How much each photo moves the difference of class `one`, float64[rounds,n]; NaN where the class does not occur."""
    moved = []
    for inside, union in ((0, 1), (2, 3)):
        whole = np.where(totals[4][:, one] > 0, totals[union][:, one], np.nan)[:, None]
        iou = totals[inside][:, one, None] / whole
        moved.append((sides[inside][:, one] - iou * sides[union][:, one]) / whole)
    return np.asarray(moved[0] - moved[1])


def _error(influence: Floats, counts: Floats) -> Floats:
    return np.asarray(np.sqrt((counts * influence**2).sum(1)) / counts.shape[1])


def _bounds(value: float, error: float, values: Floats, errors: Floats, alpha: float, refusal: float) -> Bounds:
    if not error > 0:  # all photos show the same
        return Bounds(float(value), float(value), float(value), float(error))
    ratios = _studentised(values - value, errors)
    upper = float(np.quantile(ratios, 1 - alpha, method="higher"))
    lower = float(np.quantile(ratios, refusal, method="lower"))
    return Bounds(float(value), float(value - upper * error), float(value - lower * error), float(error))


def _studentised(moved: Floats, errors: Floats) -> Floats:
    """Infinite where a resample moved but shows no spread; resamples without the class are left out."""
    there = ~np.isnan(moved)
    moved, errors = moved[there], errors[there]
    still: NDArray[np.bool_] = errors <= 0
    return np.where(
        still, np.where(np.abs(moved) < 1e-12, 0, np.sign(moved) * np.inf), moved / np.where(still, 1, errors)
    )
