"""Reports to Redis which versions this worker has loaded and which it refuses."""

import time

from storage.offer import EnginesReport
from storage.queue.jobs import RedisJobs
from worker.engines import Engines

REPORT_EVERY_S = 5.0


class EngineReports:
    def __init__(self, jobs: RedisJobs, engines: Engines, worker: str) -> None:
        self._jobs, self._engines, self._worker = jobs, engines, worker
        self._refusing: frozenset[str] = frozenset()
        self._reported_at = 0.0

    def report(self, refusing: frozenset[str]) -> None:
        """Report if the refused names have changed, and at least every REPORT_EVERY_S."""
        now = time.monotonic()
        if refusing == self._refusing and now - self._reported_at < REPORT_EVERY_S:
            return
        report = EnginesReport(self._engines.loaded, self._engines.refusals)
        self._jobs.workers.report(self._worker, report, refusing, self._refusing - refusing)
        self._refusing, self._reported_at = refusing, now

    def load(self, version: str) -> None:
        """Load a version. Until it is loaded, refuse the names that resolve to it."""
        names = self._engines.offer().names(version)
        self.report(self._refusing.union(names))
        self._engines.load(version)
        self.report(self._engines.offer().refused)
