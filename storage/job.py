"""One job: its request (`Spec`), its state (`Job`) and its end (`Outcome`)."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass, field, replace
from dataclasses import fields as dataclass_fields
from enum import StrEnum
from typing import Any, cast

from storage.keys import Lane
from storage.outlook import Outlook
from storage.problems import Problem, ProblemDocument
from storage.result import ModelName, Result
from telemetry.context import trace_id

SCHEMA = 1
LONGEST_DEADLINE_S = 7 * 24 * 3600  # no job stays open longer, so recovery looks back no further


class Status(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"

    @property
    def final(self) -> bool:
        return self not in (Status.QUEUED, Status.RUNNING)


@dataclass(frozen=True)
class Spec:
    """The request.

    It is stored with the upload, so the job can be rebuilt from that object alone. Times in ms UTC.
    """

    id: str
    tenant: str
    lane: Lane
    model: str
    created_ms: int
    deadline_ms: int
    filename: str
    sha256: str
    bytes: int
    width: int  # of the upright photo, like `height`
    height: int
    format: str
    key_hash: str = ""  # of the Idempotency-Key; `fingerprint` is of the request that carried it
    fingerprint: str = ""
    batch_id: str = ""
    custom_id: str = ""  # the item's name in its batch, a relative path
    party: str = ""  # takes turns in the queue instead of the tenant: anonymous tenants at one address share one turn
    tags: str = ""  # free-form, chosen by the user, comma-separated
    request_id: str = ""  # of the request that created the job, like `traceparent` (W3C Trace Context)
    traceparent: str = ""
    erase_by_ms: int = 0  # of a re-run: when the job is erased whose photo it has
    schema: int = SCHEMA

    @property
    def pixels(self) -> int:
        return self.width * self.height

    def retained_until_ms(self, ms: int) -> int:
        """When the job is erased, if its own retention ends at `ms`."""
        return min(ms, self.erase_by_ms or ms)

    @property
    def log_fields(self) -> dict[str, str]:
        """The fields of a log line about this job, without the empty ones. They contain no names."""
        fields = {
            "job": self.id,
            "batch": self.batch_id,
            "tenant": tenant_digest(self.tenant),
            "request_id": self.request_id,
            "trace_id": trace_id(self.traceparent),
        }
        return {name: value for name, value in fields.items() if value}

    def to_json(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Spec:
        return cls.from_fields(json.loads(text))

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> Spec:
        """From parsed JSON, or from a Redis hash, whose values are strings.

        Ignores unknown fields.
        """
        read = {"int": int, "str": str, "Lane": Lane}
        known = {entry.name: read[str(entry.type)] for entry in dataclass_fields(cls)}
        values: dict[str, Any] = {name: known[name](value) for name, value in fields.items() if name in known}
        return cls(**values)


def tenant_digest(tenant: str) -> str:
    """Names a tenant in log lines. Anyone who knows the tenant's name can compute it."""
    return hashlib.sha256(tenant.encode()).hexdigest()[:12] if tenant else ""


@dataclass(frozen=True)
class Outcome:
    """How a job ended; also stored in the result object.

    `result` and `error` are as in the API. `timings_ms`: the wall time of each stage; `offsets_ms`: its start, in ms
    after the claim.
    """

    status: Status
    model: ModelName | None = None
    result: Result | None = None
    timings_ms: dict[str, int] = field(default_factory=dict)
    error: ProblemDocument | None = None
    offsets_ms: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))

    @property
    def log_fields(self) -> dict[str, Any]:
        """The fields of a log line about the end of a job, in addition to those of its spec."""
        model = f"{self.model['name']}/{self.model['version']}" if self.model else ""
        fields = {"status": self.status, "error": self.error["code"] if self.error else "", "model": model}
        stages = {f"{stage}_ms": ms for stage, ms in self.timings_ms.items()}
        return {**{name: value for name, value in fields.items() if value}, **stages}

    @property
    def log_level(self) -> int:
        return logging.INFO if self.status in (Status.SUCCEEDED, Status.CANCELED) else logging.WARNING

    def with_digest(self, mask: bytes) -> Outcome:
        """Add the mask file's digest to the result.

        The outcome inside the file cannot contain the digest of that same file.
        """
        if self.result is None:
            return self
        return replace(self, result={**self.result, "sha256": hashlib.sha256(mask).hexdigest()})

    @classmethod
    def of_problem(
        cls,
        job_id: str,
        problem: Problem,
        timings_ms: dict[str, int] | None = None,
        offsets_ms: dict[str, int] | None = None,
    ) -> Outcome:
        """The outcome of a job that ends without a mask."""
        by_code = {"canceled": Status.CANCELED, "expired": Status.EXPIRED}
        status = by_code.get(problem.code, Status.FAILED)
        error = problem.to_dict(f"/v1/jobs/{job_id}")
        return cls(status, timings_ms=timings_ms or {}, error=error, offsets_ms=offsets_ms or {})

    @classmethod
    def from_json(cls, text: str) -> Outcome:
        """Ignores unknown fields, which a newer version may have stored."""
        fields = json.loads(text)
        known = {entry.name: fields[entry.name] for entry in dataclass_fields(cls) if entry.name in fields}
        return cls(**{**known, "status": Status(fields["status"])})


@dataclass(frozen=True)
class Job:
    """The spec and the current state. Times in ms UTC; 0 for what has not happened yet."""

    spec: Spec
    status: Status
    revision: int
    attempt: int = 1
    started_ms: int = 0
    finished_ms: int = 0
    retained_until_ms: int = 0
    micro_batch: int = 0
    again: int = 0  # 1: an earlier attempt may have stored a result, or may still store one
    isolated: int = 0  # 1: earlier attempts lost their leases, so it runs without other jobs in the process
    shadow: int = 0  # 1: the claim asks the worker to compare the version with the canary on this photo
    awaited: int = 0  # 1: a client waits for it, so its worker hands over a copy of the mask
    arm: str = ""  # "{rollout}:{step}:{arm}" if a rollout chose the version of the last claim
    token: str = ""  # of the current or last claim; also the micro-batch's id
    worker: str = ""
    lost: str = ""  # expired leases: "worker started_ms lost_ms;" for each
    result_key: str = ""
    rerun: str = ""  # id of the latest re-run of its photo
    outcome: Outcome | None = None
    outlook: Outlook | None = None  # only for an open job, and only if the reader asked for it

    @property
    def id(self) -> str:
        return self.spec.id

    @property
    def eta_s(self) -> float | None:
        """Seconds until it is done; None if unknown or not asked for."""
        return self.outlook.eta_s if self.outlook else None

    @classmethod
    def from_fields(cls, fields: dict[str, str]) -> Job:
        numbers = ("attempt", "started_ms", "finished_ms", "micro_batch", "again", "isolated", "shadow", "awaited")
        spec = Spec.from_fields(fields)
        return cls(
            spec=spec,
            status=Status(fields["status"]),
            revision=int(fields["revision"]),
            arm=fields.get("arm", ""),
            token=fields.get("token", ""),
            worker=fields.get("worker", ""),
            lost=fields.get("lost", ""),
            result_key=fields.get("result_key", ""),
            rerun=fields.get("rerun", ""),
            retained_until_ms=spec.retained_until_ms(int(fields.get("retained_until_ms", "0"))),
            outcome=Outcome.from_json(fields["outcome"]) if fields.get("outcome") else None,
            **cast(dict[str, Any], {name: int(fields[name]) for name in numbers if name in fields}),
        )


@dataclass(frozen=True)
class Finished:
    """What a lease holder reports for one job: the outcome, and the key of its result object.

    `mask`: the object's content, if a client waits for it.
    """

    job_id: str
    result_key: str
    outcome: Outcome
    mask: bytes = b""
