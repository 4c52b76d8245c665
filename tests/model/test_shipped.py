"""The model that ships: what its card says is what its engine does."""

from pathlib import Path

import numpy as np
import pictures
import pytest
from services import SHIPPED_MODEL

from model.card import Card
from model.engines import BATCH_SIZES
from model.evaluate import Scores, evaluate
from model.segmenter import Segmenter


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter(SHIPPED_MODEL)


def test_a_mask_does_not_depend_on_its_micro_batch(segmenter: Segmenter) -> None:
    images = np.stack([segmenter.to_input(pictures.photo(200, 150, seed)) for seed in range(20)])
    alone = np.concatenate([segmenter.engine.logits(image[None]) for image in images])
    for count in (2, 3, *BATCH_SIZES, 20):
        np.testing.assert_array_equal(segmenter.engine.logits(images[:count]), alone[:count])


def test_masks_have_their_photos_sizes(segmenter: Segmenter) -> None:
    photos = [pictures.photo(37, 91), pictures.photo(300, 200), pictures.photo(1, 1)]
    assert [mask.shape for mask in segmenter.masks(photos)] == [(91, 37), (200, 300), (1, 1)]


def test_scores() -> None:
    truth = np.array([[0, 0, 1, 1]], np.uint8)
    prediction = np.array([[0, 1, 1, 1]], np.uint8)
    scores = Scores.of(iter([(truth, prediction)]), classes=2)
    np.testing.assert_allclose(scores.iou, [1 / 2, 2 / 3])
    assert scores.accuracy == 3 / 4


def test_the_card_tells_the_truth(pets: Path) -> None:
    metrics = evaluate(SHIPPED_MODEL, pets)
    assert metrics == Card.load(SHIPPED_MODEL).metrics
    assert metrics["test"]["photos"] == 747
    assert metrics["test"]["mean_iou"] >= 0.75
