"""Erases jobs past their retention, objects that no job refers to, and old batches."""

import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from storage import clock, keys
from storage.connection import Storage
from storage.job import LONGEST_DEADLINE_S
from storage.keys import Owner
from storage.lifecycle import expire
from storage.objects import RESULTS, UPLOADS
from storage.training import erasure

ERASERS = 4
LONGEST_DEADLINE_MS = LONGEST_DEADLINE_S * 1000
POSTPONED_MS = 60_000  # until a job is tried again that has a running re-run
AT_MOST_S = 600.0  # after that another housekeeper may try

log = logging.getLogger(__name__)


def clean(storage: Storage) -> int:
    """Erase what is due, and return how many jobs."""
    with storage.jobs.locks.alone("janitor", AT_MOST_S) as chosen:
        if not chosen:
            return 0
        erased = _erase_due(storage) + sum(_erase(storage, _forgotten(storage)))
        for tenant, batch_id in _old_batches(storage):
            storage.batches.erase(tenant, batch_id)
        erasure.complete(storage.objects, storage.jobs)
    if erased:
        log.info("jobs_erased", extra={"count": erased})
    return erased


def _erase(storage: Storage, owners: Iterable[Owner]) -> list[bool]:
    """Returns whether each has been erased."""
    with ThreadPoolExecutor(ERASERS) as pool:
        return list(pool.map(lambda owner: expire(storage.objects, storage.jobs, *owner), owners))


def _erase_due(storage: Storage) -> int:
    """Erase ended jobs past their retention, as Redis lists them."""
    total = 0
    while ids := storage.jobs.ids.due():
        known = [(job.spec.tenant, job.id) for job in storage.jobs.get_many(ids) if job]
        erased = _erase(storage, known)
        left = [job_id for (_, job_id), gone in zip(known, erased, strict=True) if not gone]
        storage.jobs.ids.postpone(left, POSTPONED_MS)
        # If a job hash expired by itself, its objects lie in an old hour, where `_forgotten` finds them.
        if done := [job_id for job_id in ids if job_id not in left]:
            storage.jobs.ids.unretain(done)
        total += sum(erased)
    return total


def _forgotten(storage: Storage) -> Iterator[Owner]:
    """Objects past their retention without a job hash, for example after a loss of Redis."""
    over_ms = clock.now_ms() - storage.settings.retention_s * 1000
    hours = storage.objects.folders(UPLOADS) | storage.objects.folders(RESULTS)
    for hour in sorted(hour for hour in hours if hour <= keys.hour_of(over_ms)):
        # A job without a result may be open until its deadline; a job with one ended when the result was written.
        uploads, results = (storage.objects.of_jobs(bucket, hour) for bucket in (UPLOADS, RESULTS))
        ended_ms = {owner: keys.created_ms(owner[1]) + LONGEST_DEADLINE_MS for owner, _ in uploads}
        ended_ms |= {owner: result.modified_ms for owner, result in results}
        unknown = set(storage.jobs.ids.unknown([job_id for _, job_id in ended_ms]))
        yield from (owner for owner, ms in ended_ms.items() if owner[1] in unknown and ms < over_ms)


def _old_batches(storage: Storage) -> Iterator[Owner]:
    """Batches so old that every job must be past its retention, and which hold no jobs any more."""
    over_ms = clock.now_ms() - storage.settings.retention_s * 1000 - LONGEST_DEADLINE_MS
    for tenant, batch_id in storage.batches.all():
        if keys.created_ms(batch_id) < over_ms and not any(storage.batches.live.job_ids(batch_id)):
            yield tenant, batch_id
