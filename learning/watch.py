"""Lets a running step report its progress, renew its lease, and notice that it should stop."""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from learning.failures import Failures
from storage.problems import Unavailable
from storage.queue.locks import Lease
from storage.training.runs import Progress, Runs

ASK_S = 5.0  # between two checks for a cancellation

log = logging.getLogger(__name__)


class Stopped(Exception):
    """This process was asked to stop. Another trainer continues the run."""


class Canceled(Exception):
    """The run was cancelled."""


class Watch:
    """`lease`: None for a run that no trainer takes; `stopping`: whether this process should stop."""

    def __init__(
        self, runs: Runs, run_id: str, failures: Failures, *, trainer: str, lease: Lease | None,
        stopping: Callable[[], bool],
    ) -> None:  # fmt: skip
        self._runs, self._run_id = runs, run_id
        self._lease, self._stopping, self.failures = lease, stopping, failures
        self._progress, self._asked = Progress(trainer=trainer), time.monotonic()

    def beat(self) -> None:
        """Call it between small pieces of work. Raises Stopped, Canceled or LeaseLost."""
        if self._stopping():
            raise Stopped
        if self._lease:
            self._lease.renew()
        if time.monotonic() - self._asked > ASK_S:
            self._asked = time.monotonic()
            self._ask()

    def _ask(self) -> None:
        try:
            canceled = self._runs.is_canceled(self._run_id)
        except Unavailable as error:
            log.warning("progress_not_stored", extra={"run": self._run_id, "error": str(error)})
            return
        if canceled:
            raise Canceled

    def kept(self) -> None:
        """What was done so far is stored: earlier failures of the step no longer count."""
        self.failures.only_this_try()

    def report(self, stage: str, done: int = 0, total: int = 0, figures: dict[str, Any] | None = None) -> None:
        """Show how far the run is. During an outage of the object store the run goes on without reporting."""
        self._progress = replace(self._progress, stage=stage, done=done, total=total, figures=figures or {})
        try:
            self._runs.report(self._run_id, self._progress)
        except Unavailable as error:
            log.warning("progress_not_stored", extra={"run": self._run_id, "error": str(error)})
        self.beat()
