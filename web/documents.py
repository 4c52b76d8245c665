"""The JSON documents of jobs, batches and batch items."""

import math
import random
from datetime import UTC, datetime
from typing import Any

from storage.batch import Batch
from storage.job import Job, Status
from storage.outlook import Outlook
from storage.problems import ProblemDocument
from web.rendering.formats import FORMATS, STORED

RENDERED = tuple(name for name in FORMATS if name != STORED)
SHORTEST_RETRY_S, LONGEST_RETRY_S = 1, 30


def job_document(job: Job, root: str, newer: str = "") -> dict[str, Any]:
    """`root`: the path prefix under which clients reach this server (the request's `script_root`).

    `newer`: the id of a re-run that has succeeded.
    """
    spec, outcome, outlook = job.spec, job.outcome, job.outlook
    return {
        "id": job.id,
        "object": "job",
        "status": job.status,
        "revision": job.revision,
        "attempt": job.attempt,
        "created_at": timestamp(spec.created_ms),
        "started_at": timestamp(job.started_ms),
        "finished_at": timestamp(job.finished_ms),
        "retained_until": timestamp(job.retained_until_ms),
        "input": {
            "filename": spec.filename or spec.custom_id.rpartition("/")[2],
            "sha256": spec.sha256,
            "bytes": spec.bytes,
            "width": spec.width,
            "height": spec.height,
            "format": spec.format,
        },
        "model": outcome.model if outcome else None,
        "priority": spec.lane,
        "batch_id": spec.batch_id or None,
        "custom_id": spec.custom_id or None,
        "tags": spec.tags.split(",") if spec.tags else [],
        "queue": _queue(outlook) if outlook and outlook.position is not None else None,
        "result": outcome.result if outcome else None,
        "timings_ms": _timings(job),
        "waterfall": _waterfall(job),
        "micro_batch": {"size": job.micro_batch} if job.micro_batch else None,
        "error": error_document(job, root),
        "newer": {"id": newer, "links": {"self": f"{root}/v1/jobs/{newer}"}} if newer else None,
        "links": _links(job, root),
    }


def _queue(outlook: Outlook) -> dict[str, Any]:
    low, high = outlook.eta_range_s or (None, None)
    return {
        "position": outlook.position,
        "eta_s": _rounded(outlook.eta_s),
        "eta_low_s": _rounded(low),
        "eta_high_s": _rounded(high),
        "waiting_reason": outlook.waiting_reason,
        "pause_reason": outlook.pause_reason or None,
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)


def item_document(number: int, job: Job, root: str) -> dict[str, Any]:
    """One line of a batch's results."""
    return {
        "cursor": number,
        "custom_id": job.spec.custom_id,
        "job_id": job.id,
        "status": job.status,
        "result": job.outcome.result if job.outcome else None,
        "error": error_document(job, root),
        "links": _links(job, root),
    }


def batch_document(batch: Batch, root: str) -> dict[str, Any]:
    path = f"{root}/v1/batches/{batch.id}"
    actions = ("jobs", "close", "cancel", "retry", "events", "results")
    return {
        "id": batch.id,
        "object": "batch",
        "name": batch.spec.name,
        "status": batch.status,
        "priority": batch.spec.lane,
        "model": batch.spec.model,
        "tags": batch.spec.tags.split(",") if batch.spec.tags else [],
        "created_at": timestamp(batch.spec.created_ms),
        "counts": {"total": batch.total, **{status.value: count for status, count in batch.counts.items()}},
        "rate_per_s": _rounded(batch.rate_per_s),
        "eta_s": _rounded(batch.eta_s),
        "links": {"self": path, **{action: f"{path}/{action}" for action in actions}, "archive": f"{path}/archive.zip"},
    }


def error_document(job: Job, root: str) -> ProblemDocument | None:
    error = job.outcome.error if job.outcome else None
    return {**error, "instance": f"{root}{error['instance']}"} if error else None


def _links(job: Job, root: str) -> dict[str, str]:
    path = f"{root}/v1/jobs/{job.id}"
    always = {"self": path, "image": f"{path}/image"}
    if not job.status.final:
        return {**always, "events": f"{path}/events", "cancel": f"{path}/cancel"}
    if job.status is not Status.SUCCEEDED:
        return {**always, "retry": f"{path}/retry"}
    return {**always, "mask": f"{path}/mask", **{name: f"{path}/mask?format={name}" for name in RENDERED}}


def _timings(job: Job) -> dict[str, int]:
    """Milliseconds per stage; `queued`: from acceptance to the claim; `total`: from acceptance to the end."""
    timings = dict(job.outcome.timings_ms) if job.outcome else {}
    if job.started_ms:
        timings = {"queued": max(0, job.started_ms - job.spec.created_ms), **timings}
    if job.finished_ms:
        timings["total"] = max(0, job.finished_ms - job.spec.created_ms)
    return timings


def _waterfall(job: Job) -> list[dict[str, Any]]:
    """The stages in order. `start_ms`: after acceptance; the gaps between stages are waits."""
    if not job.started_ms:
        return []
    queued_ms = max(0, job.started_ms - job.spec.created_ms)
    rows = [{"stage": "queued", "start_ms": 0, "duration_ms": queued_ms}]
    if job.outcome:
        timings, offsets = job.outcome.timings_ms, job.outcome.offsets_ms
        for stage in sorted(offsets, key=offsets.__getitem__):
            rows.append({"stage": stage, "start_ms": queued_ms + offsets[stage], "duration_ms": timings[stage]})
    return rows


def timestamp(ms: int) -> str | None:
    """RFC 3339, UTC, milliseconds; None for 0."""
    if not ms:
        return None
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def polite_pause_s(expected_s: float | None) -> int:
    """Return the Retry-After of an unfinished job: half the expected time with some jitter, 1 to 30 s."""
    spread = (LONGEST_RETRY_S if expected_s is None else expected_s) / 2 * random.uniform(0.8, 1.2)
    return min(LONGEST_RETRY_S, max(SHORTEST_RETRY_S, math.ceil(spread)))
