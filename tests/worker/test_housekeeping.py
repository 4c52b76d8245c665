"""Sweep, reconcile and adopt, with a real Redis and a real object store."""

import threading
from datetime import timedelta
from unittest.mock import Mock

import pictures
import pytest
import services
from services import SHIPPED_MODEL
from specs import older_state, spec, submit

from storage import clock, keys, lifecycle, object_keys
from storage.batch import BatchSpec
from storage.connection import Storage
from storage.job import Job, Outcome, Spec, Status
from storage.keys import SEGMENT_QUEUE, Lane
from storage.objects import RESULTS, UPLOADS
from worker.engines import Engines
from worker.housekeeping import sweeps as housekeeping
from worker.housekeeping.sweeps import NARROW, adopt, adopt_after_loss, reconcile, sweep
from worker.pipeline.pipeline import Pipeline


def status(connection: Storage, job_id: str) -> Status | None:
    job = connection.jobs.get(job_id)
    return job.status if job else None


def test_a_sweep_sends_missing_tickets(connection: Storage) -> None:
    submit(connection)
    sweep(connection)
    sweep(connection)
    assert connection.jobs.client.llen(SEGMENT_QUEUE) == 1


@pytest.mark.parametrize(
    ("field", "value", "expected", "code"),
    [
        ("cancel", "1", Status.CANCELED, "canceled"),
        ("deadline_ms", "1", Status.EXPIRED, "expired"),
        ("losses_isolated", "3", Status.FAILED, "poisoned"),
    ],
)
def test_a_lost_job_that_must_end_is_ended(
    connection: Storage, field: str, value: str, expected: Status, code: str
) -> None:
    made = submit(connection)
    connection.jobs.claim("t", "drainer", "worker")
    connection.jobs.client.hset(keys.job(made.id), field, value)
    connection.jobs.client.zadd(keys.leases(Lane.INTERACTIVE), {made.id: 1})
    sweep(connection)
    job = connection.jobs.get(made.id)
    assert job is not None
    assert job.status is expected
    assert job.outcome is not None
    assert job.outcome.error is not None
    assert job.outcome.error["code"] == code
    assert connection.objects.outcome(job.result_key) == job.outcome


def test_reconcile_puts_open_jobs_back_into_the_pending_set(connection: Storage) -> None:
    made = [submit(connection).id for _ in range(30)]
    connection.jobs.client.delete(keys.lane(Lane.INTERACTIVE), f"{keys.lane(Lane.INTERACTIVE)}:local:stable")
    assert reconcile(connection) == 30
    assert [job.id for job in connection.jobs.claim("t", "d", "w")] == sorted(made)[:16]


def test_uploads_without_record_or_result_are_adopted(empty_store: Storage) -> None:
    made = [submit(empty_store) for _ in range(20)]
    ended = spec(b"x")
    empty_store.objects.put_upload(ended, b"x")
    empty_store.objects.put_result(ended, "t", Outcome(Status.SUCCEEDED), pictures.mask_png({}))
    empty_store.jobs.client.flushall()
    assert adopt(empty_store, NARROW, older_than_s=60) == 0
    assert adopt(empty_store, NARROW, older_than_s=0) == 20
    assert adopt(empty_store, NARROW, older_than_s=0) == 0
    for one in made:
        job = empty_store.jobs.get(one.id)
        assert job is not None
        assert (job.spec, job.status) == (one, Status.QUEUED)
    assert status(empty_store, ended.id) is None  # an ended job is restored by a GET
    assert empty_store.jobs.client.llen(SEGMENT_QUEUE) == 2


def test_the_window_bounds_what_is_listed(empty_store: Storage) -> None:
    """Only a wide listing finds an upload of five hours ago."""
    made = spec(b"x")
    five_hours_ms = 5 * 3600 * 1000
    old_id = f"job_{int(made.id[4:16], 16) - five_hours_ms:012x}{made.id[16:]}"
    old = spec(b"x", id=old_id)
    empty_store.objects.put_upload(old, b"x")
    assert adopt(empty_store, NARROW, older_than_s=0) == 0
    assert adopt(empty_store, timedelta(hours=6), older_than_s=0) == 1


def test_an_emptied_redis_is_rebuilt_once(empty_store: Storage) -> None:
    adopt_after_loss(empty_store)
    made = [submit(empty_store, pictures.jpeg(seed=i)) for i in range(5)]
    adopt_after_loss(empty_store)
    empty_store.jobs.client.flushall()
    adopt_after_loss(empty_store)
    assert [status(empty_store, one.id) for one in made] == [Status.QUEUED] * 5
    empty_store.models.publish(SHIPPED_MODEL)
    Pipeline(empty_store, Engines(empty_store), "worker").run("drainer")
    assert [status(empty_store, one.id) for one in made] == [Status.SUCCEEDED] * 5
    empty_store.jobs.client.flushall()
    adopt_after_loss(empty_store)
    assert [status(empty_store, one.id) for one in made] == [Status.SUCCEEDED] * 5


def test_an_idempotency_key_comes_back_with_its_job(empty_store: Storage) -> None:
    made = submit(empty_store, key_hash="k" * 32, fingerprint="f" * 32)
    empty_store.jobs.client.flushall()
    adopt(empty_store, NARROW, older_than_s=0)
    again = spec(key_hash="k" * 32, fingerprint="f" * 32)
    assert empty_store.jobs.idempotency.reserve(again) == ("done", made.id)


def test_work_continues_before_the_keys_of_ended_jobs_are_restored(
    empty_store: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a housekeeper dies while it restores the keys, another one continues."""
    made = submit(empty_store, key_hash="k" * 32, fingerprint="f" * 32)
    job = empty_store.jobs.get(made.id)
    assert job
    lifecycle.cancel(empty_store.objects, empty_store.jobs, job)
    empty_store.jobs.client.flushall()
    waiting, again = submit(empty_store), spec(key_hash="k" * 32, fingerprint="f" * 32)
    with monkeypatch.context() as dying:
        dying.setattr(housekeeping, "restore_keys", Mock(side_effect=RuntimeError))
        with pytest.raises(RuntimeError):
            adopt_after_loss(empty_store)
    assert empty_store.jobs.idempotency.reserve(again)[0] == "recovering"
    assert [job.id for job in empty_store.jobs.claim("token", "drainer", "worker")] == [waiting.id]
    assert adopt_after_loss(empty_store)
    assert empty_store.jobs.idempotency.reserve(again) == ("done", made.id)


def test_an_older_state_of_redis_is_corrected_before_any_claim(empty_store: Storage) -> None:
    """Jobs that had ended, or been accepted, cancelled or erased, are so again; none runs twice."""
    empty_store.models.publish(SHIPPED_MODEL)
    pipeline = Pipeline(empty_store, Engines(empty_store), "worker")
    ended, canceled, erased, waiting = [submit(empty_store, pictures.jpeg(seed=i), created_ms=i + 1) for i in range(4)]
    objects, jobs = empty_store.objects, empty_store.jobs

    def meanwhile() -> Spec:
        lifecycle.cancel(objects, jobs, found(canceled.id))
        lifecycle.erase(objects, jobs, "local", erased.id)
        pipeline.run("drainer")
        return submit(empty_store)

    def found(job_id: str) -> Job:
        job = jobs.get(job_id)
        assert job
        return job

    accepted = older_state(empty_store, meanwhile)
    before = {listed.key for listed in objects.listing(RESULTS, "")}
    pipeline.run("drainer")
    assert status(empty_store, ended.id) is Status.QUEUED, "no job may be claimed from an older state"
    assert adopt_after_loss(empty_store)
    assert status(empty_store, ended.id) is Status.SUCCEEDED
    assert status(empty_store, canceled.id) is Status.CANCELED
    assert status(empty_store, erased.id) is None
    assert jobs.ids.tenant_of_erased(erased.id) == "local"
    assert status(empty_store, waiting.id) is Status.SUCCEEDED
    assert status(empty_store, accepted.id) is Status.QUEUED
    pipeline.run("drainer")
    assert status(empty_store, accepted.id) is Status.SUCCEEDED
    assert {listed.key for listed in objects.listing(RESULTS, "")} - before == {found(accepted.id).result_key}


def test_foreign_objects_are_left_alone(empty_store: Storage) -> None:
    hour = keys.hour(keys.new_job_id())
    empty_store.objects.put(UPLOADS, f"{hour}/local/not-a-job", b"?", "text/plain")
    foreign = object_keys.upload("local", keys.new_job_id())
    empty_store.objects.put(UPLOADS, foreign, b"?", "text/plain", {"spec": '{"schema": 99}'})
    made = submit(empty_store)
    empty_store.jobs.client.flushall()
    assert adopt(empty_store, NARROW, older_than_s=0) == 1
    assert status(empty_store, made.id) is Status.QUEUED


def test_workers_continue_before_the_batches_are_rebuilt(empty_store: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty batches cost an attacker almost nothing, so their number must not delay work."""
    opened = [BatchSpec(keys.new_batch_id(), "local", "", Lane.BULK, "stable", 60, clock.now_ms()) for _ in range(5)]
    for one in opened:
        empty_store.batches.open(one)
    submit(empty_store)
    empty_store.jobs.client.flushall()
    rebuild, go_on, claimed = empty_store.batches.rebuild, threading.Event(), []

    def slow_rebuild(tenant: str, batch_id: str) -> object:
        assert go_on.wait(60)
        return rebuild(tenant, batch_id)

    monkeypatch.setattr(empty_store.batches, "rebuild", slow_rebuild)
    recovery = threading.Thread(target=adopt_after_loss, args=[empty_store])
    recovery.start()
    try:
        services.wait_until(empty_store.jobs.epoch.intact, "the jobs")
        claimed = empty_store.jobs.claim("t", "d", "w")
        assert not empty_store.jobs.epoch.intact(keys.KEYED)
    finally:
        go_on.set()
        recovery.join()
    assert len(claimed) == 1
    assert all(empty_store.batches.live.fields(one.id) for one in opened)
    assert empty_store.jobs.epoch.intact(keys.KEYED)


def test_a_request_for_a_batch_rebuilds_it_at_once(empty_store: Storage) -> None:
    """This includes ended items that the housekeeper has not restored yet."""
    one = BatchSpec(keys.new_batch_id(), "local", "", Lane.BULK, "stable", 60, clock.now_ms())
    empty_store.batches.open(one)
    items = [submit(empty_store, batch_id=one.id, custom_id=f"{i}.jpg") for i in range(3)]
    empty_store.batches.add(one, [item.id for item in items])
    ended = empty_store.jobs.get(items[0].id)
    assert ended
    lifecycle.cancel(empty_store.objects, empty_store.jobs, ended)
    empty_store.jobs.client.flushall()
    adopt(empty_store, NARROW, older_than_s=0, outdated=frozenset())
    empty_store.jobs.epoch.mark_intact(what=[keys.EPOCH])
    found = empty_store.batches.get("local", one.id)
    assert found
    assert (found.total, found.counts[Status.CANCELED]) == (3, 1)
    assert empty_store.batches.get("another", one.id) is None


def test_a_request_completes_a_batch_of_an_older_state(empty_store: Storage) -> None:
    """The hash of the batch exists, so it looks complete, but later items are missing."""
    one = BatchSpec(keys.new_batch_id(), "local", "", Lane.BULK, "stable", 60, clock.now_ms())
    empty_store.batches.open(one)

    def append() -> None:
        item = submit(empty_store, batch_id=one.id, custom_id="a.jpg")
        empty_store.batches.add(one, [item.id])
        job = empty_store.jobs.get(item.id)
        assert job
        lifecycle.cancel(empty_store.objects, empty_store.jobs, job)

    older_state(empty_store, append)
    fields = f"{keys.batch(one.id)}", "complete_in", "the run id of the Redis before"
    empty_store.jobs.client.hset(*fields)
    empty_store.jobs.epoch.mark_intact(what=[keys.EPOCH])
    found = empty_store.batches.get("local", one.id)
    assert found
    assert found.total == 1
