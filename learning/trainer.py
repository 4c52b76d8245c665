"""A trainer: does steps of open runs, one after another, until it finds none to do."""

import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import redis

from learning.failures import Failures
from learning.gate.ledger import LedgerError
from learning.runs import build, gate, score, train
from learning.steps import Place, Step
from learning.watch import Canceled, Stopped, Watch
from storage import keys
from storage.connection import Storage
from storage.model_files import ModelError
from storage.problems import Problem, Unavailable
from storage.queue.locks import Lease, LeaseLost
from storage.training.datasets import DatasetError
from storage.training.runs import Kind, RunOutcome, Spec, Status

KINDS: dict[Kind, Callable[[Place, Spec], list[Step]]] = {
    Kind.SCORE: score.steps,
    Kind.BUILD: build.steps,
    Kind.TRAIN: train.steps,
    Kind.GATE: gate.steps,
}
# The run itself is at fault: another try would end in the same way.
HOPELESS = (DatasetError, LedgerError, ModelError, Problem, ValueError)
OUTAGES = (Unavailable, redis.RedisError)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trainer:
    """`name`: shown in the run's progress; `folder`: for the files of runs; `stopping`: whether to stop."""

    storage: Storage
    name: str
    folder: Path
    stopping: Callable[[], bool]

    def work(self) -> int:
        """Do all steps that no other trainer holds, and return how many. Raises Unavailable or RedisError."""
        self.remove_leftovers()
        done = 0
        while not self.stopping() and self._next():
            done += 1
        return done

    def _next(self) -> bool:
        """Do a step of the oldest run that has one to do. Returns whether there was one."""
        return any(self._takes(spec) and self._one_step_of(spec) for spec in self.storage.runs.open())

    def _takes(self, spec: Spec) -> bool:
        """A trainer takes a run for another machine only to end it if it is cancelled: that machine may never start."""
        return not spec.elsewhere or self.storage.runs.is_canceled(spec.id)

    def _one_step_of(self, spec: Spec) -> bool:
        """Do the first step that is free. Returns whether it is done; one to be repeated later does not count."""
        for step in KINDS[spec.kind](Place(self.storage, self.folder / spec.id), spec):
            name = f"{spec.id}:{step.name}" if step.name else spec.id
            lasts_s = self.storage.settings.training_lease_s
            with self.storage.jobs.locks.lease(keys.training_lease(name), lasts_s) as lease:
                if lease and not step.done():
                    return self.do(spec, step, self.watch(spec, step, lease))
        return False

    def watch(self, spec: Spec, step: Step, lease: Lease | None) -> Watch:
        """`lease`: None for a run that no trainer takes."""
        failures = Failures(self.storage.runs, spec.id, step.name)
        return Watch(self.storage.runs, spec.id, failures, trainer=self.name, lease=lease, stopping=self.stopping)

    def do(self, spec: Spec, step: Step, watch: Watch) -> bool:
        """Do a step, or end its run. Returns False if the step has to be repeated later."""
        started, failures = time.monotonic(), watch.failures
        fields = {"run": spec.id, "kind": spec.kind, "step": step.name}
        try:
            if self.storage.runs.is_canceled(spec.id):
                raise Canceled
            if reason := failures.too_many():
                self._end(spec, Status.FAILED, reason)
                return True
            failures.begin(self.name)
            step.do(watch)
        except (Stopped, LeaseLost) as error:
            log.info("run_left", extra={**fields, "reason": type(error).__name__})
            failures.interrupted()
            return False
        except Canceled:
            self._end(spec, Status.CANCELED, "A request canceled the run.")
        except OUTAGES as error:
            log.warning("run_interrupted", extra={**fields, "error": str(error)})
            failures.interrupted()
            return False
        except HOPELESS as error:
            log.warning("run_refused", extra=fields, exc_info=True)
            self._end(spec, Status.FAILED, error.detail if isinstance(error, Problem) else str(error))
        except Exception as error:
            log.exception("run_failed", extra=fields)
            failures.add(repr(error))
            return False
        else:
            failures.end()
            log.info("run_step_done", extra={**fields, "ms": round((time.monotonic() - started) * 1000)})
        if self._remove_files(spec.id):
            self.storage.runs.forget_checkpoint(spec.id)
        return True

    def _end(self, spec: Spec, status: Status, reason: str) -> None:
        if self.storage.runs.outcome(spec.id):  # another trainer has finished it after this one's lease expired
            return
        log.warning("run_ended", extra={"run": spec.id, "kind": spec.kind, "status": status, "reason": reason})
        self.storage.runs.finish(spec.id, RunOutcome(status, reason=reason))

    def remove_leftovers(self) -> None:
        """Remove the files of runs that have ended since this machine stopped working on them."""
        if self.folder.is_dir():
            for folder in self.folder.iterdir():
                self._remove_files(folder.name)

    def _remove_files(self, run_id: str) -> bool:
        """If the run has ended, remove its files, because no erasure reaches their photos. Returns whether it has."""
        ended = self.storage.runs.outcome(run_id) is not None
        if ended:
            shutil.rmtree(self.folder / run_id, ignore_errors=True)
        return ended
