"""Recovers lost work: sweep (every 2 s), reconcile (every 30 s), adopt (every few minutes, and after a loss of Redis).

Several housekeepers may run each at once: every step on a job is atomic or idempotent.
"""

import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta

from storage import clock, keys, lifecycle
from storage.connection import Storage
from storage.job import LONGEST_DEADLINE_S
from storage.objects import RESULTS, UPLOADS
from storage.problems import Unavailable
from storage.queue.answers import Cause
from storage.queue.idempotency import TTL_MS
from storage.recovery import recover
from storage.s3 import Listed

NARROW, WIDE = timedelta(hours=1), timedelta(seconds=LONGEST_DEADLINE_S)
CLOCKS_APART = timedelta(hours=1)  # between the web server, whose clock is in the ids, and Redis
HOUR_MS = 3600 * 1000
ADOPTERS = 8
KEYS_LAST = timedelta(milliseconds=TTL_MS)
ADOPTION_S = 300.0  # after that another housekeeper may try

log = logging.getLogger(__name__)


def sweep(storage: Storage) -> None:
    """Queue the jobs of expired leases again, end cancelled, expired and poisoned jobs, send missing tickets."""
    jobs, token = storage.jobs, keys.new_token()
    swept = jobs.sweep(token)
    for job in filter(None, jobs.get_many(swept.put_back) if swept.put_back else []):
        log.warning("lease_expired", extra=job.spec.log_fields)
    with ThreadPoolExecutor(ADOPTERS) as pool:
        list(pool.map(lambda ending: _end(storage, token, *ending), swept.ending))
    storage.tickets.send(jobs.tickets_missing())


def _end(storage: Storage, token: str, job_id: str, cause: Cause) -> None:
    job = storage.jobs.get(job_id)
    if job:
        lifecycle.end(storage.objects, storage.jobs, job, token, cause)


def reconcile(storage: Storage) -> int:
    """Queue open jobs that are neither waiting nor leased, and return how many."""
    back = [job_id for page in storage.jobs.ids.open() for job_id in storage.jobs.reindex(page)]
    for job_id in back:
        log.warning("job_requeued", extra={"job": job_id})
    return len(back)


def adopt(storage: Storage, window: timedelta, older_than_s: float, outdated: frozenset[str] | None = None) -> int:
    """Queue uploads with neither a job hash nor a result: jobs that Redis has lost. Return how many.

    `older_than_s`: minimum age of an upload. A recent one may not have its job hash yet; adopting it too early does no
    harm. `outdated`, given for a complete search: open jobs that may have ended. Those with a result receive it; those
    without an upload were erased, and are erased again.
    """
    newest_ms = (time.time() - older_than_s) * 1000
    adopted, missing = 0, set(outdated or ())
    with ThreadPoolExecutor(ADOPTERS) as pool:
        for hour in sorted({*hours(window), *map(keys.hour, outdated or ())}):
            # Uploads first: a result that appears between the two listings then hides an upload, not the reverse.
            found = storage.objects.of_jobs(UPLOADS, hour)
            uploads = {owner for owner, upload in found if upload.modified_ms <= newest_ms}
            lost = _unknown_to_redis(storage, uploads)
            if outdated is not None:  # the index of open jobs may itself be lost
                missing.update(storage.jobs.reindex([job_id for _, job_id in uploads - lost]))
            late = {owner for owner in uploads if owner[1] in missing}
            missing -= {job_id for _, job_id in late}
            ended = {owner for owner, _ in storage.objects.of_jobs(RESULTS, hour)} if lost or late else set()
            adopted += sum(pool.map(lambda owner: _adopt_one(storage, owner, []), lost - ended))
            list(pool.map(lambda owner: _adopt_one(storage, owner), late & ended))
    for job in filter(None, storage.jobs.get_many(sorted(missing))):
        if storage.objects.spec(job.spec.tenant, job.id) is None:
            log.warning("job_erased_again", extra=job.spec.log_fields)
            lifecycle.forget(storage.objects, storage.jobs, job.spec.tenant, job.id)
    if adopted:
        storage.tickets.send(storage.jobs.tickets_missing())
    return adopted


def _adopt_one(storage: Storage, owner: keys.Owner, results: list[Listed] | None = None) -> bool:
    try:
        return recover(storage.objects, storage.jobs, *owner, results) is not None
    except (ValueError, TypeError):  # foreign metadata must not stop the other jobs
        log.exception("adoption_failed", extra={"job": owner[1]})
        return False


def adopt_after_loss(storage: Storage) -> bool:
    """If Redis restarted or was flushed, rebuild everything that may still be open.

    Return whether the data in Redis is complete now. Until it is, job hashes may be out of date, and no process may act
    on them.
    """
    if storage.jobs.epoch.intact():
        if not storage.jobs.epoch.intact(keys.KEYED):  # another housekeeper is restoring them, or died doing so
            restore_keys(storage, KEYS_LAST)
        return True
    run_id = storage.jobs.epoch.run_id()
    with storage.jobs.locks.alone("adopt", ADOPTION_S) as chosen:  # sweeps are frequent; one search is enough
        if not chosen:
            return False
        started = time.monotonic()
        outdated = frozenset(storage.jobs.ids.unfinished())
        age_s = storage.jobs.epoch.state_age_s()
        # Jobs accepted since then have ids of that hour or later; jobs that ended since were open then.
        window = WIDE if age_s is None else min(WIDE, timedelta(seconds=age_s) + CLOCKS_APART)
        adopted = adopt(storage, window, older_than_s=0, outdated=outdated)
        storage.pausing.restore()
        storage.jobs.epoch.mark_intact(run_id, [keys.EPOCH])
    storage.tickets.record_missing()
    took_ms = round((time.monotonic() - started) * 1000)
    log.warning("redis_rebuilt", extra={"adopted": adopted, "ms": took_ms})
    restore_keys(storage, min(window, KEYS_LAST))
    return True


def restore_keys(storage: Storage, window: timedelta) -> None:
    """Restore the ended jobs of `window`, whose idempotency keys clients may repeat, and all batches.

    A GET restores an older job, or a batch that is not rebuilt yet. This may take long, depending on the day's jobs and
    all batches; workers run meanwhile.
    """
    run_id = storage.jobs.epoch.run_id()
    with storage.jobs.locks.alone("keys", ADOPTION_S) as chosen, ThreadPoolExecutor(ADOPTERS) as pool:
        if not chosen:
            return
        for hour in hours(window):
            uploads = {owner for owner, _ in storage.objects.of_jobs(UPLOADS, hour)}
            list(pool.map(lambda owner: _adopt_one(storage, owner), _unknown_to_redis(storage, uploads)))
        list(pool.map(lambda owner: _rebuild_batch(storage, *owner), storage.batches.all()))
        storage.jobs.epoch.mark_intact(run_id, [keys.KEYED])


def _rebuild_batch(storage: Storage, tenant: str, batch_id: str) -> None:
    if keys.hour(batch_id) < min(hours(WIDE)):
        return
    with suppress(Unavailable):  # a request is rebuilding it
        storage.batches.rebuild(tenant, batch_id)


def hours(window: timedelta) -> Iterator[str]:
    now_ms = clock.now_ms()
    for back in range(-1, int(window.total_seconds() // 3600) + 1):  # another machine's clock may be ahead
        yield keys.hour_of(now_ms - back * HOUR_MS)


def _unknown_to_redis(storage: Storage, owners: set[keys.Owner]) -> set[keys.Owner]:
    unknown = set(storage.jobs.ids.unknown([job_id for _, job_id in owners]))
    return {owner for owner in owners if owner[1] in unknown}
