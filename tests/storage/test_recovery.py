"""Redis lost, flushed, or back with an older state; and erased jobs, which stay erased."""

from typing import Any
from uuid import uuid4

import pictures
import pytest
from specs import mask_of, older_state, spec, submit

from storage import keys, object_keys
from storage.connection import Storage
from storage.job import Finished, Job, Outcome, Spec, Status
from storage.lifecycle import erase
from storage.objects import OUTCOME_TEXT, RESULTS, UPLOADS
from storage.problems import Problem
from storage.recovery import find, recover


def done(connection: Storage, made: Spec, token: str) -> tuple[Finished, Outcome]:
    """Store a mask under the token without reporting it to Redis."""
    outcome, mask = mask_of({"width": made.width})
    return Finished(made.id, connection.objects.put_result(made, token, outcome, mask), outcome), outcome


def finished(connection: Storage, **changes: Any) -> Job:
    made = submit(connection, **changes)
    connection.jobs.claim(token := uuid4().hex, "drainer", "worker")
    one, _ = done(connection, made, token)
    assert connection.jobs.finish(token, "worker", 1, [one]) == ["won"]
    return look(connection, made.id)


def look(connection: Storage, job_id: str) -> Job:
    job = find(connection.objects, connection.jobs, "local", job_id)
    assert job is not None
    return job


def test_an_ended_job_stays_ended_when_an_older_state_comes_back(connection: Storage) -> None:
    made = submit(connection)
    connection.jobs.claim("token", "drainer", "worker")

    def end() -> Job:
        one, _ = done(connection, made, "token")
        connection.jobs.finish("token", "worker", 1, [one])
        return look(connection, made.id)

    before = older_state(connection, end)
    stale = connection.jobs.get(made.id)
    assert stale
    assert stale.status is Status.RUNNING
    after = look(connection, made.id)
    assert (after.status, after.outcome, after.result_key) == (before.status, before.outcome, before.result_key)
    assert after.revision > stale.revision
    assert connection.jobs.client.zcard(keys.leases(made.lane)) == 0
    assert connection.jobs.client.zcard(keys.OPEN) == 0


@pytest.mark.parametrize("suffix", ["png", "failed"])
@pytest.mark.parametrize(
    "content", [b"", b"neither", b"[1]", pictures.mask_png({}), pictures.mask_png({OUTCOME_TEXT: "1"})]
)
def test_a_damaged_result_is_ignored(connection: Storage, suffix: str, content: bytes) -> None:
    """Otherwise one damaged object would prevent the recovery of every job."""
    made = submit(connection)
    connection.objects.put(RESULTS, object_keys.result(made.tenant, made.id, "zombie", suffix), content, "image/png")
    connection.jobs.client.flushall()
    assert look(connection, made.id).status is Status.QUEUED
    connection.jobs.client.flushall()
    good, _ = done(connection, made, "token")
    assert look(connection, made.id).result_key == good.result_key
    outcome, mask = mask_of({"width": 3})
    assert connection.objects.put_result_after_others(made, "earlier", outcome, mask)[0] == good.result_key


def test_an_ended_job_that_is_pending_in_an_older_state_is_not_claimed_again(connection: Storage) -> None:
    made = submit(connection)

    def end() -> None:
        connection.jobs.claim("token", "drainer", "worker")
        one, _ = done(connection, made, "token")
        connection.jobs.finish("token", "worker", 1, [one])

    older_state(connection, end)
    assert look(connection, made.id).status is Status.SUCCEEDED
    assert connection.jobs.claim("another", "drainer", "worker") == []


def test_a_holder_whose_result_restored_the_job_has_won(connection: Storage) -> None:
    """If it had lost, it would delete the mask that the job hash points at."""
    made = submit(connection)
    connection.jobs.claim("token", "drainer", "worker")
    one, _ = done(connection, made, "token")
    connection.jobs.client.flushall()
    assert look(connection, made.id).status is Status.SUCCEEDED
    assert connection.jobs.finish("token", "worker", 1, [one]) == ["won"]


def test_a_new_idempotency_key_waits_while_lost_keys_may_be_restored(connection: Storage) -> None:
    known, new = spec(key_hash="a", fingerprint="f"), spec(key_hash="b", fingerprint="f")
    assert connection.jobs.idempotency.reserve(known)[0] == "reserved"
    connection.jobs.enqueue(known)
    connection.jobs.client.delete(keys.KEYED)
    assert connection.jobs.idempotency.reserve(new)[0] == "recovering"
    assert connection.jobs.idempotency.reserve(known) == ("done", known.id)
    connection.jobs.epoch.mark_intact()
    assert connection.jobs.idempotency.reserve(new)[0] == "reserved"


def test_an_erased_job_leaves_nothing_and_is_not_adopted(connection: Storage) -> None:
    job = finished(connection, key_hash="key", fingerprint="f")
    connection.objects.put_result(job.spec, "loser", Outcome.of_problem(job.id, Problem("internal", "")))
    assert erase(connection.objects, connection.jobs, "local", job.id)
    assert connection.objects.get(UPLOADS, object_keys.upload("local", job.id)) is None
    assert not connection.objects.results("local", job.id)
    assert find(connection.objects, connection.jobs, "local", job.id) is None
    assert recover(connection.objects, connection.jobs, "local", job.id) is None
    assert connection.jobs.ids.tenant_of_erased(job.id) == "local"
    left = [key for key in connection.jobs.client.scan_iter("segue:*") if job.id in key or "idem" in key]
    assert left == [keys.gone(job.id)]
    assert not connection.jobs.client.zscore(keys.RETAINED, job.id)
    again = spec(key_hash="key", fingerprint="f")
    assert connection.jobs.idempotency.reserve(again) == ("reserved", again.id)


def test_a_waiting_job_is_erased_and_a_running_one_is_not(connection: Storage) -> None:
    running, waiting = submit(connection, created_ms=1), submit(connection, created_ms=2, width=8000, height=8000)
    assert [job.id for job in connection.jobs.claim("token", "drainer", "worker")] == [running.id]
    assert not erase(connection.objects, connection.jobs, "local", running.id)
    assert erase(connection.objects, connection.jobs, "local", waiting.id)
    assert connection.jobs.claim("another", "drainer", "worker") == []
    assert look(connection, running.id).status is Status.RUNNING


def test_an_interrupted_erasure_is_not_undone(connection: Storage) -> None:
    """After its first step the job can be neither retried nor queued; the janitor finishes it."""
    made = submit(connection)
    assert connection.jobs.begin_erase(made.id) == "queued"
    assert not connection.jobs.retry(made.id, 10**15)
    assert connection.jobs.reindex([made.id]) == []
    assert connection.jobs.ids.due() == [made.id]


def test_a_zombie_attempt_at_an_erased_job_has_lost(connection: Storage) -> None:
    job = finished(connection)
    erase(connection.objects, connection.jobs, "local", job.id)
    late, _ = done(connection, job.spec, "zombie")
    assert connection.jobs.finish("zombie", "worker", 1, [late]) == ["lost"]


def test_an_erased_item_leaves_its_batch(connection: Storage) -> None:
    batch_id = keys.new_batch_id()
    jobs = [finished(connection, batch_id=batch_id, custom_id=str(i)) for i in range(2)]
    erase(connection.objects, connection.jobs, "local", jobs[0].id)
    assert list(connection.batches.live.job_ids(batch_id)) == [[jobs[1].id]]
    assert connection.jobs.client.hget(keys.batch_counts(batch_id), "succeeded") == "1"
