"""The scores of masks, on masks whose scores are known."""

import numpy as np
import pytest

from model.evaluation.bootstrap import difference, mean_iou
from model.evaluation.boundaries import boundary_f
from model.evaluation.photos import BINS, Judged, _calibration
from model.evaluation.scores import Scores


def square(side: int, left: int, size: int = 200) -> np.ndarray:
    mask = np.zeros((size, size), np.uint8)
    mask[50 : 50 + side, left : left + side] = 1
    return mask


def test_a_class_that_nowhere_occurs_does_not_count() -> None:
    truth, prediction = np.array([[0, 0, 1]], np.uint8), np.array([[0, 1, 1]], np.uint8)
    scores = Scores.of([(truth, prediction)], classes=3)
    assert np.isnan(scores.iou[2])
    assert scores.mean_iou == 1 / 2
    assert (scores + scores).accuracy == 2 / 3


@pytest.mark.parametrize(("shift", "low", "high"), [(0, 1, 1), (2, 1, 1), (4, 0.4, 0.6), (90, 0, 0.05)])
def test_boundaries_within_the_tolerance_are_right(shift: int, low: float, high: float) -> None:
    """0.75 % of the diagonal of 283 pixels are 2.1: moved by 4, only the two edges along the movement still fit."""
    assert low <= boundary_f(square(60, 50), square(60, 50 + shift), 2) <= high


def test_the_photo_edge_is_no_boundary() -> None:
    whole = np.ones((40, 40), np.uint8)
    assert boundary_f(whole, whole, 2) == 1
    assert boundary_f(whole, square(10, 5, 90)[40:80, :40], 2) == 0


def test_confidence_is_compared_with_what_is_right() -> None:
    """80 % sure and right in half of the pixels: an error of 0.3."""
    logits = np.zeros((1, 100, 2), np.float32)
    logits[..., 0] = np.log(4)
    truth = (np.arange(100) % 2).astype(np.uint8)[None]
    judged = Judged(["a"], np.zeros((1, 2, 2), np.int64), np.zeros(1), _calibration(truth, logits))
    assert judged.calibration.shape == (BINS, 3)
    assert judged.expected_calibration_error == pytest.approx(0.3, abs=1e-4)


def judged(seed: int, count: int, errors: float) -> Judged:
    """Photos with so many wrong pixels on average, of two breeds."""
    rng = np.random.default_rng(seed)
    wrong = rng.binomial(1000, np.clip(rng.normal(errors, errors / 3, count), 0, 1))
    confusion = np.array([[[1000 - w, w], [0, 1000]] for w in wrong])
    names = [f"{'cat' if i % 2 else 'the_dog'}_{i}" for i in range(count)]
    return Judged(names, confusion, np.zeros(count), np.zeros((BINS, 3)))


def test_the_interval_holds_the_value_and_narrows_with_more_photos() -> None:
    few, many = mean_iou(judged(1, 20, 0.2)), mean_iou(judged(1, 1000, 0.2))
    assert few.low < few.value < few.high
    assert many.high - many.low < (few.high - few.low) / 3
    assert many == mean_iou(judged(1, 1000, 0.2))


def test_the_interval_covers_as_often_as_it_says() -> None:
    """Of 100 samples of 60 photos, about 95 % have an interval that holds the value of all photos."""
    everything = mean_iou(judged(0, 5000, 0.2)).value
    covered = sum(low <= everything <= high for low, high in (
        (found.low, found.high) for found in (mean_iou(judged(seed, 60, 0.2)) for seed in range(1, 101))
    ))  # fmt: skip
    assert 86 <= covered <= 100


def test_a_paired_difference_sees_what_two_intervals_do_not() -> None:
    before = judged(3, 100, 0.2)
    better = Judged(before.names, before.confusion + np.array([[3, -3], [0, 0]]), before.boundary, before.calibration)
    found = difference(before, better)
    assert 0 < found.low <= found.value <= found.high
    assert mean_iou(before).high > mean_iou(better).low
    with pytest.raises(ValueError, match="same photos"):
        difference(before, judged(3, 99, 0.2))


def test_groups_are_named_by_the_photos() -> None:
    groups = judged(1, 10, 0.2).groups()
    assert set(groups) == {"cat", "the_dog"}
    assert groups["cat"].confusion.sum() == 5 * 2000
