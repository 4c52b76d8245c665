"""All jobs in Redis: job hashes, the pending set and leases.

Each transition is one Redis Function (storage/queue/lua/), so it is atomic and exactly one caller
wins:

    enqueue: → queued      claim: queued → running      finish: running → succeeded | failed | canceled | expired
    release, and the sweep of an expired lease: running → queued
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict

import redis

from storage.job import Finished, Job, Outcome, Spec, Status
from storage.offer import EVERYTHING, Offer
from storage.queue import idempotency
from storage.queue.answers import Cancellation, Cause, Ending, Lease, Swept
from storage.queue.binding import BINDING_MS, Binding
from storage.queue.epoch import Epoch
from storage.queue.erasing import Erasing
from storage.queue.functions import Functions
from storage.queue.idempotency import Idempotency
from storage.queue.job_ids import PAGE
from storage.queue.locks import Locks
from storage.queue.masks import COPY_MS, MaskCopies, copyable
from storage.queue.outbox import Outbox
from storage.queue.reader import JobReader
from storage.queue.server_run import ServerRun
from storage.queue.workers import Workers
from storage.settings import Settings

DRAINER_MS = 5_000
ISOLATED_LOSSES_MAKE_POISON = 3
TOMBSTONE_MS = 30 * 24 * 3600 * 1000


class RedisJobs(JobReader):
    """The transitions of jobs, and access to the rest of the queue.

    Raises redis.RedisError if Redis does not answer.
    """

    def __init__(self, client: redis.Redis, settings: Settings, server_run: ServerRun) -> None:
        self._run, self._settings = Functions(client), settings
        super().__init__(client, self._run, Epoch(client, server_run), settings.micro_batch)
        self.idempotency = Idempotency(client, self._run, self.epoch)
        self.locks, self.workers = Locks(client), Workers(client)
        self.outbox, self.erasing, self.masks = Outbox(client, self._run), Erasing(client), MaskCopies(client)

    @property
    def _lease_ms(self) -> int:
        return int(self._settings.lease_s * 1000)

    def enqueue(self, spec: Spec, again: bool = False, awaited: bool = False) -> int:
        """Queue the job of a stored upload, unless it has a job hash.

        Returns how many tickets are missing. `again`: the job may have been attempted before. `awaited`: a client
        waits for the job.
        """
        fields = [str(part) for pair in asdict(spec).items() for part in pair]
        if awaited:
            fields += ["awaited", "1"]
        _, missing = self._run(
            "enqueue", spec.id, spec.deadline_ms, self._settings.micro_batch, idempotency.TTL_MS, int(again),
            *fields, "pixels", spec.pixels,
        )  # fmt: skip
        return int(missing)

    def claim(self, token: str, drainer: str, worker: str, offer: Offer = EVERYTHING) -> list[Job]:
        """Lease the next micro-batch to `token`.

        Repeating the call with the same token returns the same jobs. `offer` resolves the aliases:
        all jobs of a micro-batch use one model version, which the worker does not refuse. Returns
        no jobs while Redis is not `intact`. If it returns none, the drainer is removed.
        """
        limits = self._settings
        records = self._run(
            "claim", token, drainer, worker, limits.micro_batch, limits.micro_batch_pixels,
            limits.micro_batch_bytes, self._lease_ms, DRAINER_MS, offer.to_json(),
            self.epoch.run_id(),
        )  # fmt: skip
        return [Job.from_fields(dict(zip(flat[::2], flat[1::2], strict=True))) for flat in records]

    def extend(self, token: str, drainer: str, worker: str, job_ids: Sequence[str]) -> list[Lease]:
        """Renew the leases after progress. Returns one state per id."""
        answers = self._run("extend", token, drainer, worker, self._lease_ms, DRAINER_MS, *job_ids)
        return [Lease(answer) for answer in answers]

    def finish(self, token: str, worker: str, busy_ms: int, finished: Sequence[Finished]) -> list[Ending]:
        """End the jobs whose results are stored. Returns one answer per job, the same if repeated.

        `busy_ms`: the wall time that the worker spent on this micro-batch; 0 if the caller is not a
        worker.
        """
        rows = [
            part
            for f in finished
            for part in (f.job_id, f.outcome.status, f.result_key, f.outcome.to_json(), copyable(f.mask))
        ]
        answers = self._run(
            "finish", token, worker, busy_ms, self._settings.retention_s * 1000, self._settings.micro_batch,
            self.epoch.run_id(), self._settings.copy_bytes, COPY_MS, *rows,
        )  # fmt: skip
        return [Ending(answer) for answer in answers]

    def release(self, token: str, job_ids: Sequence[str]) -> int:
        """Return leased jobs to the queue without counting a lost lease.

        Returns how many were still held.
        """
        return int(self._run("release", token, *job_ids)) if job_ids else 0

    def cancel(self, job_id: str, token: str) -> Cancellation | Status:
        """Lease a waiting job to the caller, or mark a running one.

        Returns the status of an ended job.
        """
        answer = str(self._run("cancel", job_id, token, self._lease_ms))
        return Cancellation(answer) if answer in list(Cancellation) else Status(answer)

    def cancel_soon(self, job_ids: Iterable[str]) -> None:
        """Cancel many jobs; the sweeper writes their results.

        A waiting job gets a lease that expires at once.
        """
        for job_id in job_ids:
            self._run("cancel", job_id, "", 0)

    def sweep(self, token: str, at_most: int = 1000) -> Swept:
        """Requeue jobs whose leases expired. Lease to `token` the jobs that must end."""
        back, ending = self._run("sweep", token, self._lease_ms, at_most, ISOLATED_LOSSES_MAKE_POISON)
        return Swept(list(back), [(job_id, Cause(cause)) for job_id, cause in ending])

    def tickets_missing(self, leaving_drainer: str = "") -> int:
        return int(self._run("tickets", leaving_drainer, self._settings.micro_batch))

    def reindex(self, job_ids: Sequence[str]) -> list[str]:
        """Requeue those of the jobs that are open but neither waiting nor leased.

        Returns their ids.
        """
        pages = (job_ids[start : start + PAGE] for start in range(0, len(job_ids), PAGE))
        return [job_id for page in pages for job_id in self._run("reindex", *page)]

    def retry(self, job_id: str, deadline_ms: int) -> bool:
        """Queue another attempt of a job that ended without a mask.

        Returns False for any other job.
        """
        return bool(self._run("retry", job_id, deadline_ms))

    def judge(self, job_id: str) -> None:
        """Note that a person has called the job's mask bad. A running rollout counts each job once."""
        self._run("judge", job_id)

    def restore(self, spec: Spec, outcome: Outcome, result_key: str, finished_ms: int) -> bool:
        """Write the job hash of an ended job from its objects.

        Returns False if the job hash has ended already.
        """
        fields = {
            **asdict(spec), "pixels": spec.pixels, "finished_ms": finished_ms, "result_key": result_key,
            "outcome": outcome.to_json(),
        }  # fmt: skip
        flat = [str(part) for pair in fields.items() for part in pair]
        retention_ms = self._settings.retention_s * 1000
        return bool(self._run("restore", spec.id, outcome.status, retention_ms, idempotency.TTL_MS, *flat))

    def link(self, job_id: str, rerun_id: str) -> bool:
        """Note a re-run in the job hash of the job whose photo it has.

        False if that job has been erased, or is being erased.
        """
        return bool(self._run("link", job_id, rerun_id))

    def bind(self, spec: Spec) -> Binding:
        """Bind the id of a batch's item to its image. Call it before storing the image."""
        return Binding(self._run("bind", spec.id, spec.sha256, BINDING_MS, self.epoch.run_id()))

    def begin_erase(self, job_id: str) -> Status | None:
        """Begin to erase a job, unless it is running.

        Returns its status before; None if unknown.
        """
        answer = self._run("begin_erase", job_id)
        return Status(answer) if answer else None

    def finish_erase(self, job_id: str, tenant: str) -> None:
        """Complete the erasure after the objects are gone: delete the job hash, leave a tombstone."""
        self._run("finish_erase", job_id, tenant, TOMBSTONE_MS)
