"""Candidates that were trained on what judges them, and those that cannot run in stable's place."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import pytest
import shapes
from PIL import Image, ImageOps
from services import ROOT, SHIPPED_MODEL

from learning.gate.ledger import digest
from learning.gate.provenance import Splits, provenance
from learning.gate.structure import usable
from learning.gate.verdict import Check, GateOutcome
from model.card import Card, sha256
from model.data import MANIFEST, Example, manifest
from model.labels import PETS

SPLITS = {"train": range(12), "gate": range(12, 18), "held_out": range(18, 22), "test": range(22, 25)}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data version with 25 synthetic pictures."""
    root = tmp_path / "data"
    shapes.write_data(root, train=25, test=0)
    (root / "splits" / "test.txt").unlink()
    for split, numbers in SPLITS.items():
        (root / "splits" / f"{split}.txt").write_text("".join(f"shape_{number:03}\n" for number in numbers))
    return root


def trained_on(root: Path, photos: Sequence[Example]) -> Path:
    """The folder of a version with nothing but its list of training photos."""
    folder = root.parent / "candidate"
    folder.mkdir(exist_ok=True)
    (folder / MANIFEST).write_text(manifest(root, photos))
    return folder


def check(root: Path, photos: Sequence[Example]) -> Check:
    return provenance(trained_on(root, photos), Splits.of(root))


def test_photos_of_the_training_list_are_fine(data: Path) -> None:
    splits = Splits.of(data)
    found = check(data, splits.train)
    assert (found.outcome, found.reason) == (GateOutcome.PASSED, "none of its 12 training photos judges it")
    assert check(data, splits.train[:3]).outcome is GateOutcome.PASSED


@pytest.mark.parametrize(("split", "named"), [("gate", "gate"), ("held_out", "held-out"), ("test", "test")])
def test_photos_that_judge_are_found_under_any_name(data: Path, split: str, named: str) -> None:
    splits = Splits.of(data)
    renamed = [replace(one, name="innocent") for one in getattr(splits, split)[:2]]
    found = check(data, [*splits.train, *renamed])
    assert (found.outcome, found.reason) == (GateOutcome.FAILED, f"trained on 2 photos of the {named} set")


def test_photos_that_no_data_version_holds_are_found(data: Path, tmp_path: Path) -> None:
    photo, _ = shapes.picture(99)
    photo.save(tmp_path / "foreign.jpg")
    foreign = Example("foreign", tmp_path / "foreign.jpg", tmp_path / "none.png", 0)
    found = check(data, [*Splits.of(data).train, foreign])
    assert found.reason == "trained on 1 photo that the data version does not hold for training"


@pytest.mark.parametrize("split", ["gate", "held_out"])
def test_twins_of_photos_that_judge_are_found(data: Path, split: str) -> None:
    """A mirrored copy of a judging photo, compressed anew, on the training list."""
    judge = getattr(Splits.of(data), split)[0]
    with Image.open(judge.photo) as photo:
        ImageOps.mirror(photo).save(data / "images" / "shape_000.jpg", quality=60)
    found = check(data, Splits.of(data).train)
    assert (found.outcome, found.reason) == (
        GateOutcome.FAILED,
        "trained on 1 photo with a twin in the gate or held-out set",
    )


@pytest.mark.parametrize("text", [None, "{", "[]", '{"photos": []}', '{"photos": [{"name": "a"}]}'])
def test_a_candidate_that_does_not_say_what_it_was_trained_on_fails(data: Path, tmp_path: Path, text: str) -> None:
    if text is not None:
        (tmp_path / MANIFEST).write_text(text)
    found = provenance(tmp_path, Splits.of(data))
    assert (found.outcome, "does not list" in found.reason) == (GateOutcome.FAILED, True)


def test_corrections_and_test_may_be_missing(data: Path) -> None:
    for split in ("held_out", "test"):
        (data / "splits" / f"{split}.txt").unlink()
    splits = Splits.of(data)
    assert (splits.held_out, splits.test) == ([], [])
    assert check(data, splits.train).outcome is GateOutcome.PASSED


def test_the_digest_of_a_gate_set_follows_photos_and_masks_only(data: Path) -> None:
    gate = Splits.of(data).gate
    renamed = [replace(one, name=one.name[::-1]) for one in gate[::-1]]
    assert digest(renamed) == digest(gate)
    assert digest(gate[:-1]) != digest(gate)
    assert digest([replace(gate[0], mask=gate[1].mask), *gate[1:]]) != digest(gate)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(copytree(SHIPPED_MODEL, tmp_path / "copied"))


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """The labels of the pets."""
    folder = tmp_path / "labelled"
    folder.mkdir()
    (folder / "labels.json").write_text(json.dumps([label.to_dict() for label in PETS]))
    return folder


def test_a_version_like_stable_is_usable(copied: Path, labelled: Path) -> None:
    assert usable(copied, ROOT / "model/weights/pets/2", labelled).outcome is GateOutcome.PASSED


def test_what_cannot_run_in_stables_place_is_not(copied: Path, labelled: Path, data: Path) -> None:
    card = Card.load(copied)
    assert usable(copied, SHIPPED_MODEL, data).reason == "its classes are not those of the data version"

    (copied / "int8.tflite").write_bytes(b"junk")
    assert usable(copied, SHIPPED_MODEL, labelled).reason == "missing or altered: int8.tflite"
    files = {**card.files, "int8.tflite": sha256(copied / "int8.tflite")}
    replace(card, files=files).save(copied)
    assert "does not load" in usable(copied, SHIPPED_MODEL, labelled).reason

    replace(card, files={name: one for name, one in files.items() if name != MANIFEST}).save(copied)
    assert MANIFEST in usable(copied, SHIPPED_MODEL, labelled).reason

    (copied / "card.json").write_text("{}")
    assert usable(copied, SHIPPED_MODEL, labelled).reason == "it has no readable card"


def test_classes_unlike_stables_are_refused(copied: Path, labelled: Path) -> None:
    """The data version has another class name, and so has the candidate."""
    renamed = (replace(PETS[0], name="animal"), *PETS[1:])
    card = Card.load(copied)
    replace(card, labels=renamed).save(copied)
    (labelled / "labels.json").write_text(json.dumps([label.to_dict() for label in renamed]))
    assert usable(copied, SHIPPED_MODEL, labelled).reason == "its classes are not those of stable"
