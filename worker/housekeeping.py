"""What keeps the promise that nothing is lost: sweep (seconds), reconcile (30 s), adopt (minutes, or after a loss).

Each may run in several housekeepers at once: what they do to a job is atomic or changes nothing twice.
"""

import logging
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from storage import Storage, keys
from storage.job import Finished, Outcome
from storage.objects import RESULTS, UPLOADS, Listed
from storage.problems import Problem
from storage.recovery import recover

NARROW, WIDE = timedelta(hours=1), timedelta(days=7)  # no deadline is longer, so nothing open is older
ADOPTERS = 8
ADOPTION_S = 300.0  # after that another housekeeper may try
VERDICTS = {
    "canceled": Problem("canceled", "It was cancelled."),
    "expired": Problem("expired", "It was not finished before its deadline."),
    "poisoned": Problem("poisoned", "Three workers in a row ended while they had this image alone."),
}

log = logging.getLogger(__name__)


def sweep(storage: Storage) -> None:
    """Lost leases back in line, cancelled, expired and poisonous jobs to their end, missing tickets sent."""
    jobs, token = storage.jobs, uuid4().hex
    swept = jobs.sweep(token)
    for job_id in swept.put_back:
        log.warning("%s: its worker was lost, back in line", job_id)
    with ThreadPoolExecutor(ADOPTERS) as pool:
        list(pool.map(lambda ending: _end(storage, ending[0], token, VERDICTS[ending[1]]), swept.ending))
    storage.tickets.send(jobs.tickets_missing())


def _end(storage: Storage, job_id: str, token: str, problem: Problem) -> None:
    """Write the result of a job leased to `token` and finish it. If this fails, the lease runs out: next sweep."""
    job = storage.jobs.get(job_id)
    if job is None:
        return
    outcome = Outcome.of_problem(job_id, problem)
    key = storage.objects.put_result(job.spec, token, outcome)
    storage.jobs.finish(token, "housekeeper", 0, [Finished(job_id, key, outcome)])
    log.warning("%s: %s", job_id, problem.code)


def reconcile(storage: Storage) -> int:
    """Open jobs that are neither waiting nor leased go back in line. → how many"""
    back = [job_id for page in storage.jobs.open_ids() for job_id in storage.jobs.reindex(page)]
    for job_id in back:
        log.warning("%s: was open but in no line, back in line", job_id)
    return len(back)


def adopt(storage: Storage, window: timedelta, older_than_s: float) -> int:
    """Uploads with neither record nor result are accepted jobs that Redis has lost: in line again. → how many

    A young upload may still be on its way to its first record; adopting it too early would do no harm.
    """
    newest_ms = (time.time() - older_than_s) * 1000
    adopted = 0
    with ThreadPoolExecutor(ADOPTERS) as pool:
        for hour in _hours(window):
            # Uploads first: a result that appears between the two listings then hides an upload, not the reverse.
            uploads = (
                entry for entry in storage.objects.listing(UPLOADS, f"{hour}/") if entry.modified_ms <= newest_ms
            )
            lost = _without_record(storage, uploads)
            if lost:
                lost -= _owners(storage.objects.listing(RESULTS, f"{hour}/"))
            adopted += sum(pool.map(lambda one: _adopt_one(storage, *one), lost))
    if adopted:
        storage.tickets.send(storage.jobs.tickets_missing())
    return adopted


def _adopt_one(storage: Storage, tenant: str, job_id: str) -> bool:
    try:
        return recover(storage.objects, storage.jobs, tenant, job_id) is not None
    except (ValueError, TypeError):  # its metadata are not ours: the others must not suffer
        log.exception("%s: cannot be adopted", job_id)
        return False


def adopt_after_loss(storage: Storage) -> None:
    """If this Redis is another than before, or was emptied, look through everything that can still be open."""
    if storage.jobs.intact():
        return
    with storage.jobs.alone("adopt", ADOPTION_S) as chosen:  # a sweep is due every few seconds, one look is enough
        if not chosen:
            return
        started = time.monotonic()
        adopted = adopt(storage, WIDE, older_than_s=0)
        for tenant, batch_id in storage.batches.since(datetime.now(UTC) - WIDE):
            storage.batches.get(tenant, batch_id)  # makes it again, with those of its items that had ended
        storage.jobs.mark_intact()
    log.warning("Redis is new or was emptied: %d jobs adopted in %.1f s", adopted, time.monotonic() - started)


def _hours(window: timedelta) -> Iterator[str]:
    now = datetime.now(UTC)
    for back in range(int(window.total_seconds() // 3600) + 1):
        yield (now - timedelta(hours=back)).strftime("%Y%m%d%H")


def _without_record(storage: Storage, uploads: Iterable[Listed]) -> set[tuple[str, str]]:
    owners = sorted(_owners(uploads))
    unknown = set(storage.jobs.without_record([job_id for _, job_id in owners]))
    return {(tenant, job_id) for tenant, job_id in owners if job_id in unknown}


def _owners(listed: Iterable[Listed]) -> set[tuple[str, str]]:
    """(tenant, job id) of each object."""
    return {owner for owner in (keys.owner(entry.key) for entry in listed) if owner}
