"""Two versions measured on the same photos."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.evaluation.photos import Judged, group_of

Floats = NDArray[np.float64]
# Intersection and union after, the same before, and the truth: pixels of each class, float64[...,classes] each.
Sides = tuple[Floats, Floats, Floats, Floats, Floats]
OTHERS = "(small groups)"


@dataclass(frozen=True, eq=False)
class Pairs:
    """`before`, `after`: int64[n,classes,classes], confusion[truth, prediction] in pixels; `names`: those of n photos.

    A class counts where it occurs in the truth, which both versions share. So both are averaged over the same classes,
    even in a sample that lacks a class.
    """

    names: tuple[str, ...]
    before: NDArray[np.int64]
    after: NDArray[np.int64]

    @classmethod
    def of(cls, before: Judged, after: Judged) -> "Pairs":
        """Raises ValueError if the two were not measured on the same pixels."""
        if before.names != after.names or not np.array_equal(before.confusion.sum(-1), after.confusion.sum(-1)):
            raise ValueError("the two were not measured on the same photos at the same size")
        return cls(tuple(before.names), before.confusion, after.confusion)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def classes(self) -> int:
        return int(self.before.shape[-1])

    @property
    def truth(self) -> Floats:
        """Pixels of each class in the truth, float64[n,classes]."""
        return np.asarray(self.before.sum(-1), np.float64)

    def photos_of_classes(self) -> NDArray[np.int64]:
        """In how many photos each class occurs, int64[classes]."""
        return np.asarray((self.truth > 0).sum(0))

    def differences(self) -> Floats:
        """IoU of each class, candidate minus stable, float64[classes]; NaN for classes not in the truth."""
        return iou_differences([side.sum(0) for side in self.sides()])

    def sides(self) -> "Sides":
        return (*overlaps(self.after), *overlaps(self.before), self.truth)

    def subset(self, rows: NDArray[np.intp]) -> "Pairs":
        return Pairs(tuple(self.names[row] for row in rows), self.before[rows], self.after[rows])

    def groups(self, smallest: int) -> dict[str, NDArray[np.intp]]:
        """Group → rows of its photos. Groups of fewer than `smallest` photos are pooled."""
        found: dict[str, list[int]] = {}
        for row, name in enumerate(self.names):
            found.setdefault(group_of(name), []).append(row)
        large = {name: rows for name, rows in found.items() if len(rows) >= smallest}
        small = [row for name, rows in found.items() if name not in large for row in rows]
        pooled = {OTHERS: small} if small else {}
        return {name: np.array(rows, np.intp) for name, rows in {**dict(sorted(large.items())), **pooled}.items()}


def overlaps(confusion: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """int64[n,classes,classes] → intersection and union of each class in pixels, float64[n,classes] each."""
    inside = np.diagonal(confusion, axis1=-2, axis2=-1)
    return inside.astype(np.float64), (confusion.sum(-1) + confusion.sum(-2) - inside).astype(np.float64)


def iou_differences(totals: Sequence[Floats]) -> Floats:
    """`Sides` summed over photos → IoU after minus before, float64[...,classes], NaN for classes not in the truth."""
    inside, union, inside_before, union_before, truth = totals
    after, before = (
        np.divide(part, whole, out=np.full(truth.shape, np.nan), where=truth > 0)
        for part, whole in ((inside, union), (inside_before, union_before))
    )
    return np.asarray(after - before)


def mean_over_classes(differences: Floats) -> Floats:
    """float64[...,classes] → float64[...], over the classes that occur; 0 if none does."""
    occurs = ~np.isnan(differences)
    return np.asarray(np.where(occurs, differences, 0).sum(-1) / np.maximum(occurs.sum(-1), 1))
