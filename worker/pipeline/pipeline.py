"""A drainer's work: claim → fetch → decode → infer → encode → store → finish, one direction, stages overlapping.

While the engine runs one micro-batch, threads fetch and decode the next and encode and store the one before. Whatever
goes wrong with one image is that image's own outcome; whatever goes wrong with a part (object store, model) gives
the leases back and counts against nobody.
"""

import logging
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import redis
from numpy.typing import NDArray
from redis.backoff import ExponentialWithJitterBackoff

from model.images import confidence, to_levels
from model.masks import to_mask
from model.png import to_mask_png
from model.segmenter import Segmenter
from storage import keys
from storage.connection import Storage
from storage.job import Finished, Job, Outcome, Status
from storage.models import EnginesReport
from storage.objects import OUTCOME_TEXT, RESULTS
from storage.photos.confidence import CHUNK, MOST, pack
from storage.photos.photo import decode
from storage.problems import Problem, Unavailable
from worker.engines import Engines

FETCHERS, STORERS = 3, 3
MOST_HUNG = 4
PROBE_PAUSES = ExponentialWithJitterBackoff(cap=5, base=0.5)  # seconds, by the failures before
REPORT_EVERY_S = 5.0
VERSION_GONE = Problem("model_unavailable", "The registry no longer has the requested model version.")

log = logging.getLogger(__name__)


@dataclass
class Item:
    """One job on its way: what the stages have made of it so far."""

    job: Job
    pixels: NDArray[np.uint8] | None = None  # [size,size,3]
    logits: NDArray[np.float32] | None = None  # [size,size,classes]
    problem: Problem | None = None
    timings_ms: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.timings_ms[stage] = round((time.perf_counter() - started) * 1000)


@dataclass
class MicroBatch:
    """The items of one claim, all of one model, with the futures of the stage they are in."""

    token: str
    segmenter: Segmenter
    items: list[Item]
    claimed_at: float
    alone: bool
    fetching: list[Future[None]] = field(default_factory=list)
    storing: list[Future[Finished]] = field(default_factory=list)


class Pipeline:
    """Lives as long as its process. `worker` names it; a drainer names one ticket's run."""

    def __init__(self, storage: Storage, engines: Engines, worker: str) -> None:
        self._storage, self._engines, self._worker = storage, engines, worker
        self._fetchers = ThreadPoolExecutor(FETCHERS, "fetch")
        self._storers = ThreadPoolExecutor(STORERS, "store")
        self._finished_at = 0.0
        self._failures, self._probe_at = 0, 0.0  # of the object store, since it last answered
        self._hung = 0
        self._again = False  # a job that has to be alone in this process came up, or had been
        self._wanted: str | None = None  # a version that has to be loaded before its jobs can be claimed
        self._refusing: frozenset[str] = frozenset()
        self._reported_at = 0.0

    def run(self, drainer: str) -> None:
        """Work until nothing waits or the ticket's time is spent; then send the next ticket if work is left."""
        if not self._store_answers():
            return
        give_way = time.monotonic() + self._storage.settings.ticket_s
        held: list[MicroBatch] = []  # claimed and not yet handed in
        try:
            self._wanted = self._engines.first()
            while True:
                if self._wanted:
                    self._load(self._wanted)
                self._again = False
                self._drain(drainer, give_way, held)
                if not (self._wanted or self._again) or time.monotonic() >= give_way:
                    break
            if time.monotonic() >= give_way:
                self._storage.tickets.send(min(1, self._storage.jobs.tickets_missing(drainer)))
        except Unavailable as error:
            self._failures += 1
            log.warning("work put back until the object store answers: %s", error)
        except redis.RedisError as error:
            log.warning("work put back, the sweeper's next ticket tries again: %s", error)
        finally:
            for batch in held:
                self._give_back(batch)
            if self._hung >= MOST_HUNG:
                log.critical("%d threads hang: ending this process, the worker starts another", self._hung)
                os._exit(1)  # an orderly end would wait for them

    def _store_answers(self) -> bool:
        """After an outage nothing is claimed until a probe succeeds; probes come less and less often."""
        if not self._failures:
            return True
        if time.monotonic() < self._probe_at:
            return False
        self._probe_at = time.monotonic() + PROBE_PAUSES.compute(self._failures)
        if not self._storage.objects.ready():
            self._failures += 1
            return False
        self._failures = 0
        return True

    def _drain(self, drainer: str, give_way: float, held: list[MicroBatch]) -> None:
        batch, previous = self._claim(drainer, held), None
        while batch or previous:
            following = None
            if batch:
                self._wait_decoded(batch, drainer)
                # Claimed now, its photos are fetched and decoded while the engine runs.
                if time.monotonic() < give_way and not batch.alone:
                    following = self._claim(drainer, held)
                self._infer(batch.segmenter, [item for item in batch.items if item.pixels is not None])
                self._extend(batch, drainer)
            if previous:
                self._finish(previous, held)
            if batch:
                self._store(batch)
            batch, previous = following, batch

    def _claim(self, drainer: str, held: list[MicroBatch]) -> MicroBatch | None:
        token, offer = keys.new_token(), self._engines.offer()
        self._report(offer.refused)
        self._wanted = None
        jobs = self._storage.jobs.claim(token, drainer, self._worker, offer)
        if not jobs:
            return None
        alone = bool(jobs[0].alone)
        self._again = self._again or alone
        if alone and held:  # it has to wait until this process has nothing else
            self._storage.jobs.release(token, [job.id for job in jobs])
            return None
        requested = jobs[0].spec.model
        version = offer.version(requested)
        segmenter = self._engines.get(requested, version)
        if segmenter is None:
            if self._engines.gone(version):
                self._refuse(token, jobs)
            else:
                # Loading may take longer than a lease: the jobs are others' meanwhile.
                self._storage.jobs.release(token, [job.id for job in jobs])
            self._wanted = version
            return None
        batch = MicroBatch(token, segmenter, [Item(job) for job in jobs], time.monotonic(), alone)
        held.append(batch)
        batch.fetching = [self._fetchers.submit(self._fetch, segmenter, item) for item in batch.items]
        return batch

    def _refuse(self, token: str, jobs: Sequence[Job]) -> None:
        """Jobs that ask for a version that is not in the registry any more."""
        put, finished = self._storage.objects.put_result_after_others, []
        for job in jobs:
            finished.append(Finished(job.id, *put(job.spec, token, Outcome.of_problem(job.id, VERSION_GONE))))
            log.warning("%s: %s is gone", job.id, job.spec.model)
        self._storage.jobs.finish(token, self._worker, 0, finished)

    def _load(self, version: str) -> None:
        names = self._engines.offer().names(version)
        self._report(self._refusing.union(names))
        self._engines.load(version)
        self._report(self._engines.offer().refused)

    def _report(self, refusing: frozenset[str]) -> None:
        """Tell the others when it has changed, and now and then."""
        now = time.monotonic()
        if refusing == self._refusing and now - self._reported_at < REPORT_EVERY_S:
            return
        report = EnginesReport(self._engines.loaded, self._engines.refusals)
        self._storage.jobs.report(self._worker, report, refusing, self._refusing - refusing)
        self._refusing, self._reported_at = refusing, now

    def _fetch(self, segmenter: Segmenter, item: Item) -> None:
        """Stages fetch and decode. The full-size frame lives in here only: one a thread."""
        spec = item.job.spec
        with item.timed("fetch"):
            content = self._storage.objects.get_upload(spec)
        if content is None:
            item.problem = Problem("storage_error", "The object store no longer has the upload.")
            return
        try:
            with item.timed("decode"):
                # Twice the network's input is enough to scale down from without aliasing.
                _, photo = decode(content, self._storage.settings, at_least=2 * segmenter.card.input_size)
                item.pixels = segmenter.to_input(photo)
        except Problem as problem:
            item.problem = problem
        except Exception:
            log.exception("%s: preparing failed", item.job.id)
            item.problem = Problem("internal", "The photo could not be prepared.")

    def _wait_decoded(self, batch: MicroBatch, drainer: str) -> None:
        done, late = wait(batch.fetching, timeout=self._storage.settings.lease_s / 2)
        if late:
            self._leave_behind(batch)
        for future in done:
            future.result()
        self._extend(batch, drainer)

    def _leave_behind(self, batch: MicroBatch) -> None:
        """Photos on which a decoder hangs: each loses its own lease, and its thread is lost to this process.

        Raises Unavailable where it is the object store that hangs.
        """
        rows = list(zip(batch.items, batch.fetching, strict=True))
        if any(future.running() and "fetch" not in item.timings_ms for item, future in rows):
            raise Unavailable("object store: no photo within half a lease")
        waiting = [item.job.id for item, future in rows if future.cancel()]  # only stood behind them
        self._storage.jobs.release(batch.token, waiting)
        for item, future in rows:
            if not future.done():
                log.error("%s: decoding hangs, left behind", item.job.id)
                self._hung += 1
        batch.items = [item for item, future in rows if future.done() and not future.cancelled()]
        self._fetchers = ThreadPoolExecutor(FETCHERS, "fetch")

    def _extend(self, batch: MicroBatch, drainer: str) -> None:
        """Renew the leases because a stage was finished; what was cancelled or lost meanwhile is let go."""
        ids = [item.job.id for item in batch.items]
        states = self._storage.jobs.extend(batch.token, drainer, self._worker, ids)
        for item, state in zip(batch.items, states, strict=True):
            if state == "canceled":
                item.pixels = item.logits = None
                item.problem = Problem("canceled", "A request canceled the job while it was running.")
        batch.items = [item for item, state in zip(batch.items, states, strict=True) if state != "lost"]

    def _infer(self, segmenter: Segmenter, items: Sequence[Item]) -> None:
        """One forward pass. If it raises, the halves are tried, down to the one image that is to blame."""
        if not items:
            return
        started = time.perf_counter()
        try:
            logits = segmenter.engine.logits(np.stack([item.pixels for item in items if item.pixels is not None]))
        except Exception:
            if len(items) == 1:
                log.exception("%s: forward pass failed", items[0].job.id)
                items[0].problem = Problem("internal", "The model failed on this image.")
                return
            middle = len(items) // 2
            self._infer(segmenter, items[:middle])
            self._infer(segmenter, items[middle:])
            return
        elapsed = round((time.perf_counter() - started) * 1000)
        for item, one in zip(items, logits, strict=True):
            item.logits, item.timings_ms["infer"] = one, elapsed

    def _store(self, batch: MicroBatch) -> None:
        batch.storing = [self._storers.submit(self._store_one, batch, item) for item in batch.items]

    def _store_one(self, batch: MicroBatch, item: Item) -> Finished:
        """Stages encode and store: the result object, then what `finish` is to be told."""
        mask, outcome = self._encode(batch.segmenter, item)
        objects, job = self._storage.objects, item.job
        with item.timed("store"):
            if job.again:
                return Finished(job.id, *objects.put_result_after_others(job.spec, batch.token, outcome, mask))
            return Finished(job.id, objects.put_result(job.spec, batch.token, outcome, mask), outcome)

    def _encode(self, segmenter: Segmenter, item: Item) -> tuple[bytes, Outcome]:
        if item.problem is None:
            try:
                return succeeded(item, segmenter)
            except Exception:
                log.exception("%s: encoding failed", item.job.id)
        problem = item.problem or Problem("internal", "The mask could not be encoded.")
        return b"", Outcome.of_problem(item.job.id, problem, item.timings_ms)

    def _finish(self, batch: MicroBatch, held: list[MicroBatch]) -> None:
        finished = [future.result() for future in batch.storing]
        now = time.monotonic()
        busy_ms = round((now - max(self._finished_at, batch.claimed_at)) * 1000)
        self._finished_at = now
        answers = self._storage.jobs.finish(batch.token, self._worker, max(1, busy_ms), finished) if finished else []
        held.remove(batch)
        if self._storage.jobs.outbox.unheard():
            self._storage.tickets.record()
        for answer, one in zip(answers, finished, strict=True):
            if answer == "lost":
                log.warning("%s: it has ended otherwise", one.job_id)
                self._storage.objects.remove(RESULTS, one.result_key)
            elif answer == "superseded":
                log.warning("%s: another attempt has it", one.job_id)
            elif one.outcome.error:
                log.warning("%s: %s", one.job_id, one.outcome.error["code"])

    def _give_back(self, batch: MicroBatch) -> None:
        futures: list[Future[Any]] = [*batch.fetching, *batch.storing]
        for future in futures:
            future.cancel()
        try:
            self._storage.jobs.release(batch.token, [item.job.id for item in batch.items])
        except redis.RedisError as error:
            log.warning("leases of %s run out by themselves: %s", batch.token, error)


def succeeded(item: Item, segmenter: Segmenter) -> tuple[bytes, Outcome]:
    """The mask at the photo's upright size as a PNG that carries what is told about it, and how sure the model was."""
    spec, card, logits = item.job.spec, segmenter.card, item.logits
    if logits is None:
        raise ValueError("no logits: it never went through the engine")
    with item.timed("encode"):
        mask, sure = to_mask(logits, spec.width, spec.height), confidence(logits)
        # np.bincount would copy the mask to int64 first.
        counts = [int(np.count_nonzero(mask == label.id)) for label in card.labels]
        model = {"name": card.name, "version": card.version}
        result: dict[str, Any] = {
            "width": spec.width,
            "height": spec.height,
            "classes": [
                {**label.to_dict(), "pixels": count, "fraction": round(count / mask.size, 6)}
                for label, count in zip(card.labels, counts, strict=True)
            ],
            "confidence": round(float(sure.mean()), 4),
        }
        outcome = Outcome(Status.SUCCEEDED, model, result, item.timings_ms)
        text = {"segue:job": spec.id, "segue:model": f"{card.name}/{card.version}", OUTCOME_TEXT: outcome.to_json()}
        levels = to_levels(sure, MOST)
        content = to_mask_png(mask, card.labels, text, {CHUNK: pack(levels.tobytes(), levels.shape[1])})
    return content, outcome.with_digest(content)
