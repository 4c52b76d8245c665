"""Makes re-runs: jobs in the bulk lane that segment the photos of ended jobs with another model version.

A re-run's id is computed from the old job's id and the version, so a repeated backfill makes none twice. A re-run has a
copy of the photo, which is erased with the old job at the latest (storage/lifecycle.py).
"""

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter
from typing import cast

from storage import clock, keys, lifecycle
from storage.batch import BatchSpec
from storage.connection import Storage
from storage.job import Job, Spec
from storage.keys import Lane
from storage.problems import Unavailable
from storage.records.stored_results import StoredResult
from storage.recovery import recover

# All re-runs are one party, which takes turns in the bulk lane. They count against no tenant's quota.
# No tenant has this name.
PARTY = "(backfill)"
COPIERS = 8
SHORTEST_KEPT_MS = 3600 * 1000  # a photo that will be erased within this time is left out
MARGIN_MS = 10 * 60 * 1000  # a re-run's deadline is at least this long before its erasure
PATIENCE_S, POLL_S = 60.0, 0.2


@dataclass(frozen=True)
class Made:
    """How many photos were queued, erased meanwhile, or left out because their owner has canceled today's batch."""

    queued: int = 0
    erased: int = 0
    canceled: int = 0

    def __add__(self, other: "Made") -> "Made":
        return Made(self.queued + other.queued, self.erased + other.erased, self.canceled + other.canceled)


class Reruns:
    """Makes the re-runs of one version. Every method raises Unavailable or redis.RedisError during an outage."""

    def __init__(self, storage: Storage, version: str) -> None:
        self._storage, self.version = storage, version
        self._opened: dict[str, BatchSpec] = {}

    def missing(self, photos: Sequence[StoredResult]) -> list[StoredResult]:
        """The photos that will be kept long enough and have had no re-run; an erased re-run counts as one."""
        photos = [photo for photo in photos if photo.retained_until_ms > clock.now_ms() + SHORTEST_KEPT_MS]
        ids = [keys.rerun(photo.job_id, self.version) for photo in photos]
        new = set(self._storage.jobs.ids.unknown(ids)) - set(self._storage.jobs.ids.erased_among(ids))
        return [photo for photo, job_id in zip(photos, ids, strict=True) if job_id in new]

    def unfinished(self) -> int:
        """How many re-runs wait or run."""
        jobs = self._storage.jobs
        waiting = jobs.client.zcard(keys.party_queue(Lane.BULK, PARTY, self.version))
        leased = jobs.get_many(cast(list[str], jobs.client.zrange(keys.leases(Lane.BULK), 0, -1)))
        return waiting + sum(job is not None and job.spec.party == PARTY for job in leased)

    def make(self, photos: Sequence[StoredResult]) -> Made:
        """Make a re-run of each photo, none of which has one, in this order: upload → manifest → job hash → ticket."""
        batches = {photo.tenant: self._batch(photo.tenant) for photo in photos}
        wanted = [photo for photo in photos if batches[photo.tenant]]
        old = self._old_jobs(wanted)
        start_ms = clock.now_ms()
        specs = [
            self._spec(job, photo, batch, start_ms + place)
            for place, (job, photo) in enumerate(zip(old, wanted, strict=True))
            if job and (batch := batches[photo.tenant])
        ]
        with ThreadPoolExecutor(COPIERS) as pool:
            stored = [spec for spec in pool.map(self._store, specs) if spec]
        self._add_to_manifests(stored)
        linked = self._enqueue(stored)
        return Made(linked, len(wanted) - linked, len(photos) - len(wanted))

    def close(self) -> None:
        """Close the batches to which this object has added re-runs."""
        for spec in self._opened.values():
            self._storage.batches.close(spec)

    def _batch(self, tenant: str) -> BatchSpec | None:
        """Open the tenant's batch of today unless it exists. None if its owner has canceled it."""
        now_ms, settings = clock.now_ms(), self._storage.settings
        batch_id = keys.backfill_batch(self.version, tenant, now_ms)
        found = self._storage.batches.get(tenant, batch_id)
        if found and found.canceled:
            return None
        if found:
            spec = found.spec
        else:
            name = f"backfill {self.version}"
            spec = BatchSpec(batch_id, tenant, name, Lane.BULK, self.version, settings.deadline_s, now_ms)
            self._storage.batches.open(spec)
        self._opened[batch_id] = spec
        return spec

    def _old_jobs(self, photos: Sequence[StoredResult]) -> list[Job | None]:
        """The jobs of the photos, recovered if Redis has lost them; None for each that was erased."""
        storage = self._storage
        found = storage.jobs.get_many([photo.job_id for photo in photos])
        return [
            job or recover(storage.objects, storage.jobs, photo.tenant, photo.job_id)
            for job, photo in zip(found, photos, strict=True)
        ]

    def _spec(self, job: Job, photo: StoredResult, batch: BatchSpec, created_ms: int) -> Spec:
        return replace(
            job.spec,
            id=keys.rerun(job.id, self.version),
            lane=Lane.BULK,
            model=self.version,
            created_ms=created_ms,  # keeps the order in the queue
            deadline_ms=min(created_ms + batch.deadline_s * 1000, photo.retained_until_ms - MARGIN_MS),
            key_hash="",
            fingerprint="",
            batch_id=batch.id,
            custom_id=job.id,
            filename=job.spec.filename or job.spec.custom_id.rpartition("/")[2],
            party=PARTY,
            request_id="",
            traceparent="",
            erase_by_ms=photo.retained_until_ms,
        )

    def _store(self, spec: Spec) -> Spec | None:
        """Copy the photo. Returns the spec of the stored upload, or None if the old job has been erased.

        If there already is an upload, an interrupted backfill stored it, or Redis has lost its job.
        """
        objects = self._storage.objects
        there = objects.spec(spec.tenant, spec.id)
        if there and recover(objects, self._storage.jobs, spec.tenant, spec.id):
            return there
        return spec if objects.copy_upload(spec.tenant, spec.custom_id, spec) else None

    def _add_to_manifests(self, stored: Iterable[Spec]) -> None:
        in_batches = sorted(stored, key=attrgetter("batch_id"))
        for batch_id, specs in groupby(in_batches, key=attrgetter("batch_id")):
            if batch_id in self._opened:  # else the upload is of an earlier day: listed then, or recovered
                self._storage.batches.add(self._opened[batch_id], [spec.id for spec in specs])

    def _enqueue(self, stored: Iterable[Spec]) -> int:
        """Queue the re-runs and link them to their old jobs. Erases a re-run whose old job was erased meanwhile.

        Returns how many remain.
        """
        missing = linked = 0
        for spec in stored:
            missing = self._storage.jobs.enqueue(spec)
            if self._storage.jobs.link(spec.custom_id, spec.id):
                linked += 1
            else:
                self._withdraw(spec)
        self._storage.tickets.send(missing)
        return linked

    def _withdraw(self, spec: Spec) -> None:
        """Erase the re-run, cancelling it if a worker processes it."""
        objects, jobs = self._storage.objects, self._storage.jobs
        give_up = time.monotonic() + PATIENCE_S
        while not lifecycle.erase(objects, jobs, spec.tenant, spec.id):
            if time.monotonic() > give_up:
                raise Unavailable(f"{spec.id} still runs, but its photo was erased: erase this job too")
            if job := jobs.get(spec.id):
                lifecycle.cancel(objects, jobs, job)
            time.sleep(POLL_S)
