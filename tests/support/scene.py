"""One fault scenario: load the stack, damage it, and check every job afterwards."""

import hashlib
import io
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import damage
import numpy as np
import offline
import redis
import services
from PIL import Image
from redis.backoff import NoBackoff
from redis.retry import Retry
from stack import Stack
from watcher import FINAL, Watcher

from storage import keys, object_keys
from storage.connection import connect
from storage.keys import Lane
from storage.objects import RESULTS

# Short intervals, so that minutes of recovery take seconds. One scenario keeps the defaults.
QUICK = {"LEASE_S": 6, "SWEEP_S": 1, "RECONCILE_S": 3, "ADOPT_S": 30, "ADOPT_AFTER_S": 2}
FEWEST = 200  # jobs in flight when the damage is done: fewer would prove nothing
LOAD = 280
SLOWEST_S = 35 if "PYTEST_XDIST_WORKER" not in os.environ else 70  # other tests run at the same time
PATIENCE_S = 60  # beyond the limit, to distinguish a late end from none
THREADS = 6

IMPATIENT = Retry(NoBackoff(), 0)

Document = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """A row of the table that is printed at the end of the run."""

    in_flight: int
    seconds: float


class Scene:
    """Submits jobs to a stack, surrounds the damage, and checks all jobs at the end."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.jobs: dict[str, offline.Photo] = {}  # accepted ids → what was sent
        settings = stack.settings()
        self.redis = redis.Redis.from_url(settings.redis_url, decode_responses=True, socket_timeout=3, retry=IMPATIENT)
        self.storage = connect(settings)
        self.watcher = Watcher(str(stack.http.base_url))
        self.in_flight = 0
        self.row: Row | None = None
        self._hit: set[str] = set()
        self._fault_ended = 0.0

    def __enter__(self) -> "Scene":
        damage.calm(self.stack)
        self.watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.watcher.stop()
        self.redis.close()
        self.storage.jobs.client.close()

    def accept(self, job: Document, photo: offline.Photo) -> None:
        self.jobs[job["id"]] = photo
        self.watcher.watch(job["id"])

    def submit(self, count: int) -> list[str]:
        """Submit `count` photos. Returns the ids; each was accepted with a 202."""
        photos = offline.photos()
        return self.send([photos[number % len(photos)] for number in range(count)])

    def send(self, photos: Sequence[offline.Photo]) -> list[str]:
        with ThreadPoolExecutor(THREADS) as pool:
            jobs = list(pool.map(lambda photo: self.stack.submit(photo.content), photos))
        for job, photo in zip(jobs, photos, strict=True):
            self.accept(job, photo)
        return [job["id"] for job in jobs]

    @contextmanager
    def held(self) -> Iterator[None]:
        """Stop the pool children, so that no job is claimed in the block."""
        with damage.stopped(damage.pool_children(self.stack)):
            yield

    def load(self, count: int = LOAD) -> None:
        """Submit jobs until `count` of them are in flight, even if some have ended meanwhile."""
        with self.held():
            self.submit(max(0, count - len(self.open())))

    def busy(self) -> None:
        """Wait until jobs are leased."""
        services.wait_until(self.leased, "a worker at work")

    def leased(self) -> int:
        return sum(self.redis.zcard(keys.leases(lane)) for lane in Lane)

    def at_work(self) -> int:
        """Wait until a pool child holds leases, and SIGSTOP it. Returns the pid of its worker."""
        give_up = time.monotonic() + services.PATIENCE_S
        while time.monotonic() < give_up:
            for worker in self.stack.pids(damage.WORKER):
                child = damage.pool_child(worker)
                if child and damage.kill([child], signal.SIGSTOP):
                    if self.holds(worker):
                        return worker
                    damage.kill([child], signal.SIGCONT)
            time.sleep(0.02)
        raise AssertionError("no worker is at work")

    def holds(self, worker: int) -> list[str]:
        """The ids of the jobs that the worker with this pid has leased."""
        leased = [job_id for lane in Lane for job_id in self.redis.zrange(keys.leases(lane), 0, -1)]
        name = f"{socket.gethostname()}-{worker}"
        return [job_id for job_id in leased if self.redis.hget(keys.job(job_id), "worker") == name]

    def open(self, among: Iterable[str] | None = None) -> set[str]:
        """The ids of the jobs that have not ended.

        Reads the job hashes directly: a GET would restore a lost one.
        """
        ids = list(self.jobs if among is None else among)
        with self.redis.pipeline(transaction=False) as pipe:
            for job_id in ids:
                pipe.hget(keys.job(job_id), "status")
            found = dict(zip(ids, pipe.execute(), strict=True))
        lost = {job_id for job_id, status in found.items() if status is None}
        ended = {job_id for job_id, status in found.items() if status in FINAL}
        # If Redis has no job hash, the object store decides: a job with a result has ended.
        return set(ids) - ended - (lost & set(self.results()) if lost else set())

    def results(self) -> Counter[str]:
        """Count the result objects of each job."""
        hours = {keys.hour(job_id) for job_id in self.jobs}
        listed = (entry for hour in hours for entry in self.storage.objects.listing(RESULTS, f"{hour}/"))
        owners = (object_keys.owner(entry.key) for entry in listed)
        return Counter(owner[1] for owner in owners if owner and owner[1] in self.jobs)

    def losses(self) -> Counter[str]:
        """Count the lost attempts of each job."""
        with self.redis.pipeline(transaction=False) as pipe:
            for job_id in self.jobs:
                pipe.hget(keys.job(job_id), "losses")
            return +Counter({job_id: int(lost or 0) for job_id, lost in zip(self.jobs, pipe.execute(), strict=True)})

    @contextmanager
    def fault(self, memory_lost: bool = False, fewest: int = FEWEST) -> Iterator[None]:
        """Surround the damage. At least `fewest` jobs must be in flight; its end starts the clock."""
        hit = self.open()
        assert len(hit) >= fewest, f"vacuous: {len(hit)} jobs in flight"
        self.in_flight = min(self.in_flight or len(hit), len(hit))
        self._hit |= hit
        self.watcher.memory_lost |= memory_lost
        yield
        self._fault_ended = time.monotonic()

    def settle(
        self, blamed: Mapping[str, str] | None = None, within_s: float = SLOWEST_S, patience_s: float = PATIENCE_S
    ) -> list[Document]:
        """Check that every accepted job ends as expected, in time, and that its end never changes.

        `blamed`: the error code that each of these ids must end with.
        """
        seconds = self._recovered_after(within_s + patience_s)
        self.row = Row(self.in_flight, seconds)
        with ThreadPoolExecutor(THREADS) as pool:
            documents = list(pool.map(self._document, self.jobs))
        for document in documents:
            self.watcher.compare(document["id"], document)
        self._check_ends(documents, blamed or {})
        assert not self.watcher.complaints, "changed after their end: " + "\n".join(self.watcher.complaints[:5])
        assert seconds <= within_s, f"the last job ended after {seconds:.1f} s"
        return documents

    def _recovered_after(self, patience_s: float) -> float:
        give_up, left = time.monotonic() + patience_s, self._hit
        while left:
            assert time.monotonic() < give_up, f"{len(left)} of {len(self._hit)} did not end: {sorted(left)[:5]}"
            time.sleep(0.2)
            left = self.open(left)
        seconds = time.monotonic() - self._fault_ended
        while self.open():  # jobs submitted after the damage
            assert time.monotonic() < give_up, "jobs submitted after the damage did not end"
            time.sleep(0.2)
        return seconds

    def _document(self, job_id: str) -> Document:
        answer = self.stack.http.get(f"/v1/jobs/{job_id}")
        assert answer.status_code == 200, f"{job_id}: {answer.text}"
        return dict(answer.json())

    def _check_ends(self, documents: list[Document], blamed: Mapping[str, str]) -> None:
        codes = {job["id"]: job["error"]["code"] for job in documents if job["error"]}
        assert codes == dict(blamed), f"ended with an error: {codes}"
        odd = {job["id"]: job["status"] for job in documents if not job["error"] and job["status"] != "succeeded"}
        assert not odd, f"neither succeeded nor failed: {odd}"
        with ThreadPoolExecutor(THREADS) as pool:
            wrong = [found for found in pool.map(self._wrong_mask, documents) if found]
        assert not wrong, "\n".join(wrong[:5])

    def _wrong_mask(self, job: Document) -> str | None:
        if job["status"] != "succeeded":
            return None
        content = self.stack.http.get(job["links"]["mask"]).content
        if hashlib.sha256(content).hexdigest() != job["result"]["sha256"]:
            return f"{job['id']}: the mask does not match the digest in its result"
        with Image.open(io.BytesIO(content)) as image:
            same = np.array_equal(np.asarray(image), self.jobs[job["id"]].mask)
        return None if same else f"{job['id']}: the mask differs from the offline one"


Begin = Callable[[Stack], Scene]  # the fixture `begin`
