"""Conformal thresholds: what they need, and how often they keep their promise."""

import numpy as np

from model.guarantee import LEVEL, MOST, RISK, View, _quantile, inner_needed, outer_needed


def view(seed: int, size: int = 4000) -> View:
    """Pixels of two classes whose confidence is right on average, in photos of different difficulty."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, size).astype(np.uint8)[None]
    sure = np.clip(rng.beta(8, rng.uniform(1, 4), size), 0.5, 1)
    wrong = rng.random(size) > sure
    mask = np.where(wrong, 1 - truth, truth).astype(np.uint8)
    return View(truth, mask, np.round(sure * MOST).astype(np.uint8)[None])


def lost(one: View, threshold: int) -> float:
    outer = (one.mask == 0) | (one.sure < threshold)
    return float(((one.truth == 0) & ~outer).sum() / (one.truth == 0).sum())


def wrong(one: View, threshold: int) -> float:
    inner = (one.mask == 0) & (one.sure >= threshold)
    return float((inner & (one.truth != 0)).sum() / max(1, inner.sum()))


def test_the_needed_threshold_is_the_least_that_holds() -> None:
    for seed in range(20):
        one = view(seed)
        outer, inner = outer_needed(one, 0), inner_needed(one, 0)
        assert lost(one, outer) <= RISK < lost(one, outer - 1)
        assert all(wrong(one, level) <= RISK for level in range(inner, MOST + 2))
        assert wrong(one, inner - 1) > RISK


def test_a_photo_without_the_class_needs_an_empty_inner_mask() -> None:
    one = View(np.ones((2, 2), np.uint8), np.array([[0, 1], [1, 1]], np.uint8), np.full((2, 2), 200, np.uint8))
    assert (inner_needed(one, 0), outer_needed(one, 0)) == (201, 0)


def test_unlabelled_pixels_do_not_count() -> None:
    one = View(np.full((2, 2), 255, np.uint8), np.zeros((2, 2), np.uint8), np.full((2, 2), 200, np.uint8))
    assert (inner_needed(one, 0), outer_needed(one, 0)) == (0, 0)


def test_too_few_photos_promise_nothing() -> None:
    """With 18 photos, even the largest need may be exceeded more often than one time in twenty."""
    assert _quantile((0,) * 18) == MOST + 1
    assert _quantile((0,) * 19) == 0


def test_the_promise_is_kept_as_often_as_stated() -> None:
    """Over 60 calibrations with 100 photos each, new photos keep it in LEVEL of the cases or more."""
    views = [view(seed) for seed in range(1000, 1600)]
    needed = np.array([[outer_needed(one, 0), inner_needed(one, 0)] for one in views])
    rng, kept = np.random.default_rng(0), []
    for _ in range(60):
        order = rng.permutation(len(views))
        for side in (0, 1):
            threshold = _quantile(tuple(needed[order[:100], side].tolist()))
            kept.append(float((needed[order[100:], side] <= threshold).mean()))
    assert LEVEL - 0.01 <= np.mean(kept) <= LEVEL + 0.02
