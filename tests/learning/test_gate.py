"""The whole gate, on real photos, with the shipped versions."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
from services import ROOT

from learning.gate import gate
from learning.gate.footprint import peak_mb
from learning.gate.gate import judge
from learning.gate.ledger import SMALLEST_ALPHA
from learning.gate.limits import Limits
from learning.gate.structure import cost
from learning.gate.verdict import GateOutcome, Verdict
from model.card import Card, sha256
from model.data import MANIFEST, Example, examples, manifest
from model.labels import PETS

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
VERSIONS = ROOT / "model" / "weights" / "pets"
OLD, NEW = VERSIONS / "2", VERSIONS / "3"


@pytest.fixture(scope="module")
def data(pets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data version of real photos. Neither version was trained on those of gate, held_out and test."""
    root = tmp_path_factory.mktemp("version")
    unseen = examples(pets, "test")
    splits = {
        "train": examples(pets, "train")[::40],
        "gate": unseen[::6],
        "held_out": unseen[1::12],
        "test": unseen[2::24],
    }
    for name in ("images", "masks", "splits"):
        (root / name).mkdir()
    (root / "labels.json").write_text(json.dumps([label.to_dict() for label in PETS]))
    for split, photos in splits.items():
        (root / "splits" / f"{split}.txt").write_text("".join(f"{one.name}\n" for one in photos))
        write(root, photos)
    return root


def write(root: Path, photos: Iterable[Example]) -> None:
    for one in photos:
        (root / "images" / f"{one.name}.jpg").write_bytes(one.photo.read_bytes())
        _, classes = one.open()
        classes.save(root / "masks" / f"{one.name}.png")


def as_candidate(version: Path, data: Path, folder: Path) -> Path:
    """A copy of `version` that says that it was trained on the training list of `data`."""
    copytree(version, folder)
    (folder / MANIFEST).write_text(manifest(data, examples(data, "train")))
    card = Card.load(folder)
    replace(card, files={**card.files, MANIFEST: sha256(folder / MANIFEST)}).save(folder)
    return folder


def outcomes(verdict: Verdict) -> dict[str, GateOutcome]:
    return {check.name: check.outcome for check in verdict.checks}


def test_a_better_version_passes(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("keras", reason="needs the `train` extra")
    # Beside other tests the measured CPU times may be off.
    verdict = judge(as_candidate(NEW, data, tmp_path / "3"), OLD, data, 0.025, Limits(cpu_ratio=10))
    assert verdict.outcome is GateOutcome.PASSED, verdict.to_dict()
    assert list(outcomes(verdict)) == [
        "usable", "provenance", "not_inferior", "classes", "groups", "better_on_corrections", "engines_agree", "cost",
    ]  # fmt: skip
    assert set(outcomes(verdict).values()) == {GateOutcome.PASSED}
    assert verdict.reported["test"]["photos"] == 32
    assert Verdict.from_dict(json.loads(json.dumps(verdict.to_dict(), allow_nan=False))) == verdict


def test_a_worse_version_fails(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also shows what happens where TensorFlow is not installed."""
    monkeypatch.setattr(gate, "installed", lambda: ["litert"])
    verdict = judge(as_candidate(OLD, data, tmp_path / "2"), NEW, data, 0.025, Limits(cpu_ratio=10))
    found = outcomes(verdict)
    assert verdict.outcome is GateOutcome.FAILED
    assert {name for name, one in found.items() if one is GateOutcome.FAILED} >= {
        "not_inferior", "classes", "better_on_corrections",
    }  # fmt: skip
    assert found["engines_agree"] is GateOutcome.SKIPPED
    assert "engines_agree: TensorFlow is not installed here." in "\n".join(verdict.lines())


def test_a_version_trained_elsewhere_is_not_measured(data: Path) -> None:
    verdict = judge(NEW, OLD, data, 0.025)
    assert outcomes(verdict) == {"usable": GateOutcome.PASSED, "provenance": GateOutcome.FAILED}
    assert (verdict.checks[-1].figures, verdict.reported) == ({}, {})
    assert verdict.power[0].startswith("125 gate photos show a difference of 1.1 points")
    trained = len(json.loads((NEW / MANIFEST).read_text())["photos"])
    assert verdict.checks[-1].reason == f"trained on {trained} photos that the data version does not hold for training"


def test_few_photos_without_corrections_are_undecided(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "installed", lambda: ["litert"])
    few = Path(copytree(data, tmp_path / "few"))
    (few / "splits" / "gate.txt").write_text("".join(f"{one.name}\n" for one in examples(data, "gate")[:10]))
    for split in ("held_out", "test"):
        (few / "splits" / f"{split}.txt").unlink()
    verdict = judge(as_candidate(NEW, few, tmp_path / "3"), OLD, few, 0.025, Limits(cpu_ratio=10))
    assert verdict.outcome is GateOutcome.UNDECIDED
    found = {check.name: check for check in verdict.checks}
    for name in ("not_inferior", "classes", "better_on_corrections"):
        assert (found[name].outcome, bool(found[name].needs)) == (GateOutcome.UNDECIDED, True), name
    assert verdict.reported == {}
    assert verdict.power[1] == "there are no held-out corrections"


@pytest.mark.parametrize("alpha", [0.0, SMALLEST_ALPHA / 2, 0.06])
def test_an_alpha_that_no_ledger_gives_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha"):
        judge(NEW, OLD, ROOT, alpha)


def test_without_gate_photos_nothing_is_judged(data: Path, tmp_path: Path) -> None:
    empty = Path(copytree(data, tmp_path / "empty"))
    (empty / "splits" / "gate.txt").write_text("")
    with pytest.raises(ValueError, match="no gate photos"):
        judge(NEW, OLD, empty, 0.025)


def test_what_costs_too_much_is_refused_with_its_names() -> None:
    found = cost(NEW, OLD, Limits(cpu_ratio=0.01, memory_ratio=100, size_ratio=0.01))
    assert set(found.figures) == {"CPU time", "peak memory", "file size", "CPU ms per image", "peak MB", "file MB"}
    assert found.outcome is GateOutcome.FAILED
    assert found.reason == "it takes more than 0.01 times stable's CPU time, more than 0.01 times stable's file size"


def test_the_memory_is_that_of_the_version_not_of_this_process() -> None:
    ballast = np.ones(400_000_000, np.uint8)
    assert 40 < peak_mb(NEW) < ballast.nbytes / 1e6
