"""All batches: their manifests in the object store, and in Redis what has to be fast.

    batches/{tenant}/{batch_id}/batch.json    what was opened
    batches/{tenant}/{batch_id}/{n}.json      [job_id, …] of one append, before its 202; n sorts by time
    batches/{tenant}/{batch_id}/closed        "closed" or "canceled"

From the manifests a batch comes back after Redis was lost, with its name, items, order and counts. They hold no file
names: those are in the uploads, and erased with them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import uuid_utils

from storage import keys
from storage.batch import Batch, BatchSpec
from storage.job import Job, Status
from storage.objects import BATCHES, MinioObjects
from storage.problems import Unavailable
from storage.queue.jobs import TOMBSTONE_MS, RedisJobs
from storage.recovery import recover

CLOSED, CANCELED = "closed", "canceled"
RATE_ITEMS = 64  # the pace is that of the last so many
RECOVERERS = 8


class Batches:
    """Raises redis.RedisError or Unavailable when a part does not answer."""

    def __init__(self, objects: MinioObjects, jobs: RedisJobs) -> None:
        self._objects, self._jobs = objects, jobs

    def open(self, spec: BatchSpec) -> None:
        self._put(spec.tenant, spec.id, "batch.json", spec.to_json())
        self._remember(spec)

    def get(self, tenant: str, batch_id: str) -> Batch | None:
        """None for another tenant's as for an unknown one. Raises Unavailable while its items may be incomplete."""
        if not self._jobs.intact():
            raise Unavailable("Redis lost data; batches are being rebuilt")
        fields = self._jobs.client.hgetall(keys.batch(batch_id)) or self.rebuild(tenant, batch_id)
        if not fields or fields["tenant"] != tenant:
            return None
        with self._jobs.client.pipeline(transaction=False) as pipe:
            pipe.hgetall(keys.batch_counts(batch_id))
            pipe.zrange(keys.batch_done(batch_id), -RATE_ITEMS, -1)
            counts, latest = pipe.execute()
        return Batch(
            spec=BatchSpec.from_json(fields["spec"]),
            closed=bool(fields.get(CLOSED)),
            canceled=fields.get(CLOSED) == CANCELED,
            counts={status: int(counts.get(status, 0)) for status in Status},
            last=int(counts.get("last", 0)),
            rate_per_s=self._rate(latest),
        )

    def add(self, spec: BatchSpec, job_ids: list[str]) -> None:
        """Note stored uploads, before they get their records."""
        if job_ids:
            self._put(spec.tenant, spec.id, f"{uuid_utils.uuid7().hex}.json", json.dumps(job_ids))

    def close(self, spec: BatchSpec, how: str = CLOSED) -> None:
        """`how`: CLOSED or CANCELED; nothing can be added any more."""
        self._put(spec.tenant, spec.id, CLOSED, how)
        self._jobs.client.hset(keys.batch(spec.id), CLOSED, how)
        self._jobs.outbox.note(spec.id)
        self._jobs.client.publish(keys.EVENTS, f"- {how} {spec.id}")

    def job_ids(self, batch_id: str) -> Iterator[list[str]]:
        """Of the jobs in the order they were sent, in portions."""
        start, step = 0, 500
        while page := cast(list[str], self._jobs.client.zrange(keys.batch_jobs(batch_id), start, start + step - 1)):
            yield page
            start += step

    def jobs(self, batch_id: str) -> Iterator[Job]:
        """The records in the order they were sent."""
        for page in self.job_ids(batch_id):
            yield from filter(None, self._jobs.get_many(page))

    def ended(self, batch_id: str, after: int, most: int) -> list[tuple[int, Job]]:
        """Up to `most` ended items with a number above `after`, in the order they ended, with their numbers."""
        numbered = cast(
            list[tuple[str, float]],
            self._jobs.client.zrange(
                keys.batch_done(batch_id), f"({after}", "+inf", byscore=True, offset=0, num=most, withscores=True
            ),
        )
        jobs = self._jobs.get_many([job_id for job_id, _ in numbered])
        return [(int(number), job) for (_, number), job in zip(numbered, jobs, strict=True) if job]

    def all(self) -> list[tuple[str, str]]:
        """(tenant, batch id) of every batch in the object store."""
        listed = self._objects.listing(BATCHES, "")
        owners = {(tenant, batch_id) for tenant, batch_id, *_ in (entry.key.split("/") for entry in listed)}
        return sorted(owner for owner in owners if keys.is_batch_id(owner[1]))

    def erase(self, tenant: str, batch_id: str) -> None:
        """Its manifests and what Redis knows of it; its jobs are erased by themselves."""
        for listed in self._objects.listing(BATCHES, keys.batch_object(tenant, batch_id)):
            self._objects.remove(BATCHES, listed.key)
        parts = (keys.batch, keys.batch_counts, keys.batch_jobs, keys.batch_done)
        self._jobs.client.delete(*(part(batch_id) for part in parts))
        self._jobs.client.set(keys.gone(batch_id), tenant, px=TOMBSTONE_MS)
        self._jobs.outbox.note(batch_id)

    def as_opened(self, batch_ids: Sequence[str]) -> list[tuple[BatchSpec, str]]:
        """Specs and how they were closed ("" while they are open) of those that Redis knows. One round trip."""
        with self._jobs.client.pipeline(transaction=False) as pipe:
            for batch_id in batch_ids:
                pipe.hmget(keys.batch(batch_id), "spec", CLOSED)
            return [(BatchSpec.from_json(spec), closed or "") for spec, closed in pipe.execute() if spec]

    def _rate(self, latest: list[str]) -> float | None:
        if len(latest) < 2:
            return None
        first, last = self._jobs.get_many([latest[0], latest[-1]])
        if not first or not last:
            return None
        return (len(latest) - 1) * 1000 / max(1, last.finished_ms - first.finished_ms)

    def _put(self, tenant: str, batch_id: str, name: str, text: str) -> None:
        key = keys.batch_object(tenant, batch_id, name)
        self._objects.put(BATCHES, key, text.encode(), "application/json")

    def _remember(self, spec: BatchSpec, closed: str = "") -> dict[str, str]:
        fields = {"tenant": spec.tenant, "spec": spec.to_json(), CLOSED: closed}
        self._jobs.client.hset(keys.batch(spec.id), mapping=fields)  # type: ignore[arg-type]
        if spec.key_hash:
            self._jobs.remember_key(spec)
        self._jobs.outbox.note(spec.id)
        return fields

    def rebuild(self, tenant: str, batch_id: str) -> dict[str, str] | None:
        """What Redis lacks of a batch, from its manifests and its jobs' objects. None where there is no such batch."""
        content = self._objects.get(BATCHES, keys.batch_object(tenant, batch_id, "batch.json"))
        if content is None:
            return None
        closed = self._objects.get(BATCHES, keys.batch_object(tenant, batch_id, CLOSED)) or b""
        for page in self._manifests(tenant, batch_id):
            lost = self._jobs.without_record(page)
            with ThreadPoolExecutor(RECOVERERS) as pool:
                list(pool.map(lambda job_id: recover(self._objects, self._jobs, tenant, job_id), lost))
        return self._remember(BatchSpec.from_json(content), closed.decode())

    def _manifests(self, tenant: str, batch_id: str) -> Iterator[list[str]]:
        """The job ids of each append, in order."""
        listed = self._objects.listing(BATCHES, keys.batch_object(tenant, batch_id))
        for key in sorted(entry.key for entry in listed):
            name = key.rpartition("/")[2]
            if name.endswith(".json") and name != "batch.json":
                content = self._objects.get(BATCHES, key)
                yield json.loads(content or b"[]")
