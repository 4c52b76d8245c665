"""What a set of photos shows of a version, photo by photo."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.data import Example, squeezed
from model.evaluation.boundaries import boundary_f
from model.evaluation.scores import Scores, mean_iou_of
from model.images import confidence
from model.segmenter import Segmenter

BINS = 15  # of confidence, as in Guo et al. 2017 (arXiv:1706.04599)
CHUNK = 16
Confusion = NDArray[np.int64]


@dataclass(frozen=True)
class Judged:
    """`confusion`: int64[n,classes,classes] of each photo; `boundary`: float64[n]; `names`: n of them.

    `calibration`: float64[BINS,3], over all pixels: their number, how many of them are right, their summed confidence.
    """

    names: list[str]
    confusion: NDArray[np.int64]
    boundary: NDArray[np.float64]
    calibration: NDArray[np.float64]

    @property
    def scores(self) -> Scores:
        return Scores(self.confusion.sum(0))

    @property
    def expected_calibration_error(self) -> float:
        """The mean distance between confidence and accuracy (Guo et al. 2017)."""
        count, right, summed = self.calibration.T
        return float(np.abs(right - summed).sum() / count.sum())

    def per_photo(self) -> NDArray[np.float64]:
        """The mean IoU of each photo over the classes that occur in it, float64[n]."""
        return mean_iou_of(self.confusion)

    def groups(self, smallest: int = 1) -> dict[str, Scores]:
        """The scores of each group of photos. Groups of fewer than `smallest` photos are left out."""
        found: dict[str, list[Confusion]] = {}
        for name, one in zip(self.names, self.confusion, strict=True):
            found.setdefault(group_of(name), []).append(one)
        return {group: Scores(np.sum(ones, axis=0)) for group, ones in found.items() if len(ones) >= smallest}


def group_of(name: str) -> str:
    """The part of a photo's name before the last _; for the pets, the breed."""
    return name.rpartition("_")[0]


def judge(segmenter: Segmenter, pairs: list[Example], own_size: bool) -> Judged:
    """Compare masks with the truth, at the photos' own sizes or squeezed to the network's input."""
    classes = len(segmenter.card.labels)
    confusion, boundary, calibration = [], [], np.zeros((BINS, 3))
    for truth, logits in _logits(segmenter, pairs, own_size):
        mask = segmenter.mask(logits, truth.shape[1], truth.shape[0]) if own_size else ids(logits)
        confusion.append(Scores.of([(truth, mask)], classes).confusion)
        boundary.append(boundary_f(truth, mask, classes))
        if not own_size:
            calibration += _calibration(truth, logits)
    return Judged([pair.name for pair in pairs], np.stack(confusion), np.array(boundary), calibration)


def ids(logits: NDArray[np.float32]) -> NDArray[np.uint8]:
    """float32[h,w,classes] → uint8[h,w], the id of the largest."""
    return np.asarray(logits.argmax(-1), np.uint8)


def _logits(
    segmenter: Segmenter, pairs: list[Example], own_size: bool
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
    for start in range(0, len(pairs), CHUNK):
        chosen = pairs[start : start + CHUNK]
        photos, truths = zip(*squeezed(chosen, segmenter.card.input_size), strict=True)
        if own_size:
            truths = tuple(np.asarray(pair.open()[1]) for pair in chosen)
        yield from zip(truths, segmenter.engine.logits(np.stack(photos)), strict=True)


def _calibration(truth: NDArray[np.uint8], logits: NDArray[np.float32]) -> NDArray[np.float64]:
    known = truth < logits.shape[-1]
    sure = confidence(logits)[known]
    right = (ids(logits) == truth)[known]
    bins = np.minimum((sure * BINS).astype(np.intp), BINS - 1)
    return np.stack([np.bincount(bins, weights=w, minlength=BINS) for w in (np.ones(len(sure)), right, sure)], axis=1)
