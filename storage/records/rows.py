"""Convert a job to rows of the SQL tables, and back."""

from dataclasses import asdict
from typing import Any, TypedDict

from sqlalchemy import RowMapping

from storage.feedback import Feedback
from storage.job import Job, Outcome, Spec, Status
from storage.keys import Lane
from storage.problems import ProblemDocument
from storage.result import ModelName, Result

_SPEC = (
    "id", "tenant", "lane", "model", "created_ms", "deadline_ms", "batch_id", "custom_id", "filename", "sha256",
    "bytes", "width", "height", "format", "tags", "request_id", "traceparent",
)  # fmt: skip
_STANDING = ("status", "revision", "attempt", "started_ms", "finished_ms", "retained_until_ms")


class LostLease(TypedDict):
    worker: str
    started_ms: int
    lost_ms: int


class AttemptRow(TypedDict):
    job_id: str
    number: int
    status: str
    micro_batch_id: str
    worker: str
    model: str
    started_ms: int
    finished_ms: int
    lost: list[LostLease]
    timings_ms: dict[str, int]
    offsets_ms: dict[str, int]
    error: ProblemDocument | None


def job_row(job: Job) -> dict[str, Any]:
    spec = {name: getattr(job.spec, name) for name in _SPEC}
    return {**spec, **{name: getattr(job, name) for name in _STANDING}, "erased_ms": 0}


def attempt_row(job: Job) -> AttemptRow:
    outcome = job.outcome
    return {
        "job_id": job.id,
        "number": job.attempt,
        "status": job.status,
        "micro_batch_id": job.token if job.micro_batch else "",
        "worker": job.worker,
        "model": _version(outcome),
        "started_ms": job.started_ms,
        "finished_ms": job.finished_ms,
        "lost": lost_leases(job.lost),
        "timings_ms": outcome.timings_ms if outcome else {},
        "offsets_ms": outcome.offsets_ms if outcome else {},
        "error": outcome.error if outcome else None,
    }


def result_row(job: Job) -> dict[str, Any] | None:
    """None for a job without a mask."""
    if not job.outcome or not job.outcome.result:
        return None
    defaults = {"sha256": "", "width": 0, "height": 0, "confidence": 0.0, "classes": []}
    result = {name: job.outcome.result.get(name, default) for name, default in defaults.items()}
    return {"job_id": job.id, "attempt": job.attempt, "key": job.result_key, **result}


def micro_batch_row(job: Job) -> dict[str, Any] | None:
    """None for a job that was in no micro-batch, or that has not ended."""
    if not job.micro_batch or not job.outcome or not job.token:
        return None
    return {
        "id": job.token,
        "worker": job.worker,
        "model": _version(job.outcome),
        "size": job.micro_batch,
        "infer_ms": job.outcome.timings_ms.get("infer", 0),
        "started_ms": job.started_ms,
        "finished_ms": job.finished_ms,
    }


def feedback_row(given: Feedback) -> dict[str, Any]:
    return {**asdict(given), "erased_ms": 0}


def lost_leases(text: str) -> list[LostLease]:
    """Parse the `lost` field of a job hash: "worker started_ms lost_ms;…"."""
    leases = (entry.rsplit(" ", 2) for entry in text.split(";") if entry)
    return [{"worker": worker, "started_ms": int(start), "lost_ms": int(lost)} for worker, start, lost in leases]


def to_job(row: RowMapping) -> Job:
    """From a row of `jobs` joined with its result and its attempt.

    `timings_ms`, `offsets_ms`, `error` and `got` (the model version) are the attempt's, `size` is its micro-batch's.
    """
    spec = Spec(**{**{name: row[name] for name in _SPEC}, "lane": Lane(row["lane"])})
    standing = {**{name: row[name] for name in _STANDING}, "status": Status(row["status"])}
    return Job(spec, **standing, micro_batch=row["size"] or 0, outcome=_outcome(row))


def _outcome(row: RowMapping) -> Outcome | None:
    status = Status(row["status"])
    if not status.final:
        return None
    name, _, version = (row["got"] or "").partition("/")
    result: Result | None = None
    if row["classes"] is not None:
        result = {
            "width": row["width"],
            "height": row["height"],
            "classes": row["classes"],
            "confidence": row["confidence"],
            "sha256": row["result_sha256"],
        }
    model: ModelName | None = {"name": name, "version": version} if version else None
    return Outcome(status, model, result, row["timings_ms"] or {}, row["error"], row["offsets_ms"] or {})


def _version(outcome: Outcome | None) -> str:
    return f"{outcome.model['name']}/{outcome.model['version']}" if outcome and outcome.model else ""
