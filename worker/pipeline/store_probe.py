"""Whether the object store answers: after an outage nothing is claimed until a probe succeeds."""

import time

from redis.backoff import ExponentialWithJitterBackoff

from storage.objects import MinioObjects

PAUSES = ExponentialWithJitterBackoff(cap=5, base=0.5)  # seconds, by the failures before


class StoreProbe:
    def __init__(self, objects: MinioObjects) -> None:
        self._objects = objects
        self._failures, self._probe_at = 0, 0.0  # since the store last answered

    def failed(self) -> None:
        """Work had to be put back."""
        self._failures += 1

    def answers(self) -> bool:
        """Without a failure before, yes. Else probes come less and less often, and between two of them it is no."""
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
