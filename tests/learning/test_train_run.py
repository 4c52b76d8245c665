"""A training run, without a training."""

from pathlib import Path

import learned
import pytest
from services import SHIPPED_MODEL
from versions import version_folder

from learning.trainer import Trainer
from storage import keys
from storage.connection import Storage
from storage.training import submitting
from storage.training.runs import Kind, Runs, Status


class Killed(BaseException):
    pass


def kill(*_: object) -> None:
    raise Killed


def test_a_kill_after_the_publication_loses_nothing(
    own_store: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another export would have other figures in its card, and could not be published."""
    own_store.models.publish(SHIPPED_MODEL)
    learned.dataset(own_store)
    spec = submitting.submit(own_store, Kind.TRAIN, {"dataset": "pets"}, "me", then=((Kind.GATE.value, {}),))
    origin = {"run": spec.id, "dataset": "pets/1", "start": "pets/3"}
    own_store.models.publish(version_folder(tmp_path, "4", training=origin))
    trainer = Trainer(own_store, "trainer-1", tmp_path / "runs", lambda: False)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Runs, "finish", kill)
        trainer.work()
    gate = keys.following_run(spec.id, Kind.GATE)
    assert own_store.runs.ids() == {spec.id: True, gate: True}
    own_store.runs.cancel(gate)
    trainer.work()
    outcome = own_store.runs.outcome(spec.id)
    assert outcome
    assert (outcome.status, outcome.result["candidate"]) == (Status.SUCCEEDED, "pets/4")
