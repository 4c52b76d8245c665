"""How much the scores would vary with other photos of the same kind."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.evaluation.photos import Judged
from model.evaluation.scores import mean_iou_of

ROUNDS = 2000
Confusion = NDArray[np.int64]


@dataclass(frozen=True)
class Interval:
    """A figure with the bounds of its 95 % interval."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        return {"value": round(self.value, 4), "low": round(self.low, 4), "high": round(self.high, 4)}


def mean_iou(judged: Judged) -> Interval:
    """The percentile bootstrap over photos (Efron & Tibshirani 1993, chapter 13)."""
    return _interval(judged.confusion, mean_iou_of)


def difference(first: Judged, second: Judged) -> Interval:
    """Mean IoU of the second minus the first, resampling the photos of both together (paired bootstrap).

    Raises ValueError if they are not of the same photos.
    """
    if first.names != second.names:
        raise ValueError("the two were not measured on the same photos")
    both = np.stack([first.confusion, second.confusion], axis=1)
    return _interval(both, lambda total: mean_iou_of(total[..., 1, :, :]) - mean_iou_of(total[..., 0, :, :]))


def _interval(photos: Confusion, figure: Callable[[Confusion], NDArray[np.float64]]) -> Interval:
    rng = np.random.default_rng(0)
    counts = rng.multinomial(len(photos), np.full(len(photos), 1 / len(photos)), size=ROUNDS)
    totals = np.tensordot(counts, photos, axes=1)
    low, high = np.percentile(figure(totals), [2.5, 97.5])
    return Interval(float(figure(photos.sum(0))), float(low), float(high))
