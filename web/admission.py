"""Admission of new jobs. The limit is the queue's expected duration in seconds, not its length."""

import math
import time

from storage.outlook import QueueState
from storage.problems import Problem
from storage.queue.jobs import RedisJobs
from storage.settings import Settings

FRESH_S = 1.0


class Admission:
    """Reads the queue's state at most once a second and adds the images this process admitted since."""

    def __init__(self, jobs: RedisJobs, settings: Settings) -> None:
        self._jobs, self._settings = jobs, settings
        self._seen: QueueState | None = None
        self._seen_at = 0.0
        self._since = 0

    def check(self, images: int = 1) -> None:
        """Raise Problem `queue_full` if `images` more would wait longer than MAX_BACKLOG_S.

        Retry-After is the time until there is room, at the measured throughput and if no other jobs
        arrive.
        """
        most_s = self._settings.max_backlog_s
        backlog_s = self._state().backlog_s(self._settings.workers, self._since + images)
        if backlog_s is not None and backlog_s > most_s:
            raise Problem(
                "queue_full", f"The queue already holds {backlog_s:.0f} s of work.", math.ceil(backlog_s - most_s)
            )
        self._since += images

    def _state(self) -> QueueState:
        now = time.monotonic()
        if self._seen is None or now - self._seen_at > FRESH_S:
            self._seen, self._seen_at, self._since = self._jobs.queue(), now, 0
        return self._seen
