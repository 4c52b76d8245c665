"""Leg `queue`: the cost of the queue in Redis at several lengths."""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "support"))

import services
from figures import Row
from specs import spec

from storage.connection import connect
from storage.job import Finished, Outcome, Status
from storage.keys import Lane
from storage.queue.jobs import RedisJobs
from storage.settings import Settings

LENGTHS, TENANTS, REPEATS = (100, 10_000, 100_000), 10, 200


def fill(jobs: RedisJobs, upto: int) -> list[str]:
    """Enqueue `upto` jobs with realistic names and digests. Returns up to REPEATS of their ids."""
    ids = []
    for number in range(upto):
        made = spec(lane=Lane.BULK, tenant=f"tenant-{number % TENANTS}", filename=f"IMG_{number:06}.jpg")
        jobs.enqueue(made)
        ids.append(made.id)
    return ids[:: max(1, upto // REPEATS)][:REPEATS]


def mean_us(use: Callable[[], object]) -> float:
    started = time.perf_counter()
    for _ in range(REPEATS):
        use()
    return (time.perf_counter() - started) / REPEATS * 1e6


def measure(jobs: RedisJobs, length: int) -> Row:
    jobs.client.flushall()
    jobs.epoch.mark_intact()
    empty = jobs.client.info("memory")["used_memory"]
    ids = iter(fill(jobs, length) * 4)
    megabytes = (jobs.client.info("memory")["used_memory"] - empty) / 1e6
    status, place = mean_us(lambda: jobs.get(next(ids))), mean_us(lambda: jobs.outlook(next(ids)))
    claims: list[tuple[str, list[str]]] = []

    def claim() -> None:
        token = uuid4().hex
        claims.append((token, [job.id for job in jobs.claim(token, "drainer", "worker")]))
        jobs.release(token, claims[-1][1])

    claim_us = mean_us(claim)
    token = uuid4().hex
    held = [job.id for job in jobs.claim(token, "drainer", "worker")]
    done = [Finished(job_id, "key", Outcome(Status.SUCCEEDED)) for job_id in held]
    finish_us = mean_us(
        lambda: jobs.finish(token, "worker", 1, done)
    )  # the winner repeats it, which takes the same path
    figures = {"megabytes": megabytes, "us.status": status, "us.position": place}
    return Row(
        "queue", f"{length} waiting", {**figures, "us.claim_and_release_16": claim_us, "us.finish_16": finish_us}
    )


def rows() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        redis = services.start_redis(Path(folder))
        try:
            jobs = connect(Settings(redis_url=f"redis://127.0.0.1:{redis.port}/0", s3_secret_key="x")).jobs
            for length in LENGTHS:
                yield measure(jobs, length)
        finally:
            redis.stop()
