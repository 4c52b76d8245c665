"""A trainer: which step it takes, and how a run ends."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from learning import trainer as module
from learning.steps import Place, whole
from learning.trainer import Trainer
from learning.watch import Watch
from storage import keys
from storage.connection import Storage
from storage.problems import Unavailable
from storage.queue.locks import LeaseLost
from storage.training.datasets import DatasetError
from storage.training.runs import CHECKPOINT, LOG, MOST_FAILURES, Kind, Run, Spec, Status

Do = Callable[[Place, Spec, Watch], dict[str, Any]]


@pytest.fixture
def storage(own_store: Storage) -> Storage:
    return own_store


@pytest.fixture
def doing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Do], None]:
    """Replaces what a run of the kind SCORE does."""

    def replace(do: Do) -> None:
        monkeypatch.setitem(module.KINDS, Kind.SCORE, lambda place, spec: whole(place, spec, do))

    return replace


def submitted(storage: Storage, **changes: Any) -> Spec:
    spec = Spec(keys.new_run_id(), Kind.SCORE, {}, 1, "me", **changes)
    storage.runs.submit(spec)
    return spec


def trainer(storage: Storage, folder: Path, stopping: Callable[[], bool] = lambda: False) -> Trainer:
    return Trainer(storage, "trainer-1", folder, stopping)


def found(storage: Storage, spec: Spec) -> Run:
    run = storage.runs.find(spec.id)
    assert run
    return run


def test_it_does_the_oldest_run_first(storage: Storage, doing: Callable[[Do], None], tmp_path: Path) -> None:
    done: list[str] = []
    doing(lambda place, spec, watch: {"made": done.append(spec.id)})
    specs = [submitted(storage) for _ in range(3)]
    assert trainer(storage, tmp_path).work() == 3
    assert done == sorted(spec.id for spec in specs)
    assert trainer(storage, tmp_path).work() == 0
    assert {found(storage, spec).status for spec in specs} == {Status.SUCCEEDED}


def test_a_run_for_another_machine_is_left_alone(storage: Storage, doing: Callable[[Do], None], tmp_path: Path) -> None:
    doing(lambda place, spec, watch: {})
    spec = submitted(storage, elsewhere=True)
    assert trainer(storage, tmp_path).work() == 0
    assert found(storage, spec).status is Status.QUEUED


def test_another_trainers_step_is_left_alone(storage: Storage, doing: Callable[[Do], None], tmp_path: Path) -> None:
    doing(lambda place, spec, watch: {})
    spec = submitted(storage)
    with storage.jobs.locks.lease(keys.training_lease(spec.id), 60) as lease:
        assert lease
        assert trainer(storage, tmp_path).work() == 0
    assert trainer(storage, tmp_path).work() == 1


@pytest.mark.parametrize("error", [DatasetError("it is withdrawn"), ValueError("it is withdrawn")])
def test_a_hopeless_run_fails_with_its_reason(
    storage: Storage, doing: Callable[[Do], None], tmp_path: Path, error: Exception
) -> None:
    def fail(*_: object) -> dict[str, Any]:
        raise error

    doing(fail)
    spec = submitted(storage)
    trainer(storage, tmp_path).work()
    outcome = found(storage, spec).outcome
    assert outcome
    assert (outcome.status, outcome.reason) == (Status.FAILED, "it is withdrawn")


def test_a_run_that_keeps_failing_ends(storage: Storage, doing: Callable[[Do], None], tmp_path: Path) -> None:
    tries: list[int] = []

    def fail(*_: object) -> dict[str, Any]:
        tries.append(1)
        raise RuntimeError("out of luck")

    doing(fail)
    spec = submitted(storage)
    for _ in range(MOST_FAILURES + 1):
        trainer(storage, tmp_path).work()
    outcome = found(storage, spec).outcome
    assert outcome
    assert outcome.status is Status.FAILED
    assert "out of luck" in outcome.reason
    assert len(tries) == MOST_FAILURES


def test_a_run_that_kills_its_trainer_ends(storage: Storage, doing: Callable[[Do], None], tmp_path: Path) -> None:
    """A crash leaves no exception behind: what stays is the try that began."""

    class Killed(BaseException):
        pass

    def crash(*_: object) -> dict[str, Any]:
        raise Killed

    doing(crash)
    spec = submitted(storage)
    for _ in range(MOST_FAILURES):
        with pytest.raises(Killed):
            trainer(storage, tmp_path).work()
    assert trainer(storage, tmp_path).work() == 1
    outcome = found(storage, spec).outcome
    assert outcome
    assert "trainer-1 crashed" in outcome.reason


@pytest.mark.parametrize("error", [Unavailable("the object store"), LeaseLost("another")])
def test_an_interruption_costs_the_run_nothing(
    storage: Storage, doing: Callable[[Do], None], tmp_path: Path, error: Exception
) -> None:
    outages = [error] * 5

    def work(*_: object) -> dict[str, Any]:
        if outages:
            raise outages.pop()
        return {"made": "it"}

    doing(work)
    spec = submitted(storage)
    for _ in range(6):
        trainer(storage, tmp_path).work()
    assert found(storage, spec).status is Status.SUCCEEDED


def test_progress_forgives_earlier_crashes(storage: Storage, doing: Callable[[Do], None], tmp_path: Path) -> None:
    tries: list[int] = []

    def work(_place: Place, _spec: Spec, watch: Watch) -> dict[str, Any]:
        tries.append(1)
        watch.kept()
        if len(tries) < 3 * MOST_FAILURES:
            raise RuntimeError("again")
        return {}

    doing(work)
    spec = submitted(storage)
    for _ in range(3 * MOST_FAILURES):
        trainer(storage, tmp_path).work()
    assert found(storage, spec).status is Status.SUCCEEDED


def test_a_canceled_run_ends_between_two_pieces(
    storage: Storage, doing: Callable[[Do], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("learning.watch.ASK_S", 0)

    def work(_place: Place, spec: Spec, watch: Watch) -> dict[str, Any]:
        storage.runs.cancel(spec.id)
        watch.beat()
        return {}

    doing(work)
    running, waiting = submitted(storage), submitted(storage)
    storage.runs.cancel(waiting.id)
    trainer(storage, tmp_path).work()
    assert {found(storage, spec).status for spec in (running, waiting)} == {Status.CANCELED}


def test_a_stopping_trainer_leaves_the_run_to_the_next(
    storage: Storage, doing: Callable[[Do], None], tmp_path: Path
) -> None:
    stops: list[int] = []

    def work(_place: Place, _spec: Spec, watch: Watch) -> dict[str, Any]:
        stops.append(1)
        watch.beat()
        return {}

    doing(work)
    spec = submitted(storage)
    assert trainer(storage, tmp_path, stopping=lambda: len(stops) == 1).work() == 0
    assert found(storage, spec).outcome is None
    assert trainer(storage, tmp_path).work() == 1
    assert found(storage, spec).status is Status.SUCCEEDED


def test_a_lease_that_redis_lost_is_taken_again_or_lost(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    locks, key = storage.jobs.locks, keys.training_lease("run_x")
    with locks.lease(key, 60) as lease, locks.lease(key, 60) as second:
        assert lease
        assert second is None
        lease._renewed -= 60
        storage.jobs.client.delete(key)
        lease.renew()
        assert storage.jobs.client.pttl(key) > 50_000
        storage.jobs.client.set(key, "another", px=60_000)
        lease._renewed -= 60
        with pytest.raises(LeaseLost):
            lease.renew()
    assert storage.jobs.client.get(key) == "another"


def test_files_of_an_ended_run_are_removed(storage: Storage, doing: Callable[[Do], None], tmp_path: Path) -> None:
    """Its photos on this machine, and what only a run that goes on needs of the object store."""
    tries: list[int] = []

    def work(place: Place, spec: Spec, _watch: Watch) -> dict[str, Any]:
        place.folder.mkdir(parents=True, exist_ok=True)
        (place.folder / "photo.jpg").write_bytes(b"")
        for name in (*CHECKPOINT, LOG):
            storage.runs.put(spec.id, name, b"x")
        tries.append(1)
        if len(tries) == 1:
            raise RuntimeError("again")
        return {}

    doing(work)
    spec = submitted(storage)
    trainer(storage, tmp_path).work()
    assert (tmp_path / spec.id).exists()
    assert all(storage.runs.get(spec.id, name) for name in CHECKPOINT)
    trainer(storage, tmp_path).work()
    assert not (tmp_path / spec.id).exists()
    assert not any(storage.runs.get(spec.id, name) for name in CHECKPOINT)
    assert storage.runs.get(spec.id, LOG)


def test_a_canceled_run_for_another_machine_is_ended(
    storage: Storage, doing: Callable[[Do], None], tmp_path: Path
) -> None:
    done: list[str] = []
    doing(lambda place, spec, watch: {"made": done.append(spec.id)})
    spec = submitted(storage, elsewhere=True)
    storage.runs.cancel(spec.id)
    assert trainer(storage, tmp_path).work() == 1
    assert (found(storage, spec).status, done) == (Status.CANCELED, [])
