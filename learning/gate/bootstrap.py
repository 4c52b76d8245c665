"""Bounds of the difference between two versions: the studentised bootstrap over photos.

Each resample's difference is divided by its own standard error (bootstrap-t: Efron & Tibshirani 1993, section 12.5), so
that the bounds keep their level with few photos, where percentiles are too narrow. The standard errors are those of the
linearised ratio (the infinitesimal jackknife, ibid. section 21).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil

import numpy as np

from learning.gate.pairs import Floats, Pairs, Sides, iou_differences, mean_over_classes

FEWEST_ROUNDS = 2000
BEYOND = 20  # resamples beyond a bound, on average
CHUNK = 1 << 21  # numbers in a block of resamples
STILL = 1e-7  # a smaller standard error is a rounding error


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


def blocks(rounds: int, numbers: int) -> Iterator[int]:
    """The sizes of blocks of rounds that fit into memory. `numbers`: how many one round needs."""
    size = max(1, CHUNK // numbers)
    for start in range(0, rounds, size):
        yield min(size, rounds - start)


@lru_cache(maxsize=1)  # two checks ask for the bounds of the same photos
def bounds(pairs: Pairs, alpha: float, refusal: float) -> tuple[Bounds, list[Bounds]]:
    """Bounds of mean IoU and of each class: the lower one errs with probability `alpha`, the upper one with `refusal`.

    The bounds of a class that occurs in no photo are NaN. Needs two photos or more; see `Limits.fewest_photos`.
    """
    sides, rng, n = pairs.sides(), np.random.default_rng(0), len(pairs)
    rounds = rounds_for(min(alpha, refusal))
    [value], [error] = _differences(sides, np.ones((1, n)))
    found = [_differences(sides, _resamples(rng, size, n)) for size in blocks(rounds, max(n, (4 * pairs.classes) ** 2))]
    values, errors = (np.concatenate(parts) for parts in zip(*found, strict=True))
    mean, *classes = (
        _bounds(value[i], error[i], values[:, i], errors[:, i], (alpha, refusal)) for i in range(len(value))
    )
    return mean, classes


def standard_error(pairs: Pairs) -> float:
    """The standard error of the difference of mean IoU."""
    _, [error] = _differences(pairs.sides(), np.ones((1, len(pairs))))
    return float(error[0])


def _resamples(rng: np.random.Generator, size: int, n: int) -> Floats:
    """How often each photo is drawn, float64[size,n]."""
    drawn = rng.integers(0, n, (size, n)) + n * np.arange(size)[:, None]
    return np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n).astype(np.float64)


def _differences(sides: Sides, counts: Floats) -> tuple[Floats, Floats]:
    """Differences and their standard errors in each resample, float64[rounds,1+classes]: of mean IoU, of each class."""
    totals = [counts @ side for side in sides]
    classes = iou_differences(totals)
    slopes = _slopes(totals)
    occurring = np.maximum((~np.isnan(classes)).sum(1), 1)
    moments = _moments(sides, counts)
    mean = np.einsum("rkc,rkcld,rld->r", slopes, moments, slopes, optimize=True) / occurring**2
    each = np.einsum("rkc,rkclc,rlc->rc", slopes, moments, slopes, optimize=True)
    values = np.column_stack([mean_over_classes(classes), classes])
    return values, np.sqrt(np.maximum(np.column_stack([mean, each]), 0))


def _slopes(totals: Sequence[Floats]) -> Floats:
    """The derivatives of each class's difference by the four sums of its overlaps, float64[rounds,4,classes]."""
    found = []
    for inside, union, sign in ((0, 1, 1.0), (2, 3, -1.0)):
        slope = np.divide(sign, totals[union], out=np.zeros(totals[4].shape), where=totals[4] > 0)
        found += [slope, -slope * totals[inside] * np.abs(slope)]
    return np.stack(found, axis=1)


def _moments(sides: Sides, counts: Floats) -> Floats:
    """The sums of products of all overlaps over the photos drawn, float64[rounds,4,classes,4,classes]."""
    overlaps = np.stack(sides[:4], axis=1)
    n, shape = len(overlaps), overlaps.shape[1:]
    products = overlaps.reshape(n, -1, 1) * overlaps.reshape(n, 1, -1)
    return np.asarray(counts @ products.reshape(n, -1)).reshape(len(counts), *shape, *shape)


def _bounds(value: float, error: float, values: Floats, errors: Floats, levels: tuple[float, float]) -> Bounds:
    alpha, refusal = levels
    if not error > STILL:  # all photos show the same difference
        return Bounds(float(value), float(value), float(value), float(error))
    ratios = _studentised(values - value, errors)
    upper = float(np.quantile(ratios, 1 - alpha, method="higher"))
    lower = float(np.quantile(ratios, refusal, method="lower"))
    return Bounds(float(value), float(value - upper * error), float(value - lower * error), float(error))


def _studentised(moved: Floats, errors: Floats) -> Floats:
    """The ratios: infinite where a resample moved but has no spread. Resamples without the class are left out."""
    there = ~np.isnan(moved)
    moved, errors = moved[there], errors[there]
    still = errors <= STILL
    endless = np.where(np.abs(moved) <= STILL, 0, np.copysign(np.inf, moved))
    return np.where(still, endless, moved / np.where(still, 1, errors))
