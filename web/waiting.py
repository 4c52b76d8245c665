"""Long polls: all waiting requests of a process share one Redis subscription."""

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import redis

from storage.job import Status
from storage.queue.jobs import RedisJobs

ENDS = {status.value for status in Status if status.final}
REREAD_S = 5.0  # a lost connection may lose an event, so waiters also reread the state
RECONNECT_S = 0.5

T = TypeVar("T")

log = logging.getLogger(__name__)


def end_of(job_id: str) -> str:
    return f"{job_id} end"


class Waiting:
    """At most `most` requests wait. Beyond that, a wait returns the current state immediately."""

    def __init__(self, jobs: RedisJobs, most: int) -> None:
        self._jobs, self._most = jobs, most
        self._lock = threading.Lock()
        self._waiters: defaultdict[str, set[threading.Event]] = defaultdict(set)
        self._count = 0
        self._listener: threading.Thread | None = None
        self._listening = threading.Event()
        self.closed = False

    def until(self, key: str, read: Callable[[], T | None], settled: Callable[[T], bool], timeout_s: float) -> T | None:
        """Call `read` until `settled` accepts its value or `timeout_s` has passed; return the last value.

        Return None once `read` does. `key`: the id of the job or batch whose events trigger a read,
        or `end_of(id)` if only the job's end does.
        """
        if timeout_s <= 0:
            return read()
        give_up = time.monotonic() + timeout_s
        with self._subscribed(key) as changed:
            while True:
                changed.clear()
                value = read()  # after subscribing, so that no change is missed
                left = give_up - time.monotonic()
                if value is None or settled(value) or left <= 0 or self._count > self._most or self.closed:
                    return value
                changed.wait(min(left, REREAD_S))

    @property
    def full(self) -> bool:
        return self._count >= self._most

    def close(self) -> None:
        """Shut down: every waiting request gets the current state now instead of a cut connection."""
        self.closed = True
        self._wake(None)

    @contextmanager
    def _subscribed(self, key: str) -> Iterator[threading.Event]:
        changed = threading.Event()
        with self._lock:
            if self._listener is None:
                self._listener = threading.Thread(target=self._listen, name="events", daemon=True)
                self._listener.start()
            self._waiters[key].add(changed)
            self._count += 1
        try:
            self._listening.wait(RECONNECT_S)
            yield changed
        finally:
            with self._lock:
                self._count -= 1
                self._waiters[key].discard(changed)
                if not self._waiters[key]:
                    del self._waiters[key]

    def _listen(self) -> None:
        while True:
            try:
                with self._jobs.events() as channel:
                    self._listening.set()
                    self._wake(None)  # the events before the subscription were missed
                    while True:
                        message = channel.get_message(timeout=REREAD_S)
                        if message:
                            job_id, status, batch_id = str(message["data"]).split(" ")
                            ended = [end_of(job_id)] if status in ENDS else []
                            self._wake([job_id, batch_id, *ended])
            except redis.RedisError as error:
                self._listening.clear()
                log.warning("subscription_lost", extra={"error": type(error).__name__})
                time.sleep(RECONNECT_S)

    def _wake(self, keys: list[str] | None) -> None:
        """Wake the waiters for `keys`, or all waiters if it is None."""
        with self._lock:
            chosen = list(self._waiters) if keys is None else [key for key in keys if key in self._waiters]
            for key in chosen:
                for changed in self._waiters[key]:
                    changed.set()
