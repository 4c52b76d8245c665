"""Keeps the records up to date: reads from Redis which jobs changed, and writes them to SQL in pages.

The function that changes a job also adds its id to a set in Redis, where it stays until the job has
been written. While SQL is down, the changes wait there.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.exc import DataError, IntegrityError

from storage import clock, feedback, keys, lifecycle, object_keys
from storage.connection import Storage
from storage.job import Job, Status
from storage.objects import FEEDBACK, RESULTS, UPLOADS, MinioObjects
from storage.records.audit_event import HOUSEKEEPER, Action, Counted, Event
from storage.training import reviews
from worker.housekeeping.sweeps import WIDE, hours

PAGE = 500
AT_MOST_S = 60.0  # after that another housekeeper may try
GIVE_WAY_S = 20.0
UNSTORABLE = (DataError, IntegrityError, KeyError, OverflowError, TypeError, ValueError)
DAY_MS = 24 * 3600 * 1000

log = logging.getLogger(__name__)

Change = tuple[str, float]


def record(storage: Storage) -> int:
    """Write what has changed, and return how many changes. Raises Unavailable; then the changes wait."""
    done, give_way = 0, time.monotonic() + GIVE_WAY_S
    with storage.jobs.locks.alone("record", AT_MOST_S) as chosen:
        while chosen and time.monotonic() < give_way:
            page = storage.jobs.outbox.first(PAGE)
            _write_isolating(_write, storage, page)
            storage.jobs.outbox.done(page)
            done += len(page)
            if len(page) < PAGE:  # later changes wait for the next run
                break
    return done


def _write_isolating(
    write: Callable[[Storage, Sequence[Change]], None], storage: Storage, page: Sequence[Change]
) -> None:
    """Write a page at once; if a row cannot be stored, write each alone, so that it does not block the others."""
    try:
        write(storage, page)
    except UNSTORABLE as error:
        if len(page) == 1:
            # Without the error's text, which may contain a file name.
            log.error("change_not_recordable", extra={"id": page[0][0], "error": type(error).__name__})
            return
        for change in page:
            _write_isolating(write, storage, [change])


def _write(storage: Storage, page: Sequence[Change]) -> None:
    revisions = {name: int(revision) for name, revision in page}
    job_ids = [name for name in revisions if keys.is_job_id(name)]
    batch_ids = [name for name in revisions if keys.is_batch_id(name)]
    jobs = [job for job in storage.jobs.get_many(job_ids) if job]
    opened = storage.batches.live.as_opened(batch_ids)
    storage.records.write(jobs)
    storage.records.write_batches(opened)
    # A job that is neither in Redis nor known as erased was lost; `record_missing` reads its objects.
    missing = {*job_ids, *batch_ids} - {job.id for job in jobs} - {spec.id for spec, _ in opened}
    storage.records.erase({name: revisions[name] for name in storage.jobs.ids.erased_among(sorted(missing))})
    others = revisions.keys() - {*job_ids, *batch_ids}
    reviewed = {name: owner for name in others if (owner := object_keys.reviewed(name))}
    said = (feedback.load(storage.objects, name) for name in others - reviewed.keys())
    storage.records.write_feedback(filter(None, said))
    _write_reviews(storage, list(reviewed.values()))


def _write_reviews(storage: Storage, owners: Sequence[keys.Owner]) -> None:
    found = {owner: reviews.load(storage.objects, *owner) for owner in owners}
    storage.reviews.write([reviews.row(review) for review in found.values() if review])
    storage.reviews.remove([job_id for (_, job_id), review in found.items() if review is None])


def tidy(storage: Storage, erased: int = 0) -> None:
    """Record new model versions and an audit event for the `erased` jobs, and delete what has expired.

    Deletes rows of jobs past their retention that Redis has lost, sessions and audit events. `erased`: the number of
    jobs whose retention ended. Raises Unavailable.
    """
    for version in set(storage.models.versions()) - storage.records.models():
        card, published_ms = storage.models.card(version), storage.models.published_ms(version)
        if card:
            storage.records.write_model(version, published_ms, card)
    overdue = storage.records.erase_overdue(clock.now_ms() - DAY_MS)
    if overdue:
        log.warning("overdue_records_erased", extra={"count": overdue})
    if erased or overdue:
        event = Event(Action.JOB_ERASED, HOUSEKEEPER, detail="retention ended")
        storage.audit.write([Counted(event, clock.now_ms(), erased + overdue)])
    storage.sessions.forget()
    storage.audit.forget(storage.settings.audit_days)


def record_missing(storage: Storage) -> int:
    """Correct the records from the object store, and return how many entries differed.

    Raises Unavailable.
    """
    differing = 0
    for found in differences(storage):
        for name in found.unrecorded:
            storage.jobs.outbox.note(name)
        ended = [job for owner in sorted(found.lost) if (job := ended_job(storage, *owner))]
        storage.records.write(ended)
        storage.records.erase(dict.fromkeys(found.erased, clock.now_ms()))
        for job in filter(None, storage.jobs.get_many(found.back)):
            log.warning("job_erased_again", extra=job.spec.log_fields)
            lifecycle.forget(storage.objects, storage.jobs, job.spec.tenant, job.id)
        differing += len(found)
    return differing


@dataclass(frozen=True)
class Difference:
    """Differences between the objects and the records, for one hour, for all feedback or for all reviews.

    `unrecorded`: jobs, feedback and reviews that are neither in SQL nor queued for writing; `lost`: ended jobs that are
    missing from Redis too; `erased`: jobs that only the records have; `back`: erased jobs that an older state of
    Redis brought back.
    """

    unrecorded: list[str] = field(default_factory=list)
    lost: set[keys.Owner] = field(default_factory=set)
    erased: set[str] = field(default_factory=set)
    back: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.unrecorded) + len(self.lost) + len(self.erased) + len(self.back)


def differences(storage: Storage) -> Iterator[Difference]:
    """Compare the objects with the records, hour by hour, then the feedback and the reviews. Raises Unavailable."""
    kept = defaultdict[str, set[str]](set)
    for page in storage.jobs.ids.retained():
        for job_id in page:
            kept[keys.hour(job_id)].add(job_id)
    stored = storage.objects.folders(UPLOADS)
    for hour in sorted({*hours(WIDE), *stored, *kept}):
        recorded = storage.records.recorded(*keys.ids_of_hour(hour))
        if recorded or hour in stored or hour in kept:
            yield _of_hour(storage, hour, recorded, kept[hour])
    known = storage.records.recorded_feedback()
    said = [listed.key for listed in storage.objects.listing(FEEDBACK, "") if listed.key.endswith(".json")]
    yield Difference(storage.jobs.outbox.without([key for key in said if feedback.id_of(key) not in known]))
    yield Difference(storage.jobs.outbox.without(_reviews_that_differ(storage)))


def _reviews_that_differ(storage: Storage) -> list[str]:
    """Reviews whose objects differ from their row, and rows without objects."""
    recorded = storage.reviews.recorded()  # read first: a review stored meanwhile is in the outbox
    stored = {folder.owner: (folder.state, folder.scored) for folder in reviews.folders(storage.objects)}
    return sorted(
        object_keys.reviews_of(*owner) for owner in recorded.keys() | stored if recorded.get(owner) != stored.get(owner)
    )


def _of_hour(storage: Storage, hour: str, recorded: Mapping[str, Status], kept: set[str]) -> Difference:
    # Listed after the records were read: a recorded or retained job without an upload was erased.
    uploads = {owner for owner, _ in storage.objects.of_jobs(UPLOADS, hour)}
    ended = {owner for owner, _ in storage.objects.of_jobs(RESULTS, hour)}
    wanting = {owner for owner in uploads if owner[1] not in recorded or not recorded[owner[1]].final}
    unknown = set(storage.jobs.ids.unknown([job_id for _, job_id in wanting]))
    there = {job_id for _, job_id in uploads}
    return Difference(
        unrecorded=storage.jobs.outbox.without(sorted({job_id for _, job_id in wanting} - unknown - recorded.keys())),
        lost={owner for owner in wanting & ended if owner[1] in unknown},
        erased=set(storage.jobs.ids.unknown(sorted(recorded.keys() - there))),
        back=sorted(kept - there),
    )


def ended_job(storage: Storage, tenant: str, job_id: str) -> Job | None:
    """Rebuild an ended job from its objects.

    None without a result: it is open, and the housekeeper adopts it.
    """
    objects: MinioObjects = storage.objects
    spec = objects.spec(tenant, job_id)
    ending = objects.ending(objects.results(tenant, job_id)) if spec else None
    if spec is None or ending is None:
        return None
    listed, outcome = ending
    kept_until_ms = spec.retained_until_ms(listed.modified_ms + storage.settings.retention_s * 1000)
    times: dict[str, Any] = {"finished_ms": listed.modified_ms, "retained_until_ms": kept_until_ms}
    return Job(spec, outcome.status, listed.modified_ms, result_key=listed.key, outcome=outcome, **times)
