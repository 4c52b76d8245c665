"""One ticket's run: claim → fetch → decode → infer → encode → store → finish.

The stages overlap: while the engine runs one micro-batch, threads fetch and decode the next one, and
encode and store the previous one.
"""

import logging
import time
from collections.abc import Sequence
from concurrent.futures import Future, wait
from typing import Any

import numpy as np
import redis

from model.segmenter import Segmenter
from storage import keys
from storage.job import Finished, Job, Outcome
from storage.objects import RESULTS
from storage.problems import Problem
from storage.queue.answers import Ending, Lease
from telemetry import traces
from worker.pipeline import measuring
from worker.pipeline.micro_batch import Item, MicroBatch
from worker.pipeline.workplace import Workplace

VERSION_GONE = Problem("model_unavailable", "The registry no longer has the requested model version.")

log = logging.getLogger(__name__)


class Drain:
    """`name`: the ticket's id, under which Redis counts this drainer."""

    def __init__(self, workplace: Workplace, name: str) -> None:
        self._workplace, self._name = workplace, name
        self._storage, self._engines, self._worker = workplace.storage, workplace.engines, workplace.worker
        self._give_way = time.monotonic() + self._storage.settings.ticket_s
        self._held: list[MicroBatch] = []  # claimed and not yet finished
        self._again = False  # claim again after this round: an isolated job was claimed or put back
        self._wanted: str | None = None  # the version to load before its jobs can be claimed

    def run(self) -> None:
        """Work until no job waits or the ticket's time has passed; then send the next ticket if one is missing.

        Raises Unavailable or redis.RedisError. Call `give_back` afterwards in any case.
        """
        self._wanted = self._engines.first()
        while True:
            if self._wanted:
                self._workplace.reports.load(self._wanted)
            self._again = False
            self._work()
            if not (self._wanted or self._again) or self._time_is_spent():
                break
        if self._time_is_spent():
            self._storage.tickets.send(min(1, self._storage.jobs.tickets_missing(self._name)))

    def give_back(self) -> None:
        """Release the leases of all jobs that were claimed and not finished."""
        for held in self._held:
            futures: list[Future[Any]] = [*held.fetching, *held.storing]
            for future in futures:
                future.cancel()
            try:
                self._storage.jobs.release(held.token, held.ids)
            except redis.RedisError as error:
                log.warning("leases_not_released", extra={"micro_batch": held.token, "error": str(error)})

    def _time_is_spent(self) -> bool:
        return time.monotonic() >= self._give_way

    def _work(self) -> None:
        current, previous = self._claim(), None
        while current or previous:
            following = None
            if current:
                self._wait_prepared(current)
                # Claim the next one now: its photos are fetched and decoded while the engine runs.
                if not self._time_is_spent() and not current.isolated:
                    following = self._claim()
                self._run_engine(current)
                self._extend(current)
            if previous:
                self._finish(previous)
            if current:
                current.storing = self._workplace.storing.begin(current)
            current, previous = following, current

    def _claim(self) -> MicroBatch | None:
        token, offer = keys.new_token(), self._engines.offer()
        self._workplace.reports.report(offer.refused)
        self._wanted, claiming_at = None, time.monotonic()
        jobs = self._storage.jobs.claim(token, self._name, self._worker, offer)
        if not jobs:
            return None
        isolated = bool(jobs[0].isolated)
        self._again = self._again or isolated
        if isolated and self._held:  # it must run when this process has no other jobs
            self._storage.jobs.release(token, [job.id for job in jobs])
            return None
        requested, version = offer.resolve(jobs[0].spec.model, jobs[0].arm)
        segmenter = self._engines.get(requested, version)
        if segmenter is None:
            self._defer(token, jobs, version)
            return None
        claimed = MicroBatch(token, segmenter, [Item(job) for job in jobs], claiming_at, time.monotonic(), isolated)
        if offer.canary and not isolated and any(job.shadow for job in jobs):
            claimed.shadow = self._engines.get(offer.canary.version, offer.canary.version)
        self._held.append(claimed)
        measuring.count_claim(len(jobs))
        claimed.fetching = self._workplace.preparing.begin(claimed)
        return claimed

    def _defer(self, token: str, jobs: Sequence[Job], version: str) -> None:
        """Release jobs whose version is not loaded. Fail them if the registry no longer has it."""
        if self._engines.gone(version):
            self._refuse(token, jobs)
        else:
            # Loading may take longer than a lease; another worker may run the jobs meanwhile.
            self._storage.jobs.release(token, [job.id for job in jobs])
        self._wanted = version

    def _refuse(self, token: str, jobs: Sequence[Job]) -> None:
        put, finished = self._storage.objects.put_result_after_others, []
        for job in jobs:
            finished.append(Finished(job.id, *put(job.spec, token, Outcome.of_problem(job.id, VERSION_GONE))))
            log.warning("model_gone", extra={**job.spec.log_fields, "model": job.spec.model})
        self._storage.jobs.finish(token, self._worker, 0, finished)

    def _wait_prepared(self, current: MicroBatch) -> None:
        done, late = wait(current.fetching, timeout=self._storage.settings.lease_s / 2)
        if late:
            waiting = self._workplace.preparing.abandon_late(current)
            self._storage.jobs.release(current.token, waiting)
        for future in done:
            future.result()
        self._extend(current)

    def _extend(self, current: MicroBatch) -> None:
        """Extend the leases after a stage.

        Cancelled jobs skip their remaining stages; lost ones are dropped.
        """
        states = self._storage.jobs.extend(current.token, self._name, self._worker, current.ids)
        for item, state in zip(current.items, states, strict=True):
            if state is Lease.CANCELED:
                item.pixels = item.logits = None
                item.problem = Problem("canceled", "It was cancelled while it was running.")
        current.items = [item for item, state in zip(current.items, states, strict=True) if state is not Lease.LOST]

    def _run_engine(self, current: MicroBatch) -> None:
        ready, started = [item for item in current.items if item.pixels is not None], time.monotonic()
        self._infer(current.segmenter, ready)
        if ready and all(item.logits is not None for item in current.items):
            self._workplace.trials.compare(current, time.monotonic() - started)

    def _infer(self, segmenter: Segmenter, items: Sequence[Item]) -> None:
        """Run one forward pass.

        If it raises, try each half, down to the image that causes the failure.
        """
        if not items:
            return
        started = time.monotonic()
        try:
            logits = segmenter.engine.logits(np.stack([item.pixels for item in items if item.pixels is not None]))
        except Exception:
            if len(items) == 1:
                log.exception("inference_failed", extra=items[0].job.spec.log_fields)
                items[0].problem = Problem("internal", "The model failed on this image.")
                return
            middle = len(items) // 2
            self._infer(segmenter, items[:middle])
            self._infer(segmenter, items[middle:])
            return
        for item, one in zip(items, logits, strict=True):
            item.logits = one
            item.note_stage("infer", started)
        measuring.count_inference(segmenter, items)

    def _finish(self, stored: MicroBatch) -> None:
        finished = [future.result() for future in stored.storing]
        now = time.monotonic()
        busy_ms = round((now - max(self._workplace.finished_at, stored.claimed_at)) * 1000)
        self._workplace.finished_at = now
        finish = self._storage.jobs.finish
        answers = finish(stored.token, self._worker, max(1, busy_ms), finished) if finished else []
        self._held.remove(stored)
        measuring.count_stages(stored.items)
        self._workplace.inputs.count(stored.segmenter.card, stored.items, finished)
        for answer, one, item in zip(answers, finished, stored.items, strict=True):
            self._note(answer, one, {**item.job.spec.log_fields, "micro_batch": stored.token})
        if recorder := traces.recorder():
            from worker.pipeline.spans import MicroBatchSpans  # imports OpenTelemetry

            MicroBatchSpans(recorder, stored, now).record(finished)

    def _note(self, answer: Ending, one: Finished, fields: dict[str, str]) -> None:
        if answer is Ending.LOST:
            log.warning("result_discarded", extra=fields)
            self._storage.objects.remove(RESULTS, one.result_key)
        elif answer is Ending.SUPERSEDED:
            log.warning("result_superseded", extra=fields)
        elif answer is Ending.UNKNOWN:
            log.warning("result_unconfirmed", extra=fields)
        else:
            log.log(one.outcome.log_level, "job_ended", extra={**fields, **one.outcome.log_fields})
