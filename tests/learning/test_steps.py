"""How a run ends and the next one follows."""

import pytest
from callers import guarded, new_key

from learning.steps import finish
from storage import keys
from storage.connection import Storage
from storage.problems import Unavailable
from storage.records.api_key import Scope
from storage.training import submitting
from storage.training.runs import Kind, RunOutcome, Runs, Status

RESULT = {"dataset": "pets/1", "corrections": 4}


class Killed(BaseException):
    pass


def kill(*_: object) -> None:
    raise Killed


def test_the_next_run_gets_what_the_last_one_made(store: Storage) -> None:
    build = submitting.submit(store, Kind.BUILD, {"dataset": "pets"}, "me", then=submitting.teach())
    finish(store, build, RESULT)
    outcome = store.runs.outcome(build.id)
    assert outcome
    train = store.runs.spec(outcome.result["next"])
    assert train
    assert (train.kind, train.created_by, train.id[:16]) == (Kind.TRAIN, "me", build.id[:16])
    assert (train.parameters["dataset"], train.parameters["candidate"]) == ("pets/1", "pets/4")
    assert [kind for kind, _ in train.then] == [Kind.GATE]


def test_a_kill_before_the_outcome_makes_one_follower(store: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    build = submitting.submit(store, Kind.BUILD, {"dataset": "pets"}, "me", then=submitting.teach())
    following = keys.following_run(build.id, Kind.TRAIN)
    for _ in range(2):
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(Runs, "finish", kill)
            finish(store, build, RESULT)
        assert store.runs.ids() == {build.id: True, following: True}
    first = store.runs.spec(following)
    store.runs.finish(following, RunOutcome(Status.SUCCEEDED))  # a trainer was quicker than the repetition
    finish(store, build, RESULT)
    assert store.runs.ids() == {build.id: False, following: False}
    assert store.runs.spec(following) == first


def test_each_run_has_its_own_followers() -> None:
    run_id = keys.new_run_id()
    made = {keys.following_run(one, kind) for one in (run_id, keys.new_run_id()) for kind in Kind}
    assert len(made) == 2 * len(Kind)
    assert all(keys.is_run_id(one) for one in made)
    assert keys.created_ms(keys.following_run(run_id, Kind.TRAIN)) == keys.created_ms(run_id)


def test_a_submission_waits_for_another_and_then_is_an_outage(store: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run whose follower cannot be submitted now is repeated later, not failed."""
    monkeypatch.setattr(submitting, "PATIENCE_S", 0.2)
    client = guarded(store).test_client()
    headers = {"Authorization": f"Bearer {new_key(store, scopes=(Scope.ADMIN,))}"}
    with store.jobs.locks.alone(submitting.LOCK, 60) as first:
        assert first
        with pytest.raises(Unavailable, match="another run is being submitted"):
            submitting.submit(store, Kind.SCORE, {}, "me")
        answer = client.post("/v1/training/runs", json={"kind": "score"}, headers=headers)
        assert (answer.status_code, answer.get_json()["code"]) == (503, "unavailable")
    assert store.runs.ids() == {}
    submitting.submit(store, Kind.SCORE, {}, "me")


def test_a_run_succeeds_though_the_next_one_is_refused(store: Storage) -> None:
    build = submitting.submit(store, Kind.BUILD, {"dataset": "pets"}, "me", then=submitting.teach())
    finish(store, build, {"dataset": "pets/7"})
    outcome = store.runs.outcome(build.id)
    assert outcome
    assert outcome.status is Status.SUCCEEDED
    assert "no data set version pets/7" in outcome.result["not_followed"]
    assert "next" not in outcome.result
