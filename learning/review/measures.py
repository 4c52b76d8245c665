"""How much reviewing a job is worth: a priority from 0 to 1, and the parts from which it is computed.

The mask of a job stores, for each cell of the network's size, the probability p of the likeliest of K
classes only. Margin and entropy are therefore bounds, which are exact for two classes:

    margin      p minus the second probability, at least max(0, 2p - 1)
    entropy     at most that of p and K - 1 equal shares of the rest, divided by log K

    doubt       1 - mean margin over the cells off boundaries; `boundary_doubt` on them. Every model
                doubts at a boundary, so only the first counts.
    entropy     mean over all cells; shown, but not counted, because it ranks the jobs as the margin does
    flip        1 - mean IoU of the masks of the photo and of its mirror image, by the job's own version
    verdict     1 if the sender called the mask bad or corrected it, 0 if good
    rarity      d / (d + 2), where d is the RMS, over simple statistics of photo and mask, of the
                distance from the inbox's median in robust standard deviations, each at most 10

The priority is the mean of `doubt`, `flip`, `verdict` and `rarity`, weighted by WEIGHTS; a part that
is not available (null) is left out. The weights are chosen, not measured. Nothing here
depends on what the classes mean.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.evaluation.scores import Scores as Overlap
from model.segmenter import Segmenter
from storage.feedback import Verdict
from storage.photos.class_ids import served_ids
from storage.photos.confidence import CONFIDENCE, read

WEIGHTS = {"verdict": 0.4, "flip": 0.25, "doubt": 0.2, "rarity": 0.15}
FEWEST_OTHERS = 8  # reviews that a robust deviation needs
MOST_DEVIATIONS, HALF_RARE = 10.0, 2.0
LEAST_DEVIATION = 0.02  # of statistics from 0 to 1, so that a constant one does not make the rest infinitely rare
MAD_TO_SIGMA = 1.4826  # of a normal distribution

Ids = NDArray[np.uint8]
Parts = dict[str, float | None]
Sketch = dict[str, float]


def certainty(mask: bytes, classes: int) -> Parts:
    """`doubt`, `boundary_doubt` and `entropy` of a stored mask; None without a confidence map."""
    grey = read(mask, CONFIDENCE)
    if grey is None:
        return dict.fromkeys(("doubt", "boundary_doubt", "entropy"))
    p = np.maximum(np.asarray(grey, np.float64) / 255, 1 / classes)
    boundary = boundaries(np.asarray(served_ids(mask).resize(grey.size, Image.Resampling.NEAREST)))
    doubt = 1 - np.maximum(0, 2 * p - 1)
    return {
        "doubt": _mean(doubt[~boundary]),
        "boundary_doubt": _mean(doubt[boundary]),
        "entropy": _mean(_entropy(p, classes)),
    }


def boundaries(ids: Ids) -> NDArray[np.bool_]:
    """The cells with a neighbour (above, below, left, right) of another class."""
    found = np.zeros(ids.shape, np.bool_)
    down, right = ids[1:] != ids[:-1], ids[:, 1:] != ids[:, :-1]
    found[1:] |= down
    found[:-1] |= down
    found[:, 1:] |= right
    found[:, :-1] |= right
    return found


def flip_disagreement(segmenter: Segmenter, photo: Image.Image) -> float:
    """`photo`: upright, RGB."""
    mirrored = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    straight, turned = segmenter.masks([photo, mirrored])
    overlap = Overlap.of([(straight, turned[:, ::-1])], len(segmenter.card.labels))
    return 1 - overlap.mean_iou


def sketch(photo: Image.Image, ids: Ids) -> Sketch:
    """Statistics from 0 to 1 of an upright RGB photo and its mask: colours, contrast, shape, shares of the classes."""
    small = np.asarray(photo.resize((32, 32), Image.Resampling.BOX), np.float64) / 255
    brightness = small.mean(axis=2)
    found = {
        "red": small[..., 0].mean(),
        "green": small[..., 1].mean(),
        "blue": small[..., 2].mean(),
        "contrast": brightness.std(),
        "saturation": (small.max(axis=2) - small.min(axis=2)).mean(),
        "width": photo.width / (photo.width + photo.height),
        "boundary": boundaries(ids).mean(),
    }
    shares = {f"class {class_id}": (ids == class_id).mean() for class_id in np.unique(ids).tolist()}
    return {name: round(float(value), 4) for name, value in {**found, **shares}.items()}


def rarity(own: Sketch, others: Sequence[Sketch]) -> float | None:
    """None with too few others. A class that a sketch does not name has the share 0."""
    if len(others) < FEWEST_OTHERS:
        return None
    names = sorted({name for one in (own, *others) for name in one})
    rows = np.array([[one.get(name, 0.0) for name in names] for one in others])
    median = np.median(rows, axis=0)
    deviation = np.maximum(MAD_TO_SIGMA * np.median(np.abs(rows - median), axis=0), LEAST_DEVIATION)
    distances = np.abs(np.array([own.get(name, 0.0) for name in names]) - median) / deviation
    rms = math.sqrt(float(np.mean(np.minimum(distances, MOST_DEVIATIONS) ** 2)))
    return rms / (rms + HALF_RARE)


def verdict(given: str) -> float:
    return 0.0 if given == Verdict.GOOD else 1.0


def priority(parts: Mapping[str, float | None]) -> float:
    """0 without any part."""
    known = {name: value for name in WEIGHTS if (value := parts.get(name)) is not None}
    weight = sum(WEIGHTS[name] for name in known)
    return round(sum(WEIGHTS[name] * value for name, value in known.items()) / weight, 4) if known else 0.0


def _entropy(p: NDArray[np.float64], classes: int) -> NDArray[np.float64]:
    rest = np.maximum(1 - p, 1e-12)
    return np.asarray(-(p * np.log(p) + rest * np.log(rest / (classes - 1))) / math.log(classes))


def _mean(values: NDArray[np.float64]) -> float | None:
    return round(float(values.mean()), 4) if values.size else None
