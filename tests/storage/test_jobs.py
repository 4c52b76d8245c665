"""The pending set, the leases and the job hashes, in a real Redis."""

import itertools
from typing import Any
from uuid import uuid4

import pytest
import redis
from specs import spec

from storage import keys
from storage.connection import Storage
from storage.job import Finished, Job, Outcome, Spec, Status
from storage.keys import SEGMENT_QUEUE, Lane
from storage.problems import Problem
from storage.queue.jobs import RedisJobs
from storage.queue.reader import Usage

DONE = Outcome(Status.SUCCEEDED, {"name": "pets", "version": "1"}, {"width": 64}, {"infer": 3})


@pytest.fixture
def jobs(connection: Storage) -> RedisJobs:
    return connection.jobs


def enqueue(jobs: RedisJobs, **changes: Any) -> Spec:
    made = spec(**changes)
    jobs.enqueue(made)
    return made


def claim(jobs: RedisJobs, token: str = "") -> list[Job]:
    return jobs.claim(token or uuid4().hex, "drainer", "worker")


def claimed_ids(jobs: RedisJobs) -> list[str]:
    return [job.id for job in claim(jobs)]


def expire_leases(jobs: RedisJobs) -> None:
    for lane in Lane:
        for job_id in jobs.client.zrange(keys.leases(lane), 0, -1):
            jobs.client.zadd(keys.leases(lane), {job_id: 1})


def status(jobs: RedisJobs, job_id: str) -> Status:
    job = jobs.get(job_id)
    assert job is not None
    return job.status


def test_a_job_is_read_as_it_was_enqueued(jobs: RedisJobs) -> None:
    made = enqueue(jobs, filename="größe 猫.jpg", lane=Lane.BULK)
    job = jobs.get(made.id)
    assert job is not None
    assert job.spec == made
    assert (job.status, job.attempt, job.started_ms) == (Status.QUEUED, 1, 0)


def test_enqueueing_again_changes_nothing(jobs: RedisJobs) -> None:
    made = enqueue(jobs)
    [job] = claim(jobs)
    jobs.enqueue(made)
    assert status(jobs, job.id) is Status.RUNNING
    assert jobs.queue().pending[Lane.INTERACTIVE] == 0


def test_unknown_job(jobs: RedisJobs) -> None:
    assert jobs.get(keys.new_job_id()) is None


def test_claims_come_in_the_order_of_creation(jobs: RedisJobs) -> None:
    made = [enqueue(jobs, created_ms=1000 + i).id for i in range(40)]
    claimed = [claimed_ids(jobs) for _ in range(4)]
    assert [len(ids) for ids in claimed] == [16, 16, 8, 0]
    assert list(itertools.chain(*claimed)) == made


def test_the_same_token_gets_the_same_jobs(jobs: RedisJobs) -> None:
    for _ in range(20):
        enqueue(jobs)
    first = [job.id for job in claim(jobs, "token")]
    assert [job.id for job in claim(jobs, "token")] == first
    assert len(claim(jobs, "another")) == 4


def test_tenants_take_turns(jobs: RedisJobs) -> None:
    for _ in range(100):
        enqueue(jobs, tenant="many")
    few = [enqueue(jobs, tenant="few").id for _ in range(3)]
    one = enqueue(jobs, tenant="one").id
    ids = claimed_ids(jobs)
    assert len(ids) == 16
    assert {*few, one} <= set(ids)
    assert ids.index(one) <= 2


def test_interactive_goes_first_and_every_fourth_claim_is_bulk(jobs: RedisJobs) -> None:
    for _ in range(100):
        enqueue(jobs, lane=Lane.BULK, tenant="b")
        enqueue(jobs, lane=Lane.INTERACTIVE, tenant="i")
    lanes = [claim(jobs)[0].spec.lane for _ in range(4)]
    assert lanes == [Lane.INTERACTIVE] * 3 + [Lane.BULK]


def test_a_claim_fills_up_from_the_other_lane(jobs: RedisJobs) -> None:
    for _ in range(3):
        enqueue(jobs, lane=Lane.INTERACTIVE)
        enqueue(jobs, lane=Lane.BULK)
    assert [job.spec.lane for job in claim(jobs)] == [Lane.INTERACTIVE] * 3 + [Lane.BULK] * 3


@pytest.mark.parametrize(("size", "expected"), [({"width": 5000, "height": 5000}, 2), ({"bytes": 10_000_000}, 6)])
def test_a_claim_stops_at_its_pixels_and_bytes(jobs: RedisJobs, size: dict[str, int], expected: int) -> None:
    for _ in range(8):
        enqueue(jobs, **size)
    assert len(claim(jobs)) == expected


def test_a_claim_holds_one_model(jobs: RedisJobs) -> None:
    for i in range(6):
        enqueue(jobs, model="ab"[i % 2], tenant="ab"[i % 2], created_ms=i)
    models = [{job.spec.model for job in claim(jobs)} for _ in range(3)]
    assert models == [{"a"}, {"b"}, set()]


def test_finish_has_one_winner_and_may_be_repeated_by_it(jobs: RedisJobs) -> None:
    enqueue(jobs)
    [job] = claim(jobs, "winner")
    ended, late = [Finished(job.id, "winner.png", DONE)], [Finished(job.id, "zombie.png", DONE)]
    assert jobs.finish("zombie", "w", 5, late) == ["superseded"]
    assert jobs.finish("winner", "w", 5, ended) == ["won"]
    assert jobs.finish("winner", "w", 5, ended) == ["won"]
    assert jobs.finish("zombie", "w", 5, late) == ["lost"]
    after = jobs.get(job.id)
    assert after is not None
    assert (after.status, after.outcome, after.result_key) == (Status.SUCCEEDED, DONE, "winner.png")
    assert jobs.finish("winner", "w", 5, [Finished(keys.new_job_id(), "key", DONE)]) == ["unknown"]


def test_revisions_only_grow(jobs: RedisJobs) -> None:
    made = enqueue(jobs)
    seen = [jobs.get(made.id)]
    claim(jobs, "t")
    seen.append(jobs.get(made.id))
    jobs.release("t", [made.id])
    seen.append(jobs.get(made.id))
    revisions = [job.revision for job in seen if job]
    assert revisions == sorted(set(revisions))
    assert len(revisions) == 3


def test_a_released_job_keeps_its_place_and_its_hash(jobs: RedisJobs) -> None:
    made = [enqueue(jobs, created_ms=i).id for i in range(20)]
    first = [job.id for job in claim(jobs, "t")]
    assert jobs.release("t", first) == 16
    assert jobs.release("t", first) == 0
    assert claimed_ids(jobs) == made[:16]


def test_extending_reports_held_cancelled_and_lost_jobs(jobs: RedisJobs) -> None:
    held, canceled, lost = (enqueue(jobs, created_ms=i).id for i in range(3))
    claim(jobs, "t")
    assert jobs.cancel(canceled, "other") == "marked"
    jobs.client.delete(keys.job(lost))
    assert jobs.extend("t", "drainer", "w", [held, canceled, lost]) == ["held", "canceled", "lost"]


def test_cancelling_a_waiting_job_leases_it_to_the_caller(jobs: RedisJobs) -> None:
    made = enqueue(jobs)
    assert jobs.cancel(made.id, "t") == "leased"
    assert jobs.cancel(made.id, "t") == "leased"
    assert claim(jobs) == []
    ended = Outcome.of_problem(made.id, Problem("canceled", "…"))
    assert jobs.finish("t", "web", 0, [Finished(made.id, "key", ended)]) == ["won"]
    assert jobs.cancel(made.id, "t") == "canceled"
    assert jobs.cancel(keys.new_job_id(), "t") == "unknown"


def test_a_job_with_an_expired_lease_is_queued_again(jobs: RedisJobs) -> None:
    made = enqueue(jobs)
    claim(jobs, "t")
    assert jobs.sweep("s").put_back == []
    expire_leases(jobs)
    assert jobs.sweep("s").put_back == [made.id]
    assert jobs.finish("t", "w", 1, [Finished(made.id, "key", DONE)]) == ["superseded"]
    assert claimed_ids(jobs) == [made.id]


def test_lost_jobs_run_in_ever_smaller_micro_batches_and_three_losses_in_isolation_are_poison(jobs: RedisJobs) -> None:
    made = [enqueue(jobs, created_ms=i).id for i in range(16)]
    sizes, endings = [], []
    for _ in range(5):
        sizes.append(len(claim(jobs)))
        expire_leases(jobs)
        endings += jobs.sweep("s").ending
    assert sizes == [16, 8, 1, 1, 1]
    assert endings == [(made[0], "poisoned")]


def test_a_lease_of_a_cancellation_that_expires_is_not_a_loss(jobs: RedisJobs) -> None:
    made = enqueue(jobs)
    jobs.cancel(made.id, "crashed web")
    expire_leases(jobs)
    assert jobs.sweep("s").ending == [(made.id, "canceled")]
    assert jobs.client.hget(keys.job(made.id), "losses") == "0"


def test_a_pending_job_past_its_deadline_ends_without_running(jobs: RedisJobs) -> None:
    made = enqueue(jobs, deadline_ms=1)
    assert claim(jobs) == []
    assert jobs.sweep("s").ending == [(made.id, "expired")]
    assert jobs.sweep("s").ending == []


def test_open_jobs_missing_from_the_pending_set_are_put_back(jobs: RedisJobs) -> None:
    queued, running, ended = (enqueue(jobs, created_ms=i) for i in range(3))
    jobs.release("t", [job.id for job in claim(jobs, "t") if job.id == queued.id])
    jobs.finish("t", "w", 1, [Finished(ended.id, "key", DONE)])
    ids = [queued.id, running.id, ended.id]
    assert jobs.reindex(ids) == []
    for lane in Lane:
        jobs.client.delete(keys.lane(lane), f"{keys.lane(lane)}:local", keys.leases(lane), f"segue:turns:{lane}")
    assert jobs.reindex(ids) == ids[:2]
    assert claimed_ids(jobs) == ids[:2]


def test_open_ids_are_listed(jobs: RedisJobs) -> None:
    made = {enqueue(jobs).id for _ in range(30)}
    assert {job_id for page in jobs.ids.open() for job_id in page} == made
    assert jobs.ids.unknown([*made, "job_x"]) == ["job_x"]


def test_a_job_hash_is_restored_once(jobs: RedisJobs) -> None:
    made = spec()
    assert jobs.restore(made, DONE, "key", 7)
    assert not jobs.restore(made, Outcome(Status.FAILED), "other", 8)
    job = jobs.get(made.id)
    assert job is not None
    assert (job.spec, job.outcome, job.result_key, job.finished_ms) == (made, DONE, "key", 7)


def test_an_idempotency_key_has_one_job(jobs: RedisJobs) -> None:
    first = spec(key_hash="k", fingerprint="f")
    again, other = spec(key_hash="k", fingerprint="f"), spec(key_hash="k", fingerprint="g")
    assert jobs.idempotency.reserve(first) == ("reserved", first.id)
    assert jobs.idempotency.reserve(again) == ("busy", first.id)
    jobs.idempotency.unreserve(first)
    assert jobs.idempotency.reserve(again) == ("reserved", first.id)
    jobs.enqueue(first)
    assert jobs.idempotency.reserve(again) == ("done", first.id)
    assert jobs.idempotency.reserve(other) == ("reused", first.id)
    assert jobs.idempotency.reserve(spec(tenant="another", key_hash="k", fingerprint="g"))[0] == "reserved"


def test_tickets_are_missing_for_jobs_without_a_drainer(jobs: RedisJobs) -> None:
    assert jobs.enqueue(spec()) == 1
    jobs.client.rpush(SEGMENT_QUEUE, "a ticket")
    assert jobs.enqueue(spec()) == 0
    for _ in range(33):
        jobs.enqueue(spec())
    assert jobs.tickets_missing() == 2  # 35 jobs are three micro-batches
    claim(jobs)
    assert jobs.tickets_missing() == 0  # 19 are left, for the ticket and the drainer
    assert jobs.tickets_missing("drainer") == 1


def test_the_state_of_the_queue(jobs: RedisJobs) -> None:
    assert jobs.queue().backlog_s(1) == 0
    enqueue(jobs, created_ms=5, lane=Lane.BULK)
    enqueue(jobs, created_ms=9)
    assert jobs.queue().backlog_s(1) is None  # no pace has been measured
    jobs.workers.beat("w", 10_000)
    [job] = [job for job in claim(jobs, "t") if job.spec.lane is Lane.INTERACTIVE]
    jobs.finish("t", "w", 100, [Finished(job.id, "key", DONE)])
    queue = jobs.queue()
    assert (queue.pending, queue.running) == (dict.fromkeys(Lane, 0), {Lane.INTERACTIVE: 0, Lane.BULK: 1})
    each = queue.ms_per_image or 0
    assert 0 < each < 100  # in a full micro-batch an image costs less than alone
    assert (queue.workers, queue.images_per_s) == (1, 1000 / each)
    assert queue.backlog_s(7) == each / 1000
    assert queue.backlog_s(7, more=9) == 10 * each / 1000
    jobs.client.delete(keys.WORKERS)
    assert jobs.queue().backlog_s(2, more=9) == 5 * each / 1000  # computed with the configured number of workers
    jobs.client.delete(keys.WORKERS)
    assert jobs.queue().workers == 0


def test_the_progress_of_a_worker_is_forgotten_after_a_day(jobs: RedisJobs) -> None:
    claim(jobs, "t")
    [worker] = jobs.client.zrange(keys.PROGRESS, 0, -1)
    day_ms = 24 * 3600 * 1000
    jobs.client.zincrby(keys.PROGRESS, 60_000 - day_ms, worker)
    jobs.workers.beat("another", 10_000)
    assert jobs.client.zrange(keys.PROGRESS, 0, -1) == [worker]
    jobs.client.zincrby(keys.PROGRESS, -120_000, worker)
    jobs.workers.beat("another", 10_000)
    assert not jobs.client.exists(keys.PROGRESS)


def test_a_full_redis_refuses_new_jobs_and_still_drains(jobs: RedisJobs) -> None:
    enqueue(jobs)
    jobs.client.config_set("maxmemory", 1)
    try:
        with pytest.raises(redis.OutOfMemoryError):
            jobs.enqueue(spec())
        [job] = claim(jobs, "t")
        assert jobs.finish("t", "w", 1, [Finished(job.id, "key", DONE)]) == ["won"]
    finally:
        jobs.client.config_set("maxmemory", 0)


def test_another_or_a_flushed_redis_is_noticed(jobs: RedisJobs) -> None:
    assert jobs.epoch.intact()
    jobs.client.flushall()
    assert not jobs.epoch.intact()
    jobs.client.set(keys.EPOCH, "the run id of the Redis before")
    assert not jobs.epoch.intact()
    jobs.epoch.mark_intact()
    assert jobs.epoch.intact()


def test_usage_counts_the_stored_jobs(jobs: RedisJobs) -> None:
    first, second = enqueue(jobs, tenant="acme", bytes=700), enqueue(jobs, tenant="acme", bytes=300)
    jobs.enqueue(first)
    enqueue(jobs, tenant="anon-1", party="@address", bytes=5)
    enqueue(jobs, tenant="anon-2", party="@address", bytes=6)
    assert jobs.usage("acme") == Usage(2, 1000)
    assert jobs.usage("@address") == Usage(2, 11)
    assert jobs.usage("anon-1") == Usage(0, 0)
    jobs.begin_erase(first.id)
    for _ in range(2):
        jobs.finish_erase(first.id, "acme")
    assert jobs.usage("acme") == Usage(1, 300)
    restored = spec(tenant="acme", bytes=40)
    for _ in range(2):
        jobs.restore(restored, DONE, "key", 1)
    jobs.restore(second, DONE, "key", 1)
    assert jobs.usage("acme") == Usage(2, 340)
    for one in (second, restored):
        jobs.finish_erase(one.id, "acme")
    assert not jobs.client.exists(keys.usage("acme"))
