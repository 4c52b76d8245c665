"""Whether more can be taken: the queue is as long as the seconds that it will take, not as the jobs that are in it."""

import math
import time

from storage.job import QueueState
from storage.problems import Problem
from storage.queue.jobs import RedisJobs
from storage.settings import Settings

FRESH_S = 1.0


class Admission:
    """Looks at the queue once a second at most; what this process has taken since then counts too."""

    def __init__(self, jobs: RedisJobs, settings: Settings) -> None:
        self._jobs, self._settings = jobs, settings
        self._seen: QueueState | None = None
        self._seen_at = 0.0
        self._since = 0

    def check(self, images: int = 1) -> None:
        """Raises Problem `queue_full` where they would have to wait longer than MAX_BACKLOG_S.

        Its Retry-After is when there will be room, at the measured pace and if nobody else comes.
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
