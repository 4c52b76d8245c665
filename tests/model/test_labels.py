"""Classes other than the pets': only the data folder defines them."""

import json
from pathlib import Path

import numpy as np
import pytest
import shapes
from PIL import Image

from model.data import examples, labels_of
from model.evaluation.photos import judge
from model.evaluation.scores import Scores
from model.inputs import INPUTS, training_photos
from model.labels import PETS
from model.segmenter import Segmenter
from storage.inputs.profile import Profile


def test_labels_come_from_the_data_folder(tmp_path: Path) -> None:
    assert labels_of(tmp_path) == PETS
    shapes.write_data(tmp_path, train=3, test=2)
    assert [label.to_dict() for label in labels_of(tmp_path)] == shapes.LABELS
    train, gate, test = (examples(tmp_path, split) for split in ("train", "gate", "test"))
    assert (len(train) + len(gate), len(test)) == (3, 2)
    _, classes = examples(tmp_path, "train")[0].open()
    np.testing.assert_array_equal(np.unique(np.asarray(classes)), [0, 1])


@pytest.mark.parametrize("ids", [[0], [1, 2], [0, 2], [1, 0]])
def test_labels_are_numbered_from_zero(tmp_path: Path, ids: list[int]) -> None:
    entries = [{"id": number, "name": str(number), "color": [0, 0, 0]} for number in ids]
    (tmp_path / "labels.json").write_text(json.dumps(entries))
    with pytest.raises(ValueError, match="ids 0, 1, 2"):
        labels_of(tmp_path)


def test_a_mask_is_a_picture_of_ids(tmp_path: Path) -> None:
    shapes.write_data(tmp_path, train=1, test=1)
    [example] = examples(tmp_path, "train")
    Image.new("RGB", (shapes.SIZE, shapes.SIZE)).save(example.mask)
    with pytest.raises(ValueError, match="not an 8-bit image of class ids"):
        example.open()


def test_unlabelled_pixels_are_ignored() -> None:
    truth, prediction = np.array([[0, 1, 255, 255]], np.uint8), np.array([[0, 1, 0, 1]], np.uint8)
    assert Scores.of([(truth, prediction)], classes=2).accuracy == 1


def test_two_synthetic_classes_are_learned(shapes_version: Path) -> None:
    pytest.importorskip("keras", reason="needs the `train` extra")
    version, data = shapes_version, shapes_version.parents[1] / "data"
    segmenter = Segmenter(version)
    assert (segmenter.card.name, segmenter.card.version) == ("shapes", "1")
    assert [label.to_dict() for label in segmenter.card.labels] == shapes.LABELS
    profile = Profile.from_json((version / INPUTS).read_bytes())
    assert profile.photos == len(training_photos(version, data)) > 0
    assert {"brightness", *(f"share:{label.name}" for label in segmenter.card.labels)} <= profile.features.keys()
    scores = judge(segmenter, examples(data, "test"), own_size=True).scores
    assert scores.mean_iou >= 0.8
    metrics = json.loads(shapes.command("model.evaluate", "--data", data, "--version", version))
    assert metrics["litert"]["test"]["mean_iou"] >= 0.8
    assert metrics["tensorflow"]["test"]["mean_iou"] >= 0.8
