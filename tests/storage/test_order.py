"""The order in which jobs are claimed, and the position that predicts it.

Covers the lanes, the turns of tenants, and the guarantees under load.
"""

from collections.abc import Iterator
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from specs import spec

from storage.connection import Storage
from storage.job import Finished, Outcome, Pace, Status
from storage.keys import Lane
from storage.queue.jobs import RedisJobs

MICRO_BATCH = 16


@pytest.fixture
def jobs(connection: Storage) -> RedisJobs:
    return connection.jobs


def fill(jobs: RedisJobs, tenant: str, lane: Lane, count: int, first_ms: int = 1) -> list[str]:
    made = [spec(tenant=tenant, lane=lane, created_ms=first_ms + i) for i in range(count)]
    for one in made:
        jobs.enqueue(one)
    return [one.id for one in made]


def claims(jobs: RedisJobs) -> Iterator[list[str]]:
    """Claim micro-batches one after another, and finish each before the next. Yields their ids."""
    while claimed := jobs.claim(token := uuid4().hex, "drainer", "worker"):
        yield [job.id for job in claimed]
        jobs.finish(token, "worker", 1, [Finished(job.id, "k", Outcome(Status.SUCCEEDED)) for job in claimed])


def test_an_interactive_job_is_claimed_within_two_micro_batches_of_5000_bulk_jobs(jobs: RedisJobs) -> None:
    fill(jobs, "busy", Lane.BULK, 5000)
    for already in range(8):  # at each point of the cycle that gives bulk its share
        [one] = fill(jobs, "other", Lane.INTERACTIVE, 1)
        order = claims(jobs)
        assert any(one in next(order) for _ in range(2)), f"after {already} claims"


def test_another_tenants_bulk_job_waits_at_most_one_micro_batch_per_tenant(jobs: RedisJobs) -> None:
    for tenant in ("a", "b", "c"):
        fill(jobs, tenant, Lane.BULK, 1000)
    next(claims(jobs))
    [one] = fill(jobs, "late", Lane.BULK, 1)
    order = claims(jobs)
    assert any(one in next(order) for _ in range(1 + 3))


def test_bulk_keeps_its_share_under_interactive_load(jobs: RedisJobs) -> None:
    fill(jobs, "a", Lane.INTERACTIVE, 400)
    bulk = set(fill(jobs, "b", Lane.BULK, 400))
    order = claims(jobs)
    first = [set(next(order)) for _ in range(16)]
    assert sum(len(batch & bulk) for batch in first) == 4 * MICRO_BATCH


def test_tenants_get_equal_shares(jobs: RedisJobs) -> None:
    owners = {
        job_id: tenant for tenant in "abcd" for job_id in fill(jobs, tenant, Lane.BULK, 100 + 50 * "abcd".index(tenant))
    }
    order = claims(jobs)
    seen = [owners[job_id] for _ in range(20) for job_id in next(order)]
    assert {tenant: seen.count(tenant) for tenant in "abcd"} == dict.fromkeys("abcd", 80)


LENGTHS = st.lists(st.integers(0, 60), min_size=1, max_size=5)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(interactive=LENGTHS, bulk=LENGTHS, before=st.integers(0, 6), data=st.data())
def test_the_position_predicts_the_claim_within_a_micro_batch(
    jobs: RedisJobs, interactive: list[int], bulk: list[int], before: int, data: st.DataObject
) -> None:
    jobs.client.flushall()
    for lane, lengths in ((Lane.INTERACTIVE, interactive), (Lane.BULK, bulk)):
        for number, length in enumerate(lengths):
            fill(jobs, f"{lane}-{number}", lane, length, first_ms=data.draw(st.integers(1, 50)))
    order = claims(jobs)
    for _ in range(before):
        next(order, [])
    waiting = [job_id for page in jobs.ids.open() for job_id in page]
    positions = {job_id: jobs.outlook(job_id).position for job_id in waiting}
    replayed = [job_id for batch in claims(jobs) for job_id in batch]
    for place, job_id in enumerate(replayed):
        position = positions.get(job_id)
        if position is not None:  # a job that is running has no position
            assert abs(position - place) <= MICRO_BATCH


def test_the_outlook(jobs: RedisJobs) -> None:
    ids = fill(jobs, "a", Lane.BULK, 40)
    assert jobs.outlook(ids[39]).waiting_reason == "no_live_worker"
    assert jobs.outlook(ids[39]).eta_s is None
    jobs.workers.beat("worker", 10_000)
    claimed = jobs.claim("t", "drainer", "worker")
    jobs.finish("t", "worker", 160, [Finished(job.id, "k", Outcome(Status.SUCCEEDED)) for job in claimed])
    last = jobs.outlook(ids[39])
    assert (last.position, last.running, last.waiting_reason) == (23, 0, "behind_others")
    assert last.eta_s == pytest.approx(0.24)
    low, high = last.eta_range_s or (0, 0)
    assert low < 0.24 < high
    assert jobs.outlook(ids[16]).waiting_reason == "batch_filling"
    assert jobs.outlook(ids[0]).position is None


def test_small_micro_batches_do_not_lower_the_pace_of_full_ones(jobs: RedisJobs) -> None:
    def run(count: int, busy_ms: int) -> None:
        fill(jobs, "a", Lane.BULK, count)
        claimed = jobs.claim(token := uuid4().hex, "d", "worker")
        done = [Finished(job.id, "k", Outcome(Status.SUCCEEDED)) for job in claimed]
        jobs.finish(token, "worker", busy_ms, done)

    run(1, 50)
    assert jobs.queue().ms_per_image == 50
    run(16, 160)
    run(1, 50)
    assert jobs.queue().ms_per_image == 10


def test_the_best_pace_is_remembered(jobs: RedisJobs) -> None:
    def run(times: int, busy_ms: int) -> Pace:
        for _ in range(times):
            fill(jobs, "a", Lane.BULK, 16)
            claimed = jobs.claim(token := uuid4().hex, "d", "worker")
            done = [Finished(job.id, "k", Outcome(Status.SUCCEEDED)) for job in claimed]
            jobs.finish(token, "worker", busy_ms, done)
        pace = jobs.outlook("any").pace
        assert pace
        return pace

    assert run(10, 160).best_ms == pytest.approx(10)
    flooded = run(30, 400)
    assert flooded.ms_per_image == pytest.approx(25, rel=0.01)
    assert 10 < flooded.best_ms < 11
    assert flooded.best_ms < flooded.expected_ms < flooded.ms_per_image
    assert run(30, 80).best_ms == pytest.approx(5, rel=0.2)


def test_many_tenants_of_one_party_have_one_turn(jobs: RedisJobs) -> None:
    """For example the anonymous tenants of one address: a browser can create any number of them."""
    for number in range(24):
        jobs.enqueue(spec(tenant=f"anon-{number}", party="@one-address", created_ms=number))
    mine = fill(jobs, "acme", Lane.INTERACTIVE, 8, first_ms=1000)
    assert [jobs.outlook(job_id).position for job_id in mine] == [2 * i + 1 for i in range(8)]
    assert set(mine) < set(next(claims(jobs)))


def test_that_test_would_see_a_turn_per_tenant(jobs: RedisJobs) -> None:
    for number in range(24):
        jobs.enqueue(spec(tenant=f"anon-{number}", created_ms=number))
    mine = fill(jobs, "acme", Lane.INTERACTIVE, 8, first_ms=1000)
    assert not set(mine) & set(next(claims(jobs)))
