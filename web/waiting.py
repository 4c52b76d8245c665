"""Long polls: any number of waiting requests on one Redis subscription a process."""

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import redis

from storage.job import Job
from storage.jobs import RedisJobs

REREAD_S = 5.0  # an event may be lost with its connection; the record cannot
RECONNECT_S = 0.5

log = logging.getLogger(__name__)


class Waiting:
    """At most `most` requests wait; past that a wait answers at once, which is right if less comfortable."""

    def __init__(self, jobs: RedisJobs, most: int) -> None:
        self._jobs, self._most = jobs, most
        self._lock = threading.Lock()
        self._waiters: defaultdict[str, set[threading.Event]] = defaultdict(set)
        self._count = 0
        self._listener: threading.Thread | None = None
        self._listening = threading.Event()

    def until(self, settled: Callable[[Job], bool], job_id: str, timeout_s: float) -> Job | None:
        """The job as soon as `settled` says so, else as it is after `timeout_s`; None once its record is gone."""
        if timeout_s <= 0:
            return self._jobs.get(job_id)
        give_up = time.monotonic() + timeout_s
        with self._subscribed(job_id) as changed:
            while True:
                changed.clear()
                job = self._jobs.get(job_id)  # after subscribing: no change falls between
                left = give_up - time.monotonic()
                if job is None or settled(job) or left <= 0 or self._count > self._most:
                    return job
                changed.wait(min(left, REREAD_S))

    @contextmanager
    def _subscribed(self, job_id: str) -> Iterator[threading.Event]:
        changed = threading.Event()
        with self._lock:
            if self._listener is None:
                self._listener = threading.Thread(target=self._listen, name="events", daemon=True)
                self._listener.start()
            self._waiters[job_id].add(changed)
            self._count += 1
        try:
            self._listening.wait(RECONNECT_S)
            yield changed
        finally:
            with self._lock:
                self._count -= 1
                self._waiters[job_id].discard(changed)
                if not self._waiters[job_id]:
                    del self._waiters[job_id]

    def _listen(self) -> None:
        while True:
            try:
                with self._jobs.events() as channel:
                    self._listening.set()
                    self._wake(None)  # whatever happened while nobody listened
                    while True:
                        message = channel.get_message(timeout=REREAD_S)
                        if message:
                            self._wake(str(message["data"]).partition(" ")[0])
            except redis.RedisError as error:
                self._listening.clear()
                log.warning("event subscription lost: %s", type(error).__name__)
                time.sleep(RECONNECT_S)

    def _wake(self, job_id: str | None) -> None:
        with self._lock:
            chosen = self._waiters.values() if job_id is None else [self._waiters.get(job_id, set())]
            for waiters in chosen:
                for changed in waiters:
                    changed.set()
