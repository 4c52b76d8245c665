"""The job document of the API."""

import math
import random
from datetime import UTC, datetime
from typing import Any

from storage.job import Job, QueueState, Status

SHORTEST_RETRY_S, LONGEST_RETRY_S = 1, 30


def job_document(job: Job) -> dict[str, Any]:
    spec, outcome = job.spec, job.outcome
    path = f"/v1/jobs/{job.id}"
    document: dict[str, Any] = {
        "id": job.id,
        "object": "job",
        "status": job.status,
        "revision": job.revision,
        "attempt": job.attempt,
        "created_at": timestamp(spec.created_ms),
        "started_at": timestamp(job.started_ms),
        "finished_at": timestamp(job.finished_ms),
        "input": {
            "filename": spec.filename,
            "sha256": spec.sha256,
            "bytes": spec.bytes,
            "width": spec.width,
            "height": spec.height,
            "format": spec.format,
        },
        "model": outcome.model if outcome else None,
        "priority": spec.lane,
        "result": outcome.result if outcome else None,
        "timings_ms": _timings(job),
        "micro_batch": {"size": job.micro_batch} if job.micro_batch else None,
        "error": outcome.error if outcome else None,
        "links": {"self": path},
    }
    if job.status is Status.SUCCEEDED:
        document["links"] |= {"mask": f"{path}/mask", "overlay": f"{path}/mask?format=overlay"}
    return document


def _timings(job: Job) -> dict[str, int]:
    """Milliseconds by stage; `queued` until a worker took it, `total` from accepted to finished."""
    timings = dict(job.outcome.timings_ms) if job.outcome else {}
    if job.started_ms:
        timings = {"queued": max(0, job.started_ms - job.spec.created_ms), **timings}
    if job.finished_ms:
        timings["total"] = max(0, job.finished_ms - job.spec.created_ms)
    return timings


def timestamp(ms: int) -> str | None:
    """RFC 3339, UTC, milliseconds; None for 0."""
    if not ms:
        return None
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def retry_after_s(queue: QueueState) -> int:
    """How long a polite client waits before it asks again: half of what is expected, spread a little."""
    expected = queue.backlog_s if queue.backlog_s is not None else LONGEST_RETRY_S
    spread = expected / 2 * random.uniform(0.8, 1.2)
    return min(LONGEST_RETRY_S, max(SHORTEST_RETRY_S, math.ceil(spread)))
