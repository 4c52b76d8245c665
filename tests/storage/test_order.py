"""The order in which jobs are claimed, and the position that predicts it.

Covers the lanes, the turns of tenants, and the guarantees under load.
"""

from collections.abc import Iterator
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from specs import spec

from storage import keys
from storage.connection import Storage
from storage.job import Finished, Outcome, Status
from storage.keys import Lane
from storage.outlook import Pace
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


def run(jobs: RedisJobs, count: int, busy_ms: int, megapixels: float = 1) -> Pace:
    """Submit, claim and finish a micro-batch that took so long, long after the last submission."""
    for number in range(count):
        jobs.enqueue(spec(lane=Lane.BULK, created_ms=number + 1, width=1000, height=int(1000 * megapixels)))
    jobs.client.hset(keys.INFLOW, mapping={"since": 0, "last": 0})
    claimed = jobs.claim(token := uuid4().hex, "d", "worker")
    jobs.finish(token, "worker", busy_ms, [Finished(job.id, "k", Outcome(Status.SUCCEEDED)) for job in claimed])
    pace = jobs.outlook("any").pace
    assert pace
    return pace


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
    low, high = last.eta_range_s or (0, 0)
    assert 0.05 < low <= (last.eta_s or 0) <= high < 1
    assert jobs.outlook(ids[16]).waiting_reason == "batch_filling"
    assert jobs.outlook(ids[0]).position is None


def test_a_full_micro_batch_is_not_expected_to_cost_sixteen_small_ones(jobs: RedisJobs) -> None:
    run(jobs, 1, 50)
    assert run(jobs, 1, 50).work_ms(1, MICRO_BATCH, 16) < 16 * 50
    for _ in range(20):
        run(jobs, 16, 160)
        pace = run(jobs, 1, 40)
    assert pace.work_ms(1, MICRO_BATCH, 16) == pytest.approx(160, rel=0.25)
    assert pace.work_ms(1, MICRO_BATCH, 1) == pytest.approx(40, rel=0.25)


def test_large_photos_raise_the_cost_of_a_megapixel(jobs: RedisJobs) -> None:
    for _ in range(30):
        run(jobs, 16, 200, megapixels=1)
        pace = run(jobs, 16, 1160, megapixels=12)
    assert pace.work_ms(1, MICRO_BATCH, 16) == pytest.approx(200, rel=0.25)
    assert pace.work_ms(12, MICRO_BATCH, 16) == pytest.approx(1160, rel=0.25)


def test_the_pace_follows_a_lasting_change(jobs: RedisJobs) -> None:
    assert [run(jobs, 16, 160) for _ in range(10)]
    slower = [run(jobs, 16, 480) for _ in range(20)][-1]
    assert slower.work_ms(1, MICRO_BATCH, 16) == pytest.approx(480, rel=0.2)


def test_the_mean_size_of_the_photos_ahead(jobs: RedisJobs) -> None:
    for number in range(20):
        jobs.enqueue(spec(width=1000, height=1000 if number < 10 else 3000, created_ms=number + 1))
    last = spec(width=1000, height=1000, created_ms=100)
    jobs.enqueue(last)
    assert jobs.outlook(last.id).megapixels == pytest.approx(2, rel=0.05)


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


def inflow(jobs: RedisJobs) -> dict[str, int]:
    return {name: int(value) for name, value in jobs.client.hgetall(keys.INFLOW).items()}


def test_half_of_a_burst_without_a_break_is_forgotten(jobs: RedisJobs) -> None:
    fill(jobs, "a", Lane.BULK, 1)
    now = inflow(jobs)["last"]
    jobs.client.hset(keys.INFLOW, mapping={"since": now - 120_000, "jobs": 240})
    fill(jobs, "b", Lane.BULK, 1)
    burst = inflow(jobs)
    assert burst["since"] == pytest.approx(now - 60_000, abs=1000)
    assert burst["jobs"] == 121


def test_a_retried_job_does_not_distort_the_mean_size(jobs: RedisJobs) -> None:
    [old] = [spec(lane=Lane.BULK, created_ms=1, width=1000, height=1000)]
    jobs.enqueue(old)
    claimed = jobs.claim(token := uuid4().hex, "d", "worker")
    jobs.finish(token, "worker", 1, [Finished(job.id, "k", Outcome(Status.FAILED)) for job in claimed])
    for number in range(50):
        jobs.enqueue(spec(lane=Lane.BULK, created_ms=number + 2, width=1000, height=20_000))
    while jobs.claim(uuid4().hex, "d", "worker"):
        pass
    assert jobs.retry(old.id, old.deadline_ms)
    late = spec(lane=Lane.BULK, created_ms=100, width=1000, height=2000)
    jobs.enqueue(late)
    assert jobs.outlook(late.id).megapixels == pytest.approx(2)
