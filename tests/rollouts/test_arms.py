"""How a claim divides the jobs of `stable` between two versions, and what Redis counts of them."""

from collections import Counter
from dataclasses import replace
from uuid import uuid4

import pytest
from rollouts import rollout
from specs import spec

from storage import keys
from storage.connection import Storage
from storage.job import Finished, Job, Outcome, Status
from storage.keys import Lane
from storage.offer import Canary, Offer
from storage.problems import Problem
from storage.queue.jobs import RedisJobs
from storage.rollouts import counts
from storage.rollouts.rollout import BUCKETS, Arm

ROLLOUT = rollout()
TRIAL = f"{ROLLOUT.id}:0"
ALIASES = {"stable": "pets/3", "canary": "pets/3"}


def offer(share: float = 0.1, shadow: float = 0.0, **changes: object) -> Offer:
    canary = Canary("pets/4", round(share * BUCKETS), round(shadow * BUCKETS), TRIAL)
    return Offer(**{"aliases": ALIASES, "canary": canary, **changes})  # type: ignore[arg-type]


def fill(jobs: RedisJobs, count: int, model: str = "stable", lane: Lane = Lane.BULK) -> list[str]:
    made = [spec(model=model, lane=lane, created_ms=number + 1) for number in range(count)]
    for one in made:
        jobs.enqueue(one)
    return [one.id for one in made]


def claimed(jobs: RedisJobs, offered: Offer) -> tuple[str, list[Job]]:
    token = uuid4().hex
    return token, jobs.claim(token, "drainer", "worker", offered)


def drained(jobs: RedisJobs, offered: Offer, status: Status = Status.SUCCEEDED) -> list[list[Job]]:
    """Claim and end all jobs. Returns the micro-batches."""
    found = []
    while True:
        token, batch = claimed(jobs, offered)
        if not batch:
            return found
        found.append(batch)
        end(jobs, token, batch, status)


def end(jobs: RedisJobs, token: str, batch: list[Job], status: Status, code: str = "internal") -> None:
    outcome = Outcome(status) if status is Status.SUCCEEDED else Outcome.of_problem("", Problem(code, "It broke."))
    jobs.finish(token, "worker", 1, [Finished(job.id, "k", outcome) for job in batch])


def counters(connection: Storage) -> Counter[str]:
    return Counter(dict(counts.with_counts(connection.jobs.client, ROLLOUT).step.counts))


def arm(job: Job) -> str:
    return job.arm.removeprefix(f"{TRIAL}:")


def test_each_version_gets_its_share_and_a_micro_batch_has_one_version(connection: Storage) -> None:
    fill(connection.jobs, 2000)
    batches = drained(connection.jobs, offer(0.1))
    assert all(len({arm(job) for job in batch}) == 1 for batch in batches)
    found = Counter(arm(job) for batch in batches for job in batch)
    assert found.total() == 2000
    assert 140 < found["canary"] < 260  # 200 on average, 13 standard deviations apart
    assert counters(connection) == {"canary.ended": found["canary"], "stable.ended": found["stable"]}


def test_micro_batches_stay_full_while_jobs_wait(connection: Storage) -> None:
    fill(connection.jobs, 1000)
    batches = drained(connection.jobs, offer(0.5))
    assert len(batches) <= 1000 / 16 * 1.15


def test_another_attempt_gets_the_same_version(connection: Storage) -> None:
    fill(connection.jobs, 300)
    first = {}
    for _ in range(20):
        token, batch = claimed(connection.jobs, offer(0.5))
        first.update({job.id: job.arm for job in batch})
        connection.jobs.release(token, [job.id for job in batch])
    again = {job.id: job.arm for batch in drained(connection.jobs, offer(0.5)) for job in batch}
    assert again.items() >= first.items()
    larger = offer(0.9).canary
    assert larger
    assert all(int(job_id[-4:], 16) < larger.below for job_id, name in first.items() if name.endswith("canary"))


def test_pinned_jobs_and_other_aliases_are_in_no_arm(connection: Storage) -> None:
    fill(connection.jobs, 20, "pets/3")
    fill(connection.jobs, 20, "pets/4")
    fill(connection.jobs, 20, "canary")
    batches = drained(connection.jobs, offer(0.5))
    assert {job.arm for batch in batches for job in batch} == {""}
    assert counters(connection) == {}


def test_a_claim_without_a_canary_takes_the_job_out_of_its_arm(connection: Storage) -> None:
    fill(connection.jobs, 16)
    token, batch = claimed(connection.jobs, offer(0.5))
    connection.jobs.release(token, [job.id for job in batch])
    assert {job.arm for batch in drained(connection.jobs, Offer(ALIASES)) for job in batch} == {""}
    assert counters(connection) == {}


def test_some_of_stables_jobs_are_shadowed_unless_people_wait(connection: Storage) -> None:
    fill(connection.jobs, 400)
    shadowed = [job for batch in drained(connection.jobs, offer(0.2, shadow=0.5)) for job in batch if job.shadow]
    assert 100 < len(shadowed) < 220
    assert {arm(job) for job in shadowed} == {"stable"}
    fill(connection.jobs, 64, lane=Lane.INTERACTIVE)
    _, first = claimed(connection.jobs, offer(0.2, shadow=0.999))
    assert not any(job.shadow for job in first)


@pytest.mark.parametrize(
    ("code", "failed"),
    [("internal", True), ("poisoned", True), ("image_decode_failed", False), ("storage_error", False)],
)
def test_only_faults_of_the_model_count_as_failures(connection: Storage, code: str, failed: bool) -> None:
    fill(connection.jobs, 16)
    token, batch = claimed(connection.jobs, offer(0.999))
    end(connection.jobs, token, batch, Status.FAILED, code)
    assert counters(connection) == ({"canary.ended": len(batch), "canary.failed": len(batch)} if failed else {})


def lose(connection: Storage) -> None:
    """Let all leases expire."""
    for job_id, _ in connection.jobs.client.zscan_iter(keys.leases(Lane.BULK)):
        connection.jobs.client.zadd(keys.leases(Lane.BULK), {job_id: 1})
    connection.jobs.sweep("s")


def test_a_lost_job_is_open_until_it_ends_whoever_ends_it(connection: Storage) -> None:
    fill(connection.jobs, 16)
    _, batch = claimed(connection.jobs, offer(0.999))
    for _ in range(2):  # only the first loss of a job counts
        lose(connection)
        claimed(connection.jobs, offer(0.999))
    found = counters(connection)
    assert (found["canary.lost"], found["canary.settled"]) == (len(batch), 0)
    lose(connection)
    drained(connection.jobs, Offer(ALIASES))  # after the rollout
    found = counters(connection)
    assert (found["canary.lost"], found["canary.settled"], found["canary.ended"]) == (len(batch), len(batch), 0)


def test_a_job_lost_with_the_canary_waits_for_a_worker_that_has_loaded_it(connection: Storage) -> None:
    fill(connection.jobs, 40)
    _, lost = claimed(connection.jobs, offer(0.5))
    while {arm(job) for job in lost} != {"canary"}:
        _, lost = claimed(connection.jobs, offer(0.5))
    lose(connection)
    loading = offer(0.5)
    assert loading.canary
    loading = Offer(ALIASES, canary=replace(loading.canary, loaded=False))
    taken = {job.id for batch in drained(connection.jobs, loading) for job in batch}
    assert not taken & {job.id for job in lost}
    assert {arm(job) for batch in drained(connection.jobs, offer(0.5)) for job in batch} == {"canary"}


def test_a_job_that_has_lost_a_lease_is_not_shadowed(connection: Storage) -> None:
    fill(connection.jobs, 64)
    everything = offer(0.001, shadow=0.999)
    claimed(connection.jobs, everything)
    lose(connection)
    again = [job for batch in drained(connection.jobs, everything) for job in batch if arm(job) == "stable"]
    assert {job.shadow for job in again if job.lost} == {0}
    assert {job.shadow for job in again if not job.lost} == {1}


def test_a_repeated_finish_counts_once(connection: Storage) -> None:
    fill(connection.jobs, 16)
    token, batch = claimed(connection.jobs, offer(0.999))
    for _ in range(2):
        end(connection.jobs, token, batch, Status.SUCCEEDED)
    assert counters(connection) == {"canary.ended": len(batch)}


def test_a_bad_verdict_counts_once_for_each_job(connection: Storage) -> None:
    fill(connection.jobs, 16)
    token, batch = claimed(connection.jobs, offer(0.999))
    end(connection.jobs, token, batch, Status.SUCCEEDED)
    for _ in range(2):
        connection.jobs.judge(batch[0].id)
        connection.jobs.judge(f"job_{'0' * 32}")
    assert counters(connection)[counts.bad(Arm.CANARY)] == 1
    assert not connection.jobs.client.exists(keys.job(f"job_{'0' * 32}"))


def test_counts_are_added_once_whatever_happens_to_redis(connection: Storage) -> None:
    client = connection.jobs.client
    counts.add(client, ROLLOUT.id, 0, {counts.TIMED: 5})
    first = counts.with_counts(client, ROLLOUT)
    assert counts.with_counts(client, first).step.counts == {counts.TIMED: 5}  # stored, and looked at again
    counts.add(client, ROLLOUT.id, 0, {counts.TIMED: 2})
    assert counts.with_counts(client, first).step.counts == {counts.TIMED: 7}
    assert counts.with_counts(client, ROLLOUT).step.counts == {counts.TIMED: 7}  # killed before it was stored
    client.delete(keys.rollout(ROLLOUT.id))
    assert counts.with_counts(client, first).step.counts == {counts.TIMED: 5}
    counts.add(client, ROLLOUT.id, 0, {counts.TIMED: 1})
    assert counts.with_counts(client, first).step.counts == {counts.TIMED: 6}


def test_an_older_state_of_redis_counts_nothing_twice(connection: Storage) -> None:
    client, key = connection.jobs.client, keys.rollout(ROLLOUT.id)
    counts.add(client, ROLLOUT.id, 0, {counts.TIMED: 3})
    older = client.dump(key)
    counts.add(client, ROLLOUT.id, 0, {counts.TIMED: 4})
    stored = counts.with_counts(client, ROLLOUT)
    client.restore(key, 0, older, replace=True)
    back = counts.with_counts(client, stored)
    counts.add(client, ROLLOUT.id, 0, {counts.TIMED: 4})  # the same jobs end once more
    assert counts.with_counts(client, back).step.counts == {counts.TIMED: 7}
