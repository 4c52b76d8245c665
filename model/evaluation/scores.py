"""Scores of masks from their confusion matrix."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def iou_of(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """int64[...,classes,classes] → float64[...,classes], NaN for classes that nowhere occur."""
    both = np.diagonal(confusion, axis1=-2, axis2=-1)
    either = confusion.sum(-1) + confusion.sum(-2) - both
    return np.asarray(np.divide(both, either, out=np.full(both.shape, np.nan), where=either > 0))


def mean_iou_of(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """int64[...,classes,classes] → float64[...], over the classes that occur."""
    return np.asarray(np.nanmean(iou_of(confusion), axis=-1))


@dataclass(frozen=True)
class Scores:
    """From confusion[truth, prediction] in pixels, over all photos together."""

    FIGURES: ClassVar = ("mean_iou", "accuracy")
    confusion: NDArray[np.int64]

    @classmethod
    def none(cls, classes: int) -> "Scores":
        return cls(np.zeros((classes, classes), np.int64))

    @classmethod
    def of(cls, pairs: Iterable[Pair], classes: int) -> "Scores":
        """Pairs of (truth, prediction), uint8 class ids of one shape; pixels with a truth of 255 are ignored."""
        confusion = np.zeros(classes * classes, np.int64)
        for truth, prediction in pairs:
            known = truth < classes
            flat = truth[known].astype(np.int64) * classes + prediction[known]
            confusion += np.bincount(flat, minlength=classes * classes)
        return cls(confusion.reshape(classes, classes))

    def __add__(self, other: "Scores") -> "Scores":
        return Scores(self.confusion + other.confusion)

    @property
    def iou(self) -> NDArray[np.float64]:
        """Intersection over union of each class (Jaccard index); a class that nowhere occurs counts as NaN."""
        return iou_of(self.confusion)

    @property
    def mean_iou(self) -> float:
        """Over the classes that occur in the truth or the prediction."""
        return float(mean_iou_of(self.confusion))

    @property
    def accuracy(self) -> float:
        return float(np.trace(self.confusion) / self.confusion.sum())

    def figures(self) -> dict[str, float]:
        return {"mean_iou": round(self.mean_iou, 4), "accuracy": round(self.accuracy, 4)}

    def to_dict(self, names: list[str], photos: int) -> dict[str, Any]:
        iou = {name: round(float(value), 4) for name, value in zip(names, self.iou, strict=True)}
        return {"photos": photos, **self.figures(), "iou": iou}
