"""Copies of masks in Redis, for the clients that wait for them."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import redis
from specs import spec

from storage import keys
from storage.connection import Storage, connect
from storage.job import Finished, Job, Outcome, Status
from storage.queue.answers import Ending
from storage.queue.jobs import RedisJobs
from storage.queue.masks import MOST_BYTES

DONE = Outcome(Status.SUCCEEDED, {"name": "pets", "version": "1"}, {"width": 64}, {"infer": 3})
MASK = b"\x89PNG\xff\x00"  # not valid UTF-8


@pytest.fixture
def jobs(connection: Storage) -> RedisJobs:
    return connection.jobs


@pytest.fixture
def sparing(connection: Storage) -> Iterator[RedisJobs]:
    """A worker that may copy three masks of a hundred bytes per period."""
    opened = connect(connection.settings.replace(copy_bytes=399))
    yield opened.jobs
    opened.jobs.client.close()


def ended(jobs: RedisJobs, mask: bytes = MASK, awaited: bool = True) -> Job:
    made = spec()
    jobs.enqueue(made, awaited=awaited)
    [job] = jobs.claim(made.id, "drainer", "worker")
    assert bool(job.awaited) is awaited
    jobs.finish(made.id, "worker", 5, [Finished(job.id, "key", DONE, mask if job.awaited else b"")])
    found = jobs.get(made.id)
    assert found is not None
    assert found.status is Status.SUCCEEDED
    return found


def test_a_copy_is_taken_once(jobs: RedisJobs) -> None:
    job = ended(jobs)
    assert jobs.masks.take(job) == MASK
    assert jobs.masks.take(job) is None


def test_only_a_waiting_client_gets_a_copy(jobs: RedisJobs) -> None:
    job = ended(jobs, awaited=False)
    assert jobs.masks.take(replace(job, awaited=1)) is None


def test_copies_expire(jobs: RedisJobs) -> None:
    job = ended(jobs)
    assert 0 < jobs.client.pttl(keys.mask(job.id)) <= 10_000
    assert jobs.masks.take(replace(job, finished_ms=job.finished_ms - 10_001)) is None


def test_a_large_mask_is_not_copied(jobs: RedisJobs) -> None:
    assert jobs.masks.take(ended(jobs, b"m" * MOST_BYTES)) is not None
    assert jobs.masks.take(ended(jobs, b"m" * (MOST_BYTES + 1))) is None


def test_copies_have_a_limit(sparing: RedisJobs) -> None:
    """Masks count for the period in which they were copied, also once they are taken."""
    taken = [sparing.masks.take(ended(sparing, b"m" * 100)) for _ in range(20)]
    kept = sum(mask is not None for mask in taken)
    assert 3 <= kept <= 6, "one period or, if it ends meanwhile, two"


def test_an_erased_job_has_no_copy(jobs: RedisJobs) -> None:
    job = ended(jobs)
    jobs.begin_erase(job.id)
    assert not jobs.client.exists(keys.mask(job.id))


def test_a_result_that_does_not_count_is_not_copied(jobs: RedisJobs) -> None:
    made = spec()
    jobs.enqueue(made, awaited=True)
    [job] = jobs.claim("first", "drainer", "worker")
    jobs.release("first", [job.id])
    jobs.claim("second", "drainer", "worker")
    assert jobs.finish("first", "worker", 5, [Finished(job.id, "key", DONE, MASK)]) == [Ending.SUPERSEDED]
    assert not jobs.client.exists(keys.mask(job.id))


def test_redis_does_not_log_copies(jobs: RedisJobs) -> None:
    """A restarted Redis has the ended job, but no copy."""
    client: redis.Redis = jobs.client
    before = client.info("persistence")["aof_current_size"]
    job = ended(jobs, b"m" * MOST_BYTES)
    assert client.exists(keys.mask(job.id))
    assert 0 < client.info("persistence")["aof_current_size"] - before < MOST_BYTES / 10
