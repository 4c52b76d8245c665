"""One job: what was asked for, where it stands, how it ended."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field, replace
from dataclasses import fields as dataclass_fields
from enum import StrEnum
from typing import Any, cast

from storage.keys import Lane
from storage.problems import Problem
from storage.queue.answers import Verdict

SCHEMA = 1
LONGEST_DEADLINE_S = 7 * 24 * 3600  # after its creation nothing is open: recovery looks back no further


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
    """What was asked for. Stored with the upload, so the object alone can bring the job back. Times in ms UTC."""

    id: str
    tenant: str
    lane: Lane
    model: str
    created_ms: int
    deadline_ms: int
    filename: str
    sha256: str
    bytes: int
    width: int  # upright
    height: int
    format: str
    key_hash: str = ""  # of the Idempotency-Key, with its request's fingerprint
    fingerprint: str = ""
    batch_id: str = ""
    custom_id: str = ""  # the item's name in its batch, a relative path
    party: str = ""  # takes turns in the queue in the tenant's place: of anonymous tenants their address has one turn
    tags: str = ""  # the user's own words, separated by commas
    schema: int = SCHEMA

    @property
    def pixels(self) -> int:
        return self.width * self.height

    def to_json(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Spec:
        return cls.from_fields(json.loads(text))

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> Spec:
        """From JSON or from Redis' strings."""
        read = {"int": int, "str": str, "Lane": Lane}
        known = {entry.name: read[str(entry.type)] for entry in dataclass_fields(cls)}
        values: dict[str, Any] = {name: known[name](value) for name, value in fields.items() if name in known}
        return cls(**values)


@dataclass(frozen=True)
class Outcome:
    """How a job ended. It is in the result object too. `result`, `timings_ms` and `error` as in the API."""

    status: Status
    model: dict[str, str] | None = None
    result: dict[str, Any] | None = None
    timings_ms: dict[str, int] = field(default_factory=dict)
    error: dict[str, Any] | None = None

    def to_json(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))

    def with_digest(self, mask: bytes) -> Outcome:
        """The mask carries its outcome, so the outcome it carries cannot hold the mask's own digest."""
        return replace(self, result={**(self.result or {}), "sha256": hashlib.sha256(mask).hexdigest()})

    @classmethod
    def of_problem(cls, job_id: str, problem: Problem, timings_ms: dict[str, int] | None = None) -> Outcome:
        """The end of a job without a mask."""
        by_code = {"canceled": Status.CANCELED, "expired": Status.EXPIRED}
        status = by_code.get(problem.code, Status.FAILED)
        return cls(status, timings_ms=timings_ms or {}, error=problem.to_dict(f"/v1/jobs/{job_id}"))

    @classmethod
    def from_json(cls, text: str) -> Outcome:
        fields = json.loads(text)
        return cls(**{**fields, "status": Status(fields["status"])})


@dataclass(frozen=True)
class Job:
    """A record: the spec and where it stands. Times in ms UTC, 0 where it has not happened."""

    spec: Spec
    status: Status
    revision: int
    attempt: int = 1
    started_ms: int = 0
    finished_ms: int = 0
    retained_until_ms: int = 0
    micro_batch: int = 0
    again: int = 0  # 1: another attempt may have stored a result, or be about to
    alone: int = 0  # 1: it has been lost with its worker before, and nothing else may run in its process
    token: str = ""  # of the claim that has it or had it last, and so of the micro-batch
    worker: str = ""
    lost: str = ""  # leases that ran out: "worker started_ms lost_ms;" for each
    result_key: str = ""
    outcome: Outcome | None = None
    outlook: Outlook | None = None  # of one that has not ended, where it was asked for

    @property
    def id(self) -> str:
        return self.spec.id

    @property
    def eta_s(self) -> float | None:
        """Seconds until it is done; None where that is not known, or was not asked for."""
        return self.outlook.eta_s if self.outlook else None

    @classmethod
    def from_fields(cls, fields: dict[str, str]) -> Job:
        numbers = ("attempt", "started_ms", "finished_ms", "retained_until_ms", "micro_batch", "again", "alone")
        return cls(
            spec=Spec.from_fields(fields),
            status=Status(fields["status"]),
            revision=int(fields["revision"]),
            token=fields.get("token", ""),
            worker=fields.get("worker", ""),
            lost=fields.get("lost", ""),
            result_key=fields.get("result_key", ""),
            outcome=Outcome.from_json(fields["outcome"]) if fields.get("outcome") else None,
            **cast(dict[str, Any], {name: int(fields[name]) for name in numbers if name in fields}),
        )


@dataclass(frozen=True)
class Finished:
    """What a holder hands in for one job: its outcome and the result object that holds it."""

    job_id: str
    result_key: str
    outcome: Outcome


@dataclass(frozen=True)
class Swept:
    """One sweep: ids put back in line, and (id, verdict) leased to the sweeper to be ended."""

    put_back: list[str]
    ending: list[tuple[str, Verdict]]


@dataclass(frozen=True)
class Pace:
    """Milliseconds of one worker per image in full micro-batches: now, the mean deviation, and at its best of late."""

    ms_per_image: float
    deviation_ms: float
    best_ms: float

    @property
    def expected_ms(self) -> float:
        """Between what is now and what it will be when nothing else arrives: their geometric mean."""
        return math.sqrt(self.ms_per_image * self.best_ms)


@dataclass(frozen=True)
class Usage:
    """What is kept for a party: jobs, and the bytes of their uploads as they were sent."""

    jobs: int
    bytes: int


@dataclass(frozen=True)
class Outlook:
    """A job's place and the pace at which places come up. Estimates, as if nothing else arrived.

    `position`: jobs that would be claimed before it, None once it does not wait; `pace`: None before the first image;
    `refusing`: workers that cannot use its model now.
    """

    position: int | None
    running: int
    workers: int
    pace: Pace | None
    micro_batch: int
    refusing: int = 0

    @property
    def eta_s(self) -> float | None:
        """Seconds until it is done; None while no pace or no worker is known."""
        return self._at(self.pace.expected_ms) if self.pace and self.workers else None

    @property
    def eta_range_s(self) -> tuple[float, float] | None:
        """From one deviation better than at best to two worse than now: a queue is held up rather than sped up."""
        if not self.pace or not self.workers:
            return None
        spread = min(self.pace.deviation_ms, self.pace.ms_per_image * 0.4)
        low_ms = self.pace.best_ms * (1 - spread / self.pace.ms_per_image)
        return self._at(low_ms), self._at(self.pace.ms_per_image + 2 * spread)

    def _at(self, ms_per_image: float) -> float:
        # What runs already is, taken over many moments, half done; its own micro-batch has to run whole.
        ahead = (self.position or 0) + self.running / 2 + 1
        return ahead * ms_per_image / 1000 / self.workers

    @property
    def waiting_reason(self) -> str:
        if not self.workers:
            return "no_live_worker"
        if self.refusing >= self.workers:
            return "model_loading"
        return "behind_others" if (self.position or 0) >= self.micro_batch else "batch_filling"


@dataclass(frozen=True)
class QueueState:
    """The queue at one moment; `ms_per_image` and `micro_batch` are moving averages, None before the first image."""

    pending: dict[Lane, int]
    running: dict[Lane, int]
    oldest_created_ms: dict[Lane, int | None]
    workers: int
    ms_per_image: float | None
    micro_batch: float | None

    @property
    def images_per_s(self) -> float:
        return self.workers * 1000 / self.ms_per_image if self.ms_per_image else 0.0

    def backlog_s(self, planned_workers: int, more: int = 0) -> float | None:
        """Seconds until everything that waits or runs, and `more` images, are done; None while no pace is known.

        While no worker lives, those that are planned count: they will be back.
        """
        images = sum(self.pending.values()) + sum(self.running.values()) + more
        if not images:
            return 0.0
        if not self.ms_per_image:
            return None
        return images * self.ms_per_image / 1000 / (self.workers or planned_workers)
