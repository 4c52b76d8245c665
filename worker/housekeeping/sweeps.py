"""What keeps the promise that nothing is lost: sweep (seconds), reconcile (30 s), adopt (minutes, or after a loss).

Each may run in several housekeepers at once: what they do to a job is atomic or changes nothing twice.
"""

import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from storage import keys, lifecycle
from storage.connection import Storage
from storage.job import LONGEST_DEADLINE_S
from storage.objects import RESULTS, UPLOADS, Listed
from storage.queue.jobs import IDEMPOTENCY_TTL_MS
from storage.queue.tickets import BACKFILL
from storage.recovery import recover

NARROW, WIDE = timedelta(hours=1), timedelta(seconds=LONGEST_DEADLINE_S)
CLOCKS_APART = timedelta(hours=1)  # the web's, which the ids are made by, and Redis'
HOUR_MS = 3600 * 1000
ADOPTERS = 8
KEYS_LAST = timedelta(milliseconds=IDEMPOTENCY_TTL_MS)
ADOPTION_S = 300.0  # after that another housekeeper may try

log = logging.getLogger(__name__)


def sweep(storage: Storage) -> None:
    """Lost leases back in line, cancelled, expired and poisonous jobs to their end, missing tickets sent."""
    jobs, token = storage.jobs, keys.new_token()
    swept = jobs.sweep(token)
    for job_id in swept.put_back:
        log.warning("%s: its worker was lost, back in line", job_id)
    with ThreadPoolExecutor(ADOPTERS) as pool:
        list(pool.map(lambda ending: _end(storage, token, *ending), swept.ending))
    storage.tickets.send(jobs.tickets_missing())


def _end(storage: Storage, token: str, job_id: str, verdict: str) -> None:
    job = storage.jobs.get(job_id)
    if job:
        status = lifecycle.end(storage.objects, storage.jobs, job, token, verdict)
        log.warning("%s: %s, ended as %s", job_id, verdict, status)


def reconcile(storage: Storage) -> int:
    """Open jobs that are neither waiting nor leased go back in line. → how many"""
    back = [job_id for page in storage.jobs.open_ids() for job_id in storage.jobs.reindex(page)]
    for job_id in back:
        log.warning("%s: was open but in no line, back in line", job_id)
    return len(back)


def adopt(storage: Storage, window: timedelta, older_than_s: float, behind: frozenset[str] | None = None) -> int:
    """Uploads with neither record nor result are accepted jobs that Redis has lost: in line again. → how many

    A young upload may still be on its way to its first record; adopting it too early would do no harm. `behind`: given
    for a whole look; open jobs that may have ended after all: those that have a result get it, those without an upload
    were erased.
    """
    newest_ms = (time.time() - older_than_s) * 1000
    adopted, missing = 0, set(behind or ())
    with ThreadPoolExecutor(ADOPTERS) as pool:
        for hour in sorted({*hours(window), *map(keys.hour, behind or ())}):
            # Uploads first: a result that appears between the two listings then hides an upload, not the reverse.
            found = storage.objects.of_jobs(UPLOADS, hour)
            uploads = {owner for owner, upload in found if upload.modified_ms <= newest_ms}
            lost = _without_record(storage, uploads)
            if behind is not None:  # the list of open jobs may be what was lost
                missing.update(storage.jobs.reindex([job_id for _, job_id in uploads - lost]))
            late = {owner for owner in uploads if owner[1] in missing}
            missing -= {job_id for _, job_id in late}
            ended = {owner for owner, _ in storage.objects.of_jobs(RESULTS, hour)} if lost or late else set()
            adopted += sum(pool.map(lambda owner: _adopt_one(storage, owner, []), lost - ended))
            list(pool.map(lambda owner: _adopt_one(storage, owner), late & ended))
    for job in filter(None, storage.jobs.get_many(sorted(missing))):
        if storage.objects.spec(job.spec.tenant, job.id) is None:
            log.warning("%s: had been erased", job.id)
            lifecycle.forget(storage.objects, storage.jobs, job.spec.tenant, job.id)
    if adopted:
        storage.tickets.send(storage.jobs.tickets_missing())
    return adopted


def _adopt_one(storage: Storage, owner: keys.Owner, results: list[Listed] | None = None) -> bool:
    try:
        return recover(storage.objects, storage.jobs, *owner, results) is not None
    except (ValueError, TypeError):  # its metadata are not ours: the others must not suffer
        log.exception("%s: cannot be adopted", owner[1])
        return False


def adopt_after_loss(storage: Storage) -> bool:
    """If this Redis is another than before, or was emptied, look through everything that can still be open.

    → whether Redis is intact (now). Until then records may be older than what they tell of: nobody may act on them.
    """
    if storage.jobs.intact():
        if not storage.jobs.intact(keys.KEYED):  # somebody is at it, or has died over it
            restore_keys(storage, KEYS_LAST)
        return True
    run_id = storage.jobs.run_id()
    with storage.jobs.alone("adopt", ADOPTION_S) as chosen:  # a sweep is due every few seconds, one look is enough
        if not chosen:
            return False
        started = time.monotonic()
        behind = frozenset(storage.jobs.unfinished_ids())
        age_s = storage.jobs.state_age_s()
        # What was accepted since then has an id of that hour or a later one; what has ended since was open then.
        window = WIDE if age_s is None else min(WIDE, timedelta(seconds=age_s) + CLOCKS_APART)
        adopted = adopt(storage, window, older_than_s=0, behind=behind)
        oldest = min(hours(WIDE))
        for tenant, batch_id in storage.batches.all():
            if keys.hour(batch_id) >= oldest:
                storage.batches.rebuild(tenant, batch_id)
        storage.jobs.mark_intact(run_id, [keys.EPOCH])
    storage.tickets.record(BACKFILL)
    log.warning("Redis is new or was emptied: %d jobs adopted in %.1f s", adopted, time.monotonic() - started)
    restore_keys(storage, min(window, KEYS_LAST))
    return True


def restore_keys(storage: Storage, window: timedelta) -> None:
    """Lost jobs that had ended come back too, for their idempotency keys may be sent again; those that are older, when
    they are asked for. This takes as long as the day was busy, so work goes on meanwhile.
    """
    run_id = storage.jobs.run_id()
    with storage.jobs.alone("keys", ADOPTION_S) as chosen, ThreadPoolExecutor(ADOPTERS) as pool:
        if not chosen:
            return
        for hour in hours(window):
            uploads = {owner for owner, _ in storage.objects.of_jobs(UPLOADS, hour)}
            list(pool.map(lambda owner: _adopt_one(storage, owner), _without_record(storage, uploads)))
        storage.jobs.mark_intact(run_id, [keys.KEYED])


def hours(window: timedelta) -> Iterator[str]:
    now_ms = time.time_ns() // 1_000_000
    for back in range(-1, int(window.total_seconds() // 3600) + 1):  # somebody's clock may be ahead of ours
        yield keys.hour_of(now_ms - back * HOUR_MS)


def _without_record(storage: Storage, owners: set[keys.Owner]) -> set[keys.Owner]:
    unknown = set(storage.jobs.without_record([job_id for _, job_id in owners]))
    return {owner for owner in owners if owner[1] in unknown}
