"""The shipped model: its engines do what its card says."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pictures
import pytest
from services import ROOT, SHIPPED_MODEL

from model.card import Card
from model.data import MANIFEST, examples, manifest, training_examples
from model.engines import ENGINES
from model.evaluate import Data, agreement, figures, sets, table
from model.evaluation.photos import judge
from model.evaluation.scores import Scores
from model.segmenter import Segmenter

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter(SHIPPED_MODEL)


def test_a_mask_does_not_depend_on_its_micro_batch(segmenter: Segmenter) -> None:
    images = np.stack([segmenter.to_input(pictures.photo(200, 150, seed)) for seed in range(20)])
    alone = np.concatenate([segmenter.engine.logits(image[None]) for image in images])
    for count in (2, 3, *ENGINES["litert"].batch_sizes, 20):
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


def flat(metrics: dict[str, Any], prefix: str = "") -> dict[str, float]:
    pairs = [
        flat(value, f"{prefix}{key} ") if isinstance(value, dict) else {prefix + key: value}
        for key, value in metrics.items()
    ]
    return {key: value for part in pairs for key, value in part.items()}


def test_the_metrics_of_the_card_are_reproduced(training_pets: Path, pets: Path, segmenter: Segmenter) -> None:
    """Float sums differ in the last bit from one processor to the next."""
    for name in ("gate", "test", "full_size"):
        measured = figures(judge(segmenter, *sets(Data(training_pets, pets))[name]), segmenter.card)
        assert flat(measured) == pytest.approx(flat(segmenter.card.metrics["litert"][name]), abs=2e-3), name


def test_the_card_holds_what_the_shipped_version_must_reach() -> None:
    card = Card.load(SHIPPED_MODEL)
    litert, tensorflow = card.metrics["litert"], card.metrics["tensorflow"]
    assert (litert["gate"]["photos"], litert["test"]["photos"], litert["full_size"]["photos"]) == (296, 747, 36)
    assert litert["test"]["mean_iou"] >= 0.79
    assert litert["agreement"] >= 0.985
    for photos in ("gate", "test", "test_own_size", "full_size"):
        assert litert[photos]["mean_iou"] >= tensorflow[photos]["mean_iou"] - 0.005


def test_the_documents_have_the_figures_of_the_card() -> None:
    card = Card.load(SHIPPED_MODEL)
    page = (ROOT / "docs" / "model.md").read_text()
    _, _, *rows = table(card.metrics, card)
    assert [row for row in rows if row.split("|", 3)[3] not in page] == []
    readme = (ROOT / "README.md").read_text()
    for what, name in (("on 747 official test photos", "test"), ("on 36 photos at their full size", "full_size")):
        [line] = [line for line in readme.splitlines() if what in line]
        assert f"| {card.metrics['litert'][name]['mean_iou']:.3f} |" in line
    test = card.metrics["litert"]["test"]
    shown = [test["mean_iou"], *test["interval"].values(), *test["iou"].values(), test["accuracy"]]
    page = (ROOT / "docs" / "model-card.md").read_text()
    assert [figure for figure in shown if f"{figure:.3f}" not in page] == []


def test_the_engines_agree(pets: Path, segmenter: Segmenter) -> None:
    pytest.importorskip("keras", reason="needs the `train` extra")
    pairs = examples(pets, "test")[::20]
    assert agreement(segmenter, Segmenter(SHIPPED_MODEL, engine="tensorflow"), pairs) >= 0.98


def test_the_card_lists_the_training_photos(training_pets: Path) -> None:
    assert (SHIPPED_MODEL / MANIFEST).read_text() == manifest(training_pets, training_examples(training_pets)[0])
    seen = {photo["name"] for photo in json.loads((SHIPPED_MODEL / MANIFEST).read_text())["photos"]}
    assert not seen & {pair.name for split in ("gate", "test") for pair in examples(training_pets, split)}


def test_float16_and_xla_give_nearly_the_same_masks() -> None:
    """XLA and float16 as on a GPU, here on the CPU; one photo at a time, because it is slow."""
    pytest.importorskip("keras", reason="needs the `train` extra")
    from model.tf_engine import TensorFlowEngine

    segmenter, weights = Segmenter(SHIPPED_MODEL, engine="tensorflow"), SHIPPED_MODEL / ENGINES["tensorflow"].file
    photos = np.stack([segmenter.to_input(pictures.photo(200, 150, seed)) for seed in range(8)])
    as_on_gpu = TensorFlowEngine(weights, segmenter.card, gpu=True)
    expected = segmenter.engine.logits(photos)
    logits = np.concatenate([as_on_gpu.logits(photo[None]) for photo in photos])
    assert logits.dtype == np.float32
    assert (logits.argmax(-1) == expected.argmax(-1)).mean() >= 0.995
