"""The history of one job from Redis, the records and the object store: `segue trace JOB`."""

from collections.abc import Iterator
from dataclasses import dataclass

import redis

from storage.connection import Storage
from storage.feedback import Feedback
from storage.job import Job
from storage.problems import Unavailable
from storage.records.rows import AttemptRow, attempt_row
from telemetry.context import trace_id


@dataclass(frozen=True)
class Event:
    """An event in the job's history; time in ms UTC."""

    at_ms: int
    what: str


@dataclass(frozen=True)
class Story:
    """`sources`: the parts that knew the job; `silent`: the parts that did not respond."""

    job_id: str
    tenant: str
    status: str
    events: list[Event]
    sources: list[str]
    silent: list[str]


def trace(storage: Storage, job_id: str) -> Story | None:
    """Collect a job's history; None if no part knows the job.

    Raises Unavailable if a part that might know it did not respond.
    """
    silent: list[str] = []
    live = recorded = None
    rows: list[AttemptRow] = []
    feedback: list[Feedback] = []
    try:
        live = storage.jobs.get(job_id)
    except redis.RedisError:
        silent.append("redis")
    try:
        recorded, rows, feedback = _recorded(storage, job_id)
    except Unavailable:
        silent.append("records")
    job = live or recorded
    if job is None:
        if silent:
            raise Unavailable(f"{' and '.join(silent)}: no response, so the job may exist")
        return None
    attempts = {row["number"]: row for row in rows} | ({live.attempt: attempt_row(live)} if live else {})
    events = [
        _accepted(job),
        *(event for number in sorted(attempts) for event in _attempt(attempts[number])),
        *(Event(given.created_ms, f"feedback: {given.verdict}{_consent(given)}") for given in feedback),
    ]
    if job.retained_until_ms:
        events.append(Event(job.retained_until_ms, "erasure of the job, its photo and its mask"))
    sources = [name for name, known in (("redis", live), ("records", recorded)) if known]
    return Story(job_id, job.spec.tenant, job.status, sorted(events, key=lambda event: event.at_ms), sources, silent)


def _recorded(storage: Storage, job_id: str) -> tuple[Job | None, list[AttemptRow], list[Feedback]]:
    return storage.records.job(job_id), storage.records.attempts(job_id), storage.records.feedback(job_id)


def _accepted(job: Job) -> Event:
    spec = job.spec
    name = spec.custom_id or spec.filename or "an unnamed photo"
    size = f"{spec.width} x {spec.height} {spec.format}, {spec.bytes} bytes"
    batch = f", of batch {spec.batch_id}" if spec.batch_id else ""
    ids = {"request": spec.request_id, "trace": trace_id(spec.traceparent)}
    origin = "".join(f", {name} {value}" for name, value in ids.items() if value)
    return Event(spec.created_ms, f"accepted: {name} ({size}) for {spec.model}, {spec.lane}{batch}{origin}")


def _attempt(row: AttemptRow) -> Iterator[Event]:
    which = f"attempt {row['number']}"
    for lease in row["lost"]:
        yield Event(lease["started_ms"], f"{which}: taken by {lease['worker']}")
        yield Event(lease["lost_ms"], f"{which}: {lease['worker']} lost its lease, queued again")
    lost = {lease["started_ms"] for lease in row["lost"]}
    if row["started_ms"] and row["started_ms"] not in lost:
        micro_batch = f", micro-batch {row['micro_batch_id']}" if row["micro_batch_id"] else ""
        yield Event(row["started_ms"], f"{which}: taken by {row['worker'] or 'an unknown worker'}{micro_batch}")
    if row["finished_ms"]:
        yield Event(row["finished_ms"], f"{which}: {row['status']}{_how(row)}")


def _how(row: AttemptRow) -> str:
    if row["error"]:
        return f", {row['error']['code']}: {row['error']['detail']}"
    return f" with {row['model']} ({', '.join(_stages(row))})" if row["model"] else ""


def _stages(row: AttemptRow) -> Iterator[str]:
    """The stages with their wall times, and the waits before and between them."""
    ended_ms = 0  # after the claim
    for stage, ms in row["timings_ms"].items():
        offset_ms = row["offsets_ms"].get(stage, ended_ms)  # without a known start, no known wait
        if offset_ms > ended_ms:
            yield f"wait {offset_ms - ended_ms} ms"
        yield f"{stage} {ms} ms"
        ended_ms = offset_ms + ms


def _consent(given: Feedback) -> str:
    return ", may be used for training" if given.consent_training else ""
