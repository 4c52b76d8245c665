"""A steady stream of bulk jobs, and what became of each."""

import itertools
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import httpx
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from stack import Stack

from storage import keys
from storage.connection import connect
from storage.job import Job
from storage.keys import Lane

SENDERS, WAITING, LOOKED_UP = 3, 100, 500


class Load:
    """Sends photos in turn until the block ends, so that about `WAITING` jobs wait: the workers are never idle.

    Each request is repeated until it is accepted.
    """

    def __init__(self, stack: Stack, photos: Sequence[bytes]) -> None:
        self.stack, self._photos = stack, photos
        self.sent: dict[str, int] = {}  # accepted id → index of its photo
        self._numbers = itertools.count()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._send, name=f"load-{number}") for number in range(SENDERS)]
        self.storage = connect(stack.settings())

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.storage.close()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _send(self) -> None:
        url = self.stack.settings().redis_url
        client = redis.Redis.from_url(url, socket_timeout=3, retry=Retry(NoBackoff(), 0))
        with client, httpx.Client(base_url=self.stack.http.base_url, timeout=20) as http:
            while not self._over.is_set():
                if not _few_wait(client):
                    time.sleep(0.02)
                    continue
                number = next(self._numbers)
                while not (job_id := self._accepted(http, number)):
                    time.sleep(0.2)
                self.sent[job_id] = number % len(self._photos)

    def _accepted(self, http: httpx.Client, number: int) -> str:
        """The id of the job; "" if the server did not answer."""
        headers = {"Content-Type": "image/jpeg", "Idempotency-Key": f"load-{number}"}
        content = self._photos[number % len(self._photos)]
        try:
            answer = http.post("/v1/jobs", content=content, headers=headers, params={"priority": "bulk"})
        except httpx.HTTPError:
            return ""
        return str(answer.json()["id"]) if answer.status_code == 202 else ""

    def ended(self, within_s: float) -> list[Job]:
        """All accepted jobs, once they have ended."""
        give_up, found, left = time.monotonic() + within_s, list[Job](), list(self.sent)
        while True:
            jobs = self._jobs(left)
            found += [job for job in jobs if job.status.final]
            left = [job.id for job in jobs if not job.status.final]
            if not left:
                return found
            assert time.monotonic() < give_up, f"{len(left)} of {len(self.sent)} jobs have not ended: {left[:5]}"
            time.sleep(0.5)

    def _jobs(self, job_ids: Sequence[str]) -> list[Job]:
        parts = [job_ids[start : start + LOOKED_UP] for start in range(0, len(job_ids), LOOKED_UP)]
        found = [job for part in parts for job in self.storage.jobs.get_many(part) if job]
        lost = set(job_ids) - {job.id for job in found}
        with ThreadPoolExecutor(SENDERS) as pool:
            answers = list(pool.map(lambda job_id: self.stack.http.get(f"/v1/jobs/{job_id}"), lost))  # restores it
        assert {answer.status_code for answer in answers} <= {200}, "a job is lost"
        return found + (self._jobs(list(lost)) if lost else [])


def _few_wait(client: "redis.Redis") -> bool:
    try:
        return int(client.zcard(keys.lane(Lane.BULK))) < WAITING
    except redis.RedisError:
        return False


def longest_gap_s(jobs: Sequence[Job], after_ms: int, before_ms: int) -> float:
    """The longest time between two ends of jobs of one worker. The jobs of a micro-batch end at once.

    Covers the times given, so that a worker that stands still at one of them is not overlooked.
    """
    ends: dict[str, set[int]] = defaultdict(lambda: {after_ms, before_ms})
    for job in jobs:
        if after_ms <= job.finished_ms <= before_ms:
            ends[job.worker].add(job.finished_ms)
    return max(later - earlier for times in ends.values() for earlier, later in pairwise(sorted(times))) / 1000
