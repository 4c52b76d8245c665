"""Admission of new jobs: unless an operator refuses them, and up to an expected duration of the queue in seconds."""

import math
import time

from storage.connection import Storage
from storage.outlook import QueueState
from storage.pausing import Order
from storage.problems import Problem

FRESH_S = 1.0
REFUSED_RETRY_S = 60


class Admission:
    """Reads the queue's state and the order to refuse at most once a second, and adds the images admitted since."""

    def __init__(self, storage: Storage) -> None:
        self._storage, self._settings = storage, storage.settings
        self._seen: QueueState | None = None
        self._refusal: Order | None = None
        self._seen_at = 0.0
        self._since = 0

    def refuses(self) -> bool:
        """Return whether an operator lets no new work be accepted."""
        self._state()
        return self._refusal is not None

    def check_accepting(self) -> None:
        """Raise Problem `not_accepting`, with the operator's reason, if no new work is accepted."""
        self._state()
        if self._refusal:
            raise Problem("not_accepting", f"The operator: {self._refusal.reason}", REFUSED_RETRY_S)

    def check(self, images: int = 1) -> None:
        """Raise Problem `not_accepting`, or `queue_full` if `images` more would wait longer than MAX_BACKLOG_S.

        Retry-After is the time until there is room, at the measured throughput and if no other jobs
        arrive.
        """
        self.check_accepting()
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
            self._refusal = self._storage.pausing.refusal()
            self._seen, self._seen_at, self._since = self._storage.jobs.queue(), now, 0
        return self._seen
