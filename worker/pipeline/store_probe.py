"""Probes the object store: after an outage, the worker claims nothing until a probe succeeds."""

import time

from redis.backoff import ExponentialWithJitterBackoff

from storage.objects import MinioObjects

PAUSES = ExponentialWithJitterBackoff(cap=5, base=0.5)  # seconds, by the number of failures


class StoreProbe:
    def __init__(self, objects: MinioObjects) -> None:
        self._objects = objects
        self._failures, self._probe_at = 0, 0.0  # failures since the last success; time of the next probe

    def failed(self) -> None:
        """Note that an access to the object store failed."""
        self._failures += 1

    def is_up(self) -> bool:
        """Whether the store is up, as far as known.

        After a failure, probe it, with growing pauses between probes.
        """
        if not self._failures:
            return True
        if time.monotonic() < self._probe_at:
            return False
        self._probe_at = time.monotonic() + PAUSES.compute(self._failures)
        if not self._objects.ready():
            self._failures += 1
            return False
        self._failures = 0
        return True
