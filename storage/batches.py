"""All batches: manifests in the object store, fast state in Redis.

    batches/{tenant}/{batch_id}/batch.json    the batch's options
    batches/{tenant}/{batch_id}/{n}.json      [job_id, …] of one append, written before its 202
    batches/{tenant}/{batch_id}/closed        "closed" or "canceled"

The names {n} sort by time.

After a loss of Redis, a batch is rebuilt from its manifests with its name, items, order and counts.
Manifests hold no file names: those are in the uploads and are erased with them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import uuid_utils

from storage import keys, object_keys
from storage.batch import Batch, BatchSpec
from storage.job import Job, Status
from storage.objects import BATCHES, MinioObjects
from storage.problems import Unavailable
from storage.queue.batches import CANCELED, CLOSED, COMPLETE_IN, RedisBatches
from storage.queue.jobs import RedisJobs
from storage.recovery import recover

RECOVERERS = 8
REBUILD_S = 60.0  # a rebuild that takes longer loses its lock, and another process may start one


class Batches:
    """Every method raises redis.RedisError or Unavailable if Redis or the object store does not
    answer.
    """

    def __init__(self, objects: MinioObjects, jobs: RedisJobs) -> None:
        self._objects, self._jobs, self.live = objects, jobs, RedisBatches(jobs.client)

    def open(self, spec: BatchSpec) -> None:
        self._put(spec.tenant, spec.id, "batch.json", spec.to_json())
        self._remember(spec)

    def get(self, tenant: str, batch_id: str) -> Batch | None:
        """None for an unknown batch and for another tenant's.

        Raises Unavailable while Redis may lack some of its items.
        """
        if not self._jobs.epoch.intact():
            raise Unavailable("Redis lost data; batches are being rebuilt")
        fields = self.live.fields(batch_id)
        if fields and fields["tenant"] != tenant:
            return None
        if fields.get(COMPLETE_IN) != self._jobs.epoch.run_id():
            fields = self.rebuild(tenant, batch_id) or {}
        if not fields:
            return None
        progress = self.live.progress(batch_id)
        return Batch(
            spec=BatchSpec.from_json(fields["spec"]),
            closed=bool(fields.get(CLOSED)),
            canceled=fields.get(CLOSED) == CANCELED,
            counts={status: progress.counts.get(status, 0) for status in Status},
            last=progress.counts.get("last", 0),
            rate_per_s=self._rate(progress.latest),
        )

    def add(self, spec: BatchSpec, job_ids: list[str]) -> None:
        """Write the manifest of stored uploads. Call it before their job hashes are created."""
        if job_ids:
            self._put(spec.tenant, spec.id, f"{uuid_utils.uuid7().hex}.json", json.dumps(job_ids))

    def close(self, spec: BatchSpec, how: str = CLOSED) -> None:
        """Refuse further items. `how`: CLOSED or CANCELED."""
        self._put(spec.tenant, spec.id, CLOSED, how)
        self.live.close(spec.id, how)
        self._jobs.outbox.note(spec.id)

    def jobs(self, batch_id: str) -> Iterator[Job]:
        """The jobs of the batch, in the order in which they were created."""
        for page in self.live.job_ids(batch_id):
            yield from filter(None, self._jobs.get_many(page))

    def ended(self, batch_id: str, after: int, most: int) -> list[tuple[int, Job]]:
        """Up to `most` ended items numbered above `after`, each with its number, in the order they
        ended.
        """
        numbered = self.live.ended(batch_id, after, most)
        jobs = self._jobs.get_many([job_id for job_id, _ in numbered])
        return [(number, job) for (_, number), job in zip(numbered, jobs, strict=True) if job]

    def all(self) -> list[tuple[str, str]]:
        """(tenant, batch id) of every batch in the object store."""
        listed = self._objects.listing(BATCHES, "")
        owners = {(tenant, batch_id) for tenant, batch_id, *_ in (entry.key.split("/") for entry in listed)}
        return sorted(owner for owner in owners if keys.is_batch_id(owner[1]))

    def erase(self, tenant: str, batch_id: str) -> None:
        """Erase the manifests and the state in Redis. The batch's jobs are erased separately."""
        for listed in self._objects.listing(BATCHES, object_keys.batch(tenant, batch_id)):
            self._objects.remove(BATCHES, listed.key)
        self.live.erase(batch_id, tenant)
        self._jobs.outbox.note(batch_id)

    def _rate(self, latest: list[str]) -> float | None:
        if len(latest) < 2:
            return None
        first, last = self._jobs.get_many([latest[0], latest[-1]])
        if not first or not last:
            return None
        return (len(latest) - 1) * 1000 / max(1, last.finished_ms - first.finished_ms)

    def _put(self, tenant: str, batch_id: str, name: str, text: str) -> None:
        key = object_keys.batch(tenant, batch_id, name)
        self._objects.put(BATCHES, key, text.encode(), "application/json")

    def _remember(self, spec: BatchSpec, closed: str = "", run_id: str = "") -> dict[str, str]:
        fields = self.live.remember(spec, closed, run_id or self._jobs.epoch.run_id())
        if spec.key_hash:
            self._jobs.idempotency.remember(spec)
        self._jobs.outbox.note(spec.id)
        return fields

    def rebuild(self, tenant: str, batch_id: str) -> dict[str, str] | None:
        """Rebuild the batch in Redis from its manifests and its jobs' objects; None if unknown.

        Each batch needs this once after Redis restarts: at the first request for it, or when the
        housekeeper reaches it. Raises Unavailable while another process rebuilds it.
        """
        run_id = self._jobs.epoch.run_id()
        content = self._objects.get(BATCHES, object_keys.batch(tenant, batch_id, "batch.json"))
        if content is None:
            return None
        with self._jobs.locks.alone(f"batch:{batch_id}", REBUILD_S) as chosen:
            if not chosen:
                raise Unavailable("Redis lost data; the batch is being rebuilt")
            closed = self._objects.get(BATCHES, object_keys.batch(tenant, batch_id, CLOSED)) or b""
            for page in self._manifests(tenant, batch_id):
                lost = self._jobs.ids.unknown(page)
                with ThreadPoolExecutor(RECOVERERS) as pool:
                    list(pool.map(lambda job_id: recover(self._objects, self._jobs, tenant, job_id), lost))
            return self._remember(BatchSpec.from_json(content), closed.decode(), run_id)

    def _manifests(self, tenant: str, batch_id: str) -> Iterator[list[str]]:
        """The job ids of each append, in order."""
        listed = self._objects.listing(BATCHES, object_keys.batch(tenant, batch_id))
        for key in sorted(entry.key for entry in listed):
            name = key.rpartition("/")[2]
            if name.endswith(".json") and name != "batch.json":
                content = self._objects.get(BATCHES, key)
                yield json.loads(content or b"[]")
