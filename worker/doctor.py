"""Checks an installation, and compares objects, records and the pending set: `segue doctor`.

A repair does at once what the housekeeper would do in time, for the whole period in which a job can be open. It also
removes result objects that no job refers to.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import redis

from storage import keys
from storage.connection import Storage
from storage.job import Job, Status
from storage.keys import Owner
from storage.model_files import ModelError
from storage.objects import BUCKETS, RESULTS, UPLOADS
from storage.pausing import current_order
from storage.problems import Unavailable
from storage.queue import functions
from storage.records import schema
from storage.recovery import recover
from storage.s3 import Listed
from worker.housekeeping import recorder
from worker.housekeeping.sweeps import WIDE, adopt, hours, reconcile

# A result object is stored shortly before its job hash refers to it.
YOUNG_MS = 60_000
LATE_MS = 60_000  # after which a change should be in the records


@dataclass(frozen=True)
class Finding:
    """The result of one check. `fatal`: nothing else can be checked."""

    what: str
    ok: bool
    detail: str
    fatal: bool = False


@dataclass
class Differences:
    """Jobs and objects, grouped by fault."""

    unknown: list[Owner] = field(default_factory=list)
    ended_unknown: list[Owner] = field(default_factory=list)
    outdated: list[str] = field(default_factory=list)
    without_upload: list[str] = field(default_factory=list)
    without_mask: list[str] = field(default_factory=list)
    stray: list[str] = field(default_factory=list)
    unreferenced: list[str] = field(default_factory=list)

    def findings(self) -> Iterator[Finding]:
        yield _none("accepted jobs missing from Redis", self.unknown, "the housekeeper adopts them")
        yield Finding(
            "ended jobs missing from Redis", True, f"{len(self.ended_unknown)}, restored by the next request for each"
        )
        yield _none(
            "open jobs that have a result", self.outdated, "Redis returned to an older state, or a process just crashed"
        )
        yield _none("open jobs without their photo", self.without_upload, "they will fail")
        yield _none(
            "succeeded jobs without their mask", self.without_mask, "the objects were deleted by another program"
        )
        yield _none("open jobs missing from the pending set", self.stray, "the housekeeper queues them again")
        yield _none("result objects that no job refers to", self.unreferenced, "left by lost attempts")


def _none(what: str, found: list[str] | list[Owner], detail: str) -> Finding:
    return Finding(what, not found, f"{len(found)}: {detail}" if found else "none")


def examine(storage: Storage) -> Iterator[Finding]:
    """Check the parts first. Without Redis and the object store, nothing else can be checked."""
    parts = [_answering("redis", lambda: _redis(storage)), _answering("object store", lambda: _buckets(storage))]
    yield from parts
    if any(part.fatal for part in parts):
        return
    yield from _models(storage)
    workers = storage.jobs.queue().workers
    yield Finding("workers", workers > 0, f"{workers} alive")
    yield _order(storage, "pause", keys.PAUSE, "no job is claimed")
    yield _order(storage, "refusal", keys.REFUSAL, "no new work is accepted")
    missing = storage.jobs.tickets_missing()
    rejected = storage.jobs.rejected()
    yield Finding("foreign messages", True, f"{rejected} rejected" if rejected else "none")
    yield Finding("tickets", not missing, f"{missing} missing, the next sweep sends them" if missing else "enough")
    yield from differences(storage).findings()
    yield _answering("records", lambda: _records(storage))


def _order(storage: Storage, what: str, key: str, effect: str) -> Finding:
    order = current_order(storage.jobs.client, key)
    return Finding(what, True, f"{effect} until `segue resume`: {order.reason}" if order else "none")


def repair(storage: Storage) -> None:
    """Correct what can be corrected. Safe under load, and safe to repeat."""
    found = differences(storage)
    adopt(storage, WIDE, older_than_s=0, outdated=frozenset([*found.outdated, *found.without_upload]))
    for tenant, job_id in found.ended_unknown:
        recover(storage.objects, storage.jobs, tenant, job_id)
    reconcile(storage)
    for key in found.unreferenced:
        storage.objects.remove(RESULTS, key)
    storage.tickets.send(storage.jobs.tickets_missing())
    with suppress(Unavailable):  # reported as a finding
        recorder.record_missing(storage)
        recorder.record(storage)


def differences(storage: Storage) -> Differences:
    found = Differences(stray=storage.jobs.strays())
    seen: set[str] = set()
    for hour in hours(WIDE):
        uploads = {owner for owner, _ in storage.objects.of_jobs(UPLOADS, hour)}
        results = defaultdict[Owner, list[Listed]](list)
        for owner, result in storage.objects.of_jobs(RESULTS, hour):
            results[owner].append(result)
        seen.update(job_id for _, job_id in uploads)
        owners = sorted(uploads | results.keys())
        for owner, job in zip(owners, storage.jobs.get_many([job_id for _, job_id in owners]), strict=True):
            _classify(found, owner, job, owner in uploads, results[owner])
    for page in storage.jobs.ids.open():
        unseen = [job_id for job_id in page if job_id not in seen]
        jobs = [job for job in storage.jobs.get_many(unseen) if job]
        found.without_upload += [job.id for job in jobs if storage.objects.spec(job.spec.tenant, job.id) is None]
    return found


def _classify(found: Differences, owner: Owner, job: Job | None, uploaded: bool, results: list[Listed]) -> None:
    old = [listed for listed in results if listed.modified_ms < time.time() * 1000 - YOUNG_MS]
    if job is None and uploaded:
        (found.ended_unknown if results else found.unknown).append(owner)
    elif job is None:
        found.unreferenced += [listed.key for listed in old]
    elif not job.status.final and old:
        found.outdated.append(job.id)
    elif job.status.final:
        found.unreferenced += [listed.key for listed in old if listed.key != job.result_key]
        if job.status is Status.SUCCEEDED and job.result_key not in {listed.key for listed in results}:
            found.without_mask.append(job.id)


def _answering(what: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except (Unavailable, redis.RedisError) as error:
        return Finding(what, False, f"does not answer: {error}", fatal=True)


def _redis(storage: Storage) -> Finding:
    info, client = storage.jobs.client.info(), storage.jobs.client
    wrong = []
    if not info.get("aof_enabled"):
        wrong.append("appendonly is off: a restart loses the queue until it is rebuilt")
    if info.get("maxmemory_policy") not in (None, "noeviction"):
        wrong.append(f"maxmemory-policy is {info['maxmemory_policy']}: it discards jobs")
    if not functions.is_loaded(client):
        wrong.append("it lacks this version's functions: run `segue setup`")
    if not storage.jobs.epoch.intact():
        wrong.append("data was lost and has not been rebuilt yet: is a housekeeper running?")
    detail = "; ".join(wrong) or f"version {info['redis_version']}, {client.dbsize()} keys, durable, complete"
    return Finding("redis", not wrong, detail)


def _buckets(storage: Storage) -> Finding:
    missing = [bucket for bucket in BUCKETS if not storage.objects.exists(bucket)]
    detail = f"no bucket {', '.join(missing)}: run `segue setup`" if missing else "all buckets exist"
    return Finding("object store", not missing, detail)


def _records(storage: Storage) -> Finding:
    here, known = schema.revision(storage.database)
    if here != known:
        return Finding("records", False, f"tables are at {here}, this program needs {known}: run `segue setup`")
    late_ms = time.time() * 1000 - LATE_MS
    waiting = [name for name, changed_ms in storage.jobs.outbox.first(1) if changed_ms < late_ms]
    differing = sum(len(difference) for difference in recorder.differences(storage))
    wrong = ["changes have waited for more than a minute: is a housekeeper running?"] if waiting else []
    wrong += [f"{differing} jobs or feedback entries differ from the object store"] if differing else []
    return Finding("records", not wrong, "; ".join(wrong) or "they match the object store")


def _models(storage: Storage) -> Iterator[Finding]:
    aliases = storage.models.aliases(fresh=True)
    if not aliases:
        yield Finding("models", False, "no model is published: run `segue setup`")
    for alias, version in aliases.items():
        try:
            storage.models.verify(version)
        except ModelError as error:
            yield Finding(f"model {alias}", False, str(error))
        else:
            yield Finding(f"model {alias}", True, f"{version}, its files are complete")
    for worker, report in storage.jobs.workers.reports().items():
        for reason in report.refused.values():
            yield Finding(f"worker {worker}", False, f"refuses {reason}")
