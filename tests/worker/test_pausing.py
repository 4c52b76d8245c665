"""`segue pause` and `segue resume`, as an operator types them, with the Procfile's worker and housekeeper."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import services
from operating import segue, working
from specs import submit

from storage.connection import Storage
from storage.job import Status
from storage.keys import PAUSE, REFUSAL, SEGMENT_QUEUE
from storage.pausing import current_order
from storage.records.audit import AuditFilter
from storage.records.audit_event import Action
from worker.housekeeping import recorder
from worker.housekeeping.sweeps import adopt_after_loss

REASON = "new disks until 14:00"


@pytest.fixture
def worker(store: Storage, tmp_path: Path) -> Iterator[None]:
    with working(store, tmp_path / "worker.log"):
        yield


def status(store: Storage, job_id: str) -> Status | None:
    job = store.jobs.get(job_id)
    return job and job.status


def test_a_paused_job_waits_with_the_reason_and_then_succeeds(store: Storage, worker: None) -> None:
    first = submit(store)
    store.tickets.send(1)
    services.wait_until(lambda: status(store, first.id) == Status.SUCCEEDED, "the job before the pause")
    segue(store, "pause", "--why", REASON)
    made = submit(store)
    store.tickets.send(2)  # as if sent just before the pause
    services.wait_until(lambda: not store.jobs.client.llen(SEGMENT_QUEUE), "the worker's look at the tickets")
    time.sleep(1)
    assert status(store, made.id) == Status.QUEUED
    outlook = store.jobs.outlook(made.id)
    assert (outlook.waiting_reason, outlook.pause_reason, outlook.eta_s) == ("paused", REASON, None)
    assert store.jobs.tickets_missing() == 0
    assert f"no job is claimed: {REASON}" in segue(store, "top", "--once")
    recorder.record(store)  # or the doctor finds fault with the records after a minute
    assert f"pause: no job is claimed until `segue resume`: {REASON}" in segue(store, "doctor")
    assert "resumed: 1 jobs waited" in segue(store, "resume")
    services.wait_until(lambda: status(store, made.id) == Status.SUCCEEDED, "the job after the pause")
    events = [one.event for one in store.audit.newest(AuditFilter(), 10)]
    actions = [(event.action, event.detail) for event in events]
    assert actions == [(Action.QUEUE_RESUMED, ""), (Action.QUEUE_PAUSED, REASON)]


def test_a_pause_needs_a_reason_and_a_resume_a_pause(store: Storage) -> None:
    assert "must not be empty" in segue(store, "pause", "--why", " ", fails=True)
    assert "not paused" in segue(store, "resume", fails=True)


def test_a_refusal_lets_the_queue_be_worked_off(store: Storage, worker: None) -> None:
    made = submit(store)
    assert "1 jobs are unfinished" in segue(store, "pause", "--refuse", "--why", REASON)
    store.tickets.send(1)
    services.wait_until(lambda: status(store, made.id) == Status.SUCCEEDED, "the job before the refusal")
    assert f"no new work is accepted: {REASON}" in segue(store, "top", "--once")
    recorder.record(store)  # or the doctor finds fault with the records after a minute
    assert f"refusal: no new work is accepted until `segue resume`: {REASON}" in segue(store, "doctor")
    segue(store, "resume")
    assert store.pausing.refusal() is None
    actions = [one.event.action for one in store.audit.newest(AuditFilter(), 10)]
    assert actions == [Action.QUEUE_RESUMED, Action.QUEUE_REFUSING]


def test_a_refusal_does_not_end_a_pause(store: Storage) -> None:
    submit(store)
    store.pausing.pause(REASON)
    store.pausing.refuse("moving")
    assert not store.jobs.claim("token", "drainer", "worker")
    assert store.pausing.resume()
    assert (current_order(store.jobs.client, PAUSE), store.pausing.refusal()) == (None, None)
    assert store.jobs.claim("token", "drainer", "worker")
    assert not store.pausing.resume()


def test_a_refusal_outlives_a_loss_of_redis(store: Storage) -> None:
    """Also before the housekeeper has noticed the loss."""
    order = store.pausing.refuse(REASON)
    store.jobs.client.flushall()
    assert store.pausing.refusal() == order
    assert adopt_after_loss(store)
    assert current_order(store.jobs.client, REFUSAL) == order
    fields = store.jobs.client.hgetall(REFUSAL)
    store.pausing.resume()
    store.jobs.client.flushall()
    store.jobs.client.hset(REFUSAL, mapping=fields)  # an older state of Redis
    assert store.pausing.refusal() is None


def test_a_pause_outlives_a_loss_of_redis(store: Storage) -> None:
    pause = store.pausing.pause(REASON)
    made = submit(store)
    store.jobs.client.flushall()
    assert adopt_after_loss(store)
    assert current_order(store.jobs.client, PAUSE) == pause
    assert status(store, made.id) == Status.QUEUED
    assert not store.jobs.claim("token", "drainer", "worker")
    assert store.pausing.resume()
    assert [job.id for job in store.jobs.claim("token", "drainer", "worker")] == [made.id]


def test_an_older_state_of_redis_does_not_bring_a_pause_back(store: Storage) -> None:
    store.pausing.pause(REASON)
    fields = store.jobs.client.hgetall("segue:pause")
    store.pausing.resume()
    store.jobs.client.flushall()
    store.jobs.client.hset("segue:pause", mapping=fields)
    assert adopt_after_loss(store)
    assert current_order(store.jobs.client, PAUSE) is None
