"""Swap tests: were two versions equal, any photo's two results could be swapped.

A permutation test of paired samples (Fisher 1935; Good 2005, chapter 3; for scores of systems: Yeh 2000). Its p-value
is exact however few the photos are: two versions whose results may be swapped get p ≤ α with probability α at most.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from learning.gate.bootstrap import blocks, rounds_for
from learning.gate.pairs import Floats, Pairs, iou_differences, mean_over_classes, overlaps

SAME = 1e-12  # sums of the same numbers in another order differ by less


def p_better(pairs: Pairs, alpha: float) -> float:
    """The probability of so large a gain of mean IoU if both versions are equal. Resolves p down to `alpha`."""
    swapped = mean_over_classes(_swapped(pairs, rounds_for(alpha), np.random.default_rng(1)))
    return _p(swapped >= _mean(pairs) - SAME)


def p_classes_worse(pairs: Pairs, alpha: float) -> Floats:
    """For each class, float64[classes], how probable it is that any class falls so far; NaN without photos of it.

    Comparing with the class that fell furthest keeps the error rate of all classes together (Westfall & Young 1993).
    """
    furthest = np.nan_to_num(_swapped(pairs, rounds_for(alpha), np.random.default_rng(2)), nan=np.inf).min(1)
    observed = pairs.differences()
    return np.array([np.nan if np.isnan(one) else _p(furthest <= one + SAME) for one in observed])


def p_groups_worse(pairs: Pairs, groups: Sequence[NDArray[np.intp]], alpha: float) -> Floats:
    """For each group, float64[groups], how probable it is that the mean IoU of any group falls so far."""
    rounds = rounds_for(alpha)
    rng, furthest = np.random.default_rng(3), np.full(rounds, np.inf)
    subsets = [pairs.subset(rows) for rows in groups]
    for one in subsets:
        furthest = np.minimum(furthest, mean_over_classes(_swapped(one, rounds, rng)))
    return np.array([_p(furthest <= _mean(one) + SAME) for one in subsets])


def _mean(pairs: Pairs) -> float:
    return float(mean_over_classes(pairs.differences()))


def _p(as_far: NDArray[np.bool_]) -> float:
    """The observed difference counts as one of the rounds (Phipson & Smyth 2010)."""
    return float((1 + as_far.sum()) / (1 + len(as_far)))


def _swapped(pairs: Pairs, rounds: int, rng: np.random.Generator) -> Floats:
    """Differences of each class when a coin decides for each photo whether to swap it, float64[rounds,classes]."""
    after, before = overlaps(pairs.after), overlaps(pairs.before)
    truth = pairs.truth.sum(0)
    found = []
    for size in blocks(rounds, len(pairs)):
        coins = rng.integers(0, 2, (size, len(pairs)), np.int8).astype(np.float64)
        sides = [(first.sum(0), coins @ (second - first)) for first, second in zip(after, before, strict=True)]
        now = [total + moved for total, moved in sides]
        then = [second.sum(0) - moved for second, (_, moved) in zip(before, sides, strict=True)]
        found.append(iou_differences([*now, *then, np.broadcast_to(truth, now[0].shape)]))
    return np.concatenate(found)
