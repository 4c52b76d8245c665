"""Two masks of a class between which its true outline lies, with a stated error rate.

The inner mask holds the pixels of the class whose confidence reaches a threshold, the outer one also those of other
classes whose confidence stays below one. Split conformal prediction (Angelopoulos & Bates 2023, arXiv:2107.07511,
section 4) sets both thresholds on photos that were not trained on: for a new photo of the same kind, with probability
LEVEL, at most RISK of the class lies outside the outer mask; and likewise at most RISK of the inner mask is not of the
class.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.data import Example
from model.images import confidence, to_levels
from model.labels import BACKGROUND
from model.segmenter import Segmenter

LEVEL, RISK = 0.95, 0.05
MOST = 255  # levels of confidence; a threshold above it admits nothing to the inner mask, everything to the outer one

Ids = NDArray[np.uint8]
Levels = NDArray[np.uint8]


@dataclass(frozen=True)
class View:
    """A photo at its own size: the true classes, the mask, and the confidence in levels, uint8[h,w] each."""

    truth: Ids
    mask: Ids
    sure: Levels


def fit(segmenter: Segmenter, pairs: list[Example]) -> dict[str, Any]:
    """The thresholds of every class but the background: {"level", "risk", "photos", "classes": {name: thresholds}}."""
    shown = [label for label in segmenter.card.labels if label.name != BACKGROUND]
    needed: dict[str, list[tuple[int, int]]] = {label.name: [] for label in shown}
    for view in views(segmenter, pairs):
        for label in shown:
            needed[label.name].append((inner_needed(view, label.id), outer_needed(view, label.id)))
    classes = {
        name: dict(zip(("inner", "outer"), (_quantile(side) / MOST for side in zip(*both, strict=True)), strict=True))
        for name, both in needed.items()
    }
    return {"level": LEVEL, "risk": RISK, "photos": len(pairs), "classes": classes}


def coverage(segmenter: Segmenter, pairs: list[Example]) -> dict[str, Any]:
    """How often the thresholds of the version's card keep their promise on other photos, and how tight they are.

    `inner_kept`: the share of the class that the inner mask holds; `outer_excess`: the area of the outer mask beyond
    the class, relative to the class; medians over the photos.
    """
    ids = {label.name: label.id for label in segmenter.card.labels}
    found: dict[str, list[tuple[bool, bool, float, float]]] = {name: [] for name in segmenter.card.guarantee["classes"]}
    for view in views(segmenter, pairs):
        for name, thresholds in segmenter.card.guarantee["classes"].items():
            found[name].append(_kept(view, ids[name], thresholds))
    return {name: _summary(np.array(rows, np.float64)) for name, rows in found.items()}


def _summary(rows: NDArray[np.float64]) -> dict[str, float]:
    kept = dict(zip(("inner", "outer"), rows[:, :2].mean(axis=0), strict=True))
    sizes = dict(zip(("inner_kept", "outer_excess"), np.median(rows[:, 2:], axis=0), strict=True))
    return {name: round(float(value), 4) for name, value in {**kept, **sizes}.items()}


def views(segmenter: Segmenter, pairs: list[Example]) -> Iterator[View]:
    for pair in pairs:
        photo, truth = pair.open()
        (logits,) = segmenter.engine.logits(segmenter.to_input(photo)[None])
        small = Image.fromarray(to_levels(confidence(logits), MOST))
        sure = np.asarray(small.resize(photo.size, Image.Resampling.BILINEAR))
        yield View(np.asarray(truth), segmenter.mask(logits, *photo.size), sure)


def inner_needed(view: View, class_id: int) -> int:
    """The lowest threshold from which on at most RISK of the inner mask is not of the class."""
    known = view.truth != 255
    inside = known & (view.mask == class_id)
    wrong = _at_least(view.sure[inside & (view.truth != class_id)])
    bad = wrong > RISK * _at_least(view.sure[inside])
    return int(np.flatnonzero(bad)[-1]) + 1 if bad.any() else 0


def outer_needed(view: View, class_id: int) -> int:
    """The lowest threshold with which at most RISK of the class lies outside the outer mask."""
    of_class = view.truth == class_id
    missed = _at_least(view.sure[of_class & (view.mask != class_id)])
    return int(np.flatnonzero(missed <= RISK * of_class.sum())[0])


def _at_least(levels: Levels) -> NDArray[np.int64]:
    """How many values reach each of the thresholds 0 .. MOST + 1."""
    counts = np.bincount(levels, minlength=MOST + 2)
    return np.asarray(counts[::-1].cumsum()[::-1])


def _quantile(needed: tuple[int, ...]) -> int:
    """The conformal quantile: a new photo needs at most this with probability LEVEL."""
    rank = math.ceil((len(needed) + 1) * LEVEL)
    return sorted(needed)[rank - 1] if rank <= len(needed) else MOST + 1


def _kept(view: View, class_id: int, thresholds: dict[str, float]) -> tuple[bool, bool, float, float]:
    of_class = view.truth == class_id
    inner = (view.mask == class_id) & (view.sure >= thresholds["inner"] * MOST)
    outer = (view.mask == class_id) | (view.sure < thresholds["outer"] * MOST)
    area = max(1, int(of_class.sum()))
    wrong = int((inner & ~of_class & (view.truth != 255)).sum())
    missed = int((of_class & ~outer).sum())
    return (
        wrong <= RISK * inner.sum(),
        missed <= RISK * area,
        float((inner & of_class).sum() / area),
        float((outer & ~of_class).sum() / area),
    )
