"""What the housekeeper does for the learning loop: tickets, rounds, records."""

import logging
from collections.abc import Callable

import learned
import pytest
import reviewed
from pydantic import SecretStr
from services import SHIPPED_MODEL
from sqlalchemy import select

from model.inputs import INPUTS
from storage import clock, keys
from storage.connection import Storage, connect
from storage.inputs.counts import add
from storage.inputs.profile import Profile
from storage.keys import TRAINING_QUEUE
from storage.problems import Unavailable
from storage.records.tables import training_runs
from storage.training import submitting
from storage.training.runs import Kind, Progress, RunOutcome, Spec, Status
from worker.housekeeping import learning
from worker.housekeeping.learning import PAUSE_MS, POLICY, learn

HOUR_S = 3600
Later = Callable[[float], None]


def asking(storage: Storage, **settings: object) -> Storage:
    return connect(storage.settings.replace(learn_dataset="pets", **settings))


def submitted(storage: Storage, kind: Kind = Kind.SCORE) -> Spec:
    spec = Spec(keys.new_run_id(), kind, {}, clock.now_ms(), "me")
    storage.runs.submit(spec)
    return spec


def tickets(storage: Storage) -> int:
    return int(storage.jobs.client.llen(TRAINING_QUEUE))


def rounds(storage: Storage) -> list[str]:
    """The ids of the rounds that the housekeeper has started."""
    found = [storage.runs.spec(run_id) for run_id in storage.runs.ids()]
    return [spec.id for spec in found if spec and spec.created_by == POLICY]


def accept(storage: Storage, count: int) -> list[str]:
    jobs = [reviewed.consented(storage, "acme", seed) for seed in range(count)]
    return [reviewed.accepted(storage, job).job_id for job in jobs]


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Later:
    """Moves the clock ahead by seconds."""
    now_ms = clock.now_ms

    def move(seconds: float) -> None:
        monkeypatch.setattr(clock, "now_ms", lambda: now_ms() + round(seconds * 1000))

    return move


def test_a_ticket_waits_while_a_run_is_open(own_store: Storage) -> None:
    learn(own_store)
    assert tickets(own_store) == 0
    spec = submitted(own_store)
    for _ in range(3):
        learn(own_store)
    assert tickets(own_store) == 1
    own_store.jobs.client.delete(TRAINING_QUEUE)  # a trainer took it
    learn(own_store)
    assert tickets(own_store) == 1, "another trainer can take another step"
    own_store.jobs.client.delete(TRAINING_QUEUE)
    own_store.runs.finish(spec.id, RunOutcome(Status.SUCCEEDED))
    learn(own_store)
    assert tickets(own_store) == 0


def test_without_a_policy_no_round_starts(own_store: Storage) -> None:
    learned.dataset(own_store)
    accept(own_store, 1)
    for settings in ({"learn_after": 1, "learn_dataset": ""}, {"learn_dataset": "pets"}):
        learn(connect(own_store.settings.replace(**settings)))
    assert own_store.runs.ids() == {}


def test_the_settings_change_the_recipe_of_a_round(own_store: Storage) -> None:
    accept(own_store, 1)
    learned.dataset(own_store)
    learn(asking(own_store, learn_after=1, learn_recipe={"epochs": 3}))
    [round_id] = rounds(own_store)
    spec = own_store.runs.spec(round_id)
    assert spec
    assert list(spec.then) == [("train", {"changes": {"epochs": 3}}), ("gate", {})]


def test_enough_new_corrections_start_a_round(own_store: Storage) -> None:
    storage = asking(own_store, learn_after=3)
    held, left, *new = accept(storage, 4)
    learned.dataset(storage)
    learned.dataset(storage, number=2, held=(held,), left_out=(left,))
    learn(storage)
    assert rounds(storage) == [], "two of the four are in the newest version, or left out of it"
    rejected = reviewed.consented(storage, "acme", 8)
    learn(storage)
    assert rounds(storage) == [], f"nobody has accepted {rejected.id}"
    reviewed.accepted(storage, reviewed.consented(storage, "acme", 9))
    learn(storage)
    [round_id] = rounds(storage)
    spec = storage.runs.spec(round_id)
    assert spec
    assert (spec.kind, spec.parameters) == (Kind.BUILD, {"dataset": "pets", "number": 3})
    assert spec.then == submitting.teach()
    assert tickets(storage) == 1
    learn(storage)
    assert rounds(storage) == [round_id], "it is open"
    assert len(new) == 2


def test_looking_for_new_corrections_reads_no_review(own_store: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = asking(own_store, learn_after=2)
    learned.dataset(storage)
    accept(storage, 1)
    read: list[str] = []
    get = type(storage.objects).get
    monkeypatch.setattr(
        type(storage.objects), "get", lambda self, bucket, key: read.append(key) or get(self, bucket, key)
    )
    learn(storage)
    assert rounds(storage) == []
    assert [key for key in read if key.startswith("reviews/")] == []


def test_a_round_starts_some_time_after_the_last_run(own_store: Storage, later: Later) -> None:
    storage = asking(own_store, learn_every_s=7 * 24 * HOUR_S)
    learned.dataset(storage)
    spec = submitted(storage)
    storage.runs.finish(spec.id, RunOutcome(Status.SUCCEEDED))
    later(7 * 24 * HOUR_S - 60)
    learn(storage)
    assert rounds(storage) == []
    later(7 * 24 * HOUR_S)
    learn(storage)
    assert len(rounds(storage)) == 1


def test_the_first_round_starts_at_once(own_store: Storage) -> None:
    storage = asking(own_store, learn_every_s=HOUR_S)
    learned.dataset(storage)
    learn(storage)
    assert len(rounds(storage)) == 1


@pytest.mark.parametrize("open_kind", list(Kind))
def test_no_round_starts_while_any_run_is_open(own_store: Storage, later: Later, open_kind: Kind) -> None:
    storage = asking(own_store, learn_every_s=HOUR_S)
    learned.dataset(storage)
    submitted(storage, open_kind)
    later(2 * HOUR_S)
    learn(storage)
    assert rounds(storage) == []


def test_a_run_for_another_machine_keeps_no_round_from_starting(own_store: Storage, later: Later) -> None:
    """That machine may never begin it."""
    storage = asking(own_store, learn_every_s=HOUR_S)
    learned.dataset(storage)
    storage.runs.submit(Spec(keys.new_run_id(), Kind.TRAIN, {"candidate": "pets/9"}, 1, "me", elsewhere=True))
    later(2 * HOUR_S)
    learn(storage)
    assert len(rounds(storage)) == 1


def drifted(storage: Storage) -> None:
    """Publish a stable version, and count photos of it that are darker than its training photos."""
    storage.models.publish(SHIPPED_MODEL)
    profile = Profile.from_json((SHIPPED_MODEL / INPUTS).read_bytes())
    for _ in range(30):
        add(storage.jobs.client, "pets/3", profile, {"brightness": 0})


def test_a_drift_starts_a_round_if_there_is_something_new_to_learn(
    own_store: Storage, later: Later, caplog: pytest.LogCaptureFixture
) -> None:
    storage = asking(own_store, learn_on_drift=True)
    learned.dataset(storage)
    accept(storage, 1)
    learn(storage)
    assert rounds(storage) == [], "stable has no profile"
    drifted(storage)
    with caplog.at_level(logging.INFO, learning.__name__):
        learn(storage)
    [round_id] = rounds(storage)
    [line] = [record for record in caplog.records if record.message == "round_started"]
    assert vars(line)["reason"] == "drift of brightness"
    storage.runs.finish(round_id, RunOutcome(Status.SUCCEEDED))
    later(24 * HOUR_S - 60)
    drifted(storage)
    learn(storage)
    assert rounds(storage) == [round_id], "the last round was less than a day ago"
    later(24 * HOUR_S + 60)
    learn(storage)
    assert len(rounds(storage)) == 2


def test_a_drift_without_a_new_correction_starts_no_round(own_store: Storage) -> None:
    """The data set would be the same again."""
    storage = asking(own_store, learn_on_drift=True)
    learned.dataset(storage, held=tuple(accept(storage, 1)))
    drifted(storage)
    learn(storage)
    assert rounds(storage) == []


def test_a_drift_starts_no_round_unless_the_setting_asks_for_it(own_store: Storage) -> None:
    storage = asking(own_store, learn_after=50)
    learned.dataset(storage)
    accept(storage, 1)
    drifted(storage)
    learn(storage)
    assert rounds(storage) == []


def test_a_profile_that_cannot_be_read_stops_no_other_reason(
    own_store: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    storage = asking(own_store, learn_on_drift=True)
    learned.dataset(storage)
    accept(storage, 1)
    drifted(storage)
    storage.models.put_profile("pets/3", b"{}")
    learn(storage)
    assert rounds(storage) == []
    assert "drift_unknown" in caplog.text
    learn(asking(own_store, learn_on_drift=True, learn_after=1))
    assert len(rounds(storage)) == 1


@pytest.mark.parametrize("failed", [0, 1, 2])
def test_after_a_failure_the_next_round_waits(own_store: Storage, later: Later, failed: int) -> None:
    """Whichever run of the round failed, and however long it took until then."""
    storage = asking(own_store, learn_every_s=1)
    learned.dataset(storage)
    learn(storage)
    [build] = rounds(storage)
    train = keys.following_run(build, Kind.TRAIN)
    ids = [build, train, keys.following_run(train, Kind.GATE)][: failed + 1]
    later(3 * HOUR_S)
    for number, run_id in enumerate(ids):
        storage.runs.submit(Spec(run_id, Kind.BUILD, {"dataset": "pets", "number": 2}, 1, "me"))
        storage.runs.finish(run_id, RunOutcome(Status.FAILED if number == failed else Status.SUCCEEDED))
    later(3 * HOUR_S + PAUSE_MS / 1000 - 60)
    learn(storage)
    assert storage.runs.ids() == dict.fromkeys(sorted(ids), False)
    later(3 * HOUR_S + PAUSE_MS / 1000 + 60)
    learn(storage)
    assert len(storage.runs.ids()) == len(ids) + 1


@pytest.mark.parametrize("policy", [{"learn_after": 1}, {"learn_every_s": 1}])
def test_an_unknown_data_set_is_one_warning(
    own_store: Storage, caplog: pytest.LogCaptureFixture, policy: dict[str, object]
) -> None:
    with caplog.at_level(logging.INFO, learning.__name__):
        learn(asking(own_store, **policy))
    [line] = caplog.records
    assert (line.levelname, line.message) == ("WARNING", "round_not_started")
    assert vars(line)["reason"] == "there is no data set version pets: see `segue data list`"
    assert own_store.runs.ids() == {}


def test_two_sweeps_at_once_start_one_round(own_store: Storage) -> None:
    storage = asking(own_store, learn_every_s=1)
    learned.dataset(storage)
    with storage.jobs.locks.alone(learning.LOCK, 60) as first:
        assert first
        learn(storage)
    assert rounds(storage) == []
    learn(storage)
    assert len(rounds(storage)) == 1


def rows(storage: Storage) -> dict[str, tuple[str, int]]:
    """Run id → status and time of the end, in SQL."""
    with storage.database.begin() as connection:
        found = connection.execute(select(training_runs)).all()
    return {row.id: (row.status, row.finished_ms) for row in found}


def test_a_run_is_recorded_while_it_is_open_and_once_after_its_end(
    recording: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned.dataset(recording)
    spec = submitting.submit(recording, Kind.BUILD, {"dataset": "pets"}, "me")
    learn(recording)
    assert rows(recording) == {spec.id: ("queued", 0)}
    recording.runs.report(spec.id, Progress(2, 9, "preparing", figures={"loss": 0.5}))
    learn(recording)
    assert rows(recording) == {spec.id: ("running", 0)}
    recording.runs.finish(spec.id, RunOutcome(Status.SUCCEEDED, {"dataset": "pets/2", "corrections": 4}))
    learn(recording)
    outcome = recording.runs.outcome(spec.id)
    assert outcome
    assert rows(recording) == {spec.id: ("succeeded", outcome.finished_ms)}
    with recording.database.begin() as connection:
        row = connection.execute(select(training_runs)).one()
    assert (row.kind, row.dataset, row.parameters) == ("build", "pets/2", {"dataset": "pets", "number": 2})
    assert row.metrics == {"loss": 0.5, "dataset": "pets/2", "corrections": 4}
    written: list[str] = []
    monkeypatch.setattr(recording.run_records, "write", lambda run: written.append(run.spec.id))
    learn(recording)
    assert written == []


def test_an_outage_of_the_database_loses_nothing(own_store: Storage) -> None:
    """The loop goes on, and the records follow."""
    down = connect(
        own_store.settings.replace(
            sql_url=SecretStr("postgresql+psycopg://segue@127.0.0.1:1/segue"), learn_dataset="pets", learn_every_s=1
        )
    )
    learned.dataset(down)
    with pytest.raises(Unavailable, match="records"):
        learn(down)
    [round_id] = rounds(down)
    down.jobs.client.delete(TRAINING_QUEUE)
    with pytest.raises(Unavailable, match="records"):
        learn(down)
    assert tickets(down) == 1
    down.runs.finish(round_id, RunOutcome(Status.FAILED, reason="out of luck"))
    learn(own_store)
    assert rows(own_store)[round_id][0] == "failed"
