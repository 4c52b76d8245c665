"""A gate run: which verdict it finds, and what it pays. The judgement itself is replaced."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import teaching
from versions import version_folder

from learning.data.base import import_base
from learning.gate.verdict import GateOutcome, Verdict
from learning.runs import gate as module
from learning.trainer import Trainer
from model.card import Card
from storage.connection import Storage
from storage.models import Alias
from storage.objects import TRAINING
from storage.problems import Problem
from storage.training import candidates, submitting
from storage.training.runs import Kind, RunOutcome, Status


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return teaching.data_folder(tmp_path / "data", train=60, test=6, gate=40)


@pytest.fixture
def storage(own_store: Storage, folder: Path, tmp_path: Path) -> Storage:
    """The data set `shapes`, stable pets/3, and the candidates pets/4 and pets/5."""
    import_base(own_store, "shapes", folder, lambda *_: None)
    for version in ("3", "4", "5"):
        origin = {"run": "run_x", "dataset": "shapes/1", "start": "pets/3"} if version != "3" else {}
        own_store.models.publish(version_folder(tmp_path, version, training=origin))
    return own_store


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, float]]:
    """Every candidate passes. Returns candidate, stable and alpha of each judgement."""
    found: list[tuple[str, str, float]] = []

    def judge(candidate: Path, stable: Path, _data: Path, alpha: float, beat: Callable[[], None]) -> Verdict:
        beat()
        found.append((Card.load(candidate).id, Card.load(stable).id, alpha))
        return Verdict(*found[-1], (), (), {})

    monkeypatch.setattr(module, "judge", judge)
    monkeypatch.setattr(Verdict, "outcome", GateOutcome.PASSED)
    return found


def run(storage: Storage, folder: Path, candidate: str, dataset: str = "") -> RunOutcome:
    spec = submitting.submit(storage, Kind.GATE, {"candidate": candidate, "dataset": dataset}, "me")
    Trainer(storage, "trainer-1", folder, lambda: False).work()
    outcome = storage.runs.outcome(spec.id)
    assert outcome
    return outcome


def spent(storage: Storage) -> list[list[Any]]:
    """The entries of each ledger."""
    keys = [listed.key for listed in storage.objects.listing(TRAINING, "ledgers/")]
    return [json.loads(storage.objects.get(TRAINING, key) or b"")["entries"] for key in keys]


def test_a_candidate_is_judged_anew_if_stable_changes(
    storage: Storage, tmp_path: Path, judged: list[tuple[str, str, float]]
) -> None:
    for version in ("pets/4", "pets/5", "pets/5"):
        run(storage, tmp_path / "runs", version)
    candidates.promote(storage, "pets/4")
    with pytest.raises(Problem, match="gate_not_passed"):
        candidates.promote(storage, "pets/5")
    assert run(storage, tmp_path / "runs", "pets/5").result["verdict"]["stable"] == "pets/4"
    candidates.promote(storage, "pets/5")
    assert storage.models.aliases(fresh=True)[Alias.STABLE] == "pets/5"
    assert [(candidate, stable) for candidate, stable, _ in judged] == [
        ("pets/4", "pets/3"), ("pets/5", "pets/3"), ("pets/5", "pets/4"),
    ]  # fmt: skip
    alphas = [alpha for *_, alpha in judged]
    assert alphas == sorted(set(alphas), reverse=True)


def test_the_same_gate_photos_under_another_name_share_the_ledger(
    storage: Storage, folder: Path, tmp_path: Path, judged: list[tuple[str, str, float]]
) -> None:
    import_base(storage, "again", folder, lambda *_: None)
    run(storage, tmp_path / "runs", "pets/4")
    run(storage, tmp_path / "runs", "pets/5", "again/1")
    assert [len(entries) for entries in spent(storage)] == [2]
    assert judged[1][2] < judged[0][2]


def test_stable_is_not_compared_with_itself(
    storage: Storage, tmp_path: Path, judged: list[tuple[str, str, float]]
) -> None:
    outcome = run(storage, tmp_path / "runs", "pets/3", "shapes/1")
    assert (outcome.status, judged, spent(storage)) == (Status.FAILED, [], [])
    assert outcome.reason == "pets/3 is stable: there is nothing to compare it with"


def test_a_candidate_of_a_version_that_was_never_stable_is_refused(
    storage: Storage, tmp_path: Path, judged: list[tuple[str, str, float]]
) -> None:
    """The version in between may have been trained on the gate's photos."""
    origin = {"run": "run_y", "dataset": "shapes/1", "start": "pets/5"}
    storage.models.publish(version_folder(tmp_path, "6", training=origin))
    outcome = run(storage, tmp_path / "runs", "pets/6")
    assert (outcome.status, judged, spent(storage)) == (Status.FAILED, [], [])
    assert "it was fine-tuned from pets/5, which has never been stable" in outcome.reason


def test_of_two_promotions_at_once_the_second_is_refused(
    storage: Storage, tmp_path: Path, judged: list[tuple[str, str, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("pets/4", "pets/5"):
        run(storage, tmp_path / "runs", version)
    point = storage.models.point

    def point_later(*arguments: Any, **more: Any) -> None:
        monkeypatch.undo()
        point(Alias.STABLE, "pets/4")
        point(*arguments, **more)

    monkeypatch.setattr(Verdict, "outcome", GateOutcome.PASSED)
    monkeypatch.setattr(storage.models, "point", point_later)
    with pytest.raises(Problem, match="stable no longer points at pets/3"):
        candidates.promote(storage, "pets/5")
    assert storage.models.aliases(fresh=True)[Alias.STABLE] == "pets/4"
