"""A batch: a user's set of jobs. Its status is computed from its jobs and never stored."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from storage.job import Status
from storage.keys import Lane


class BatchStatus(StrEnum):
    OPEN = "open"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    PARTIALLY_FAILED = "partially_failed"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def final(self) -> bool:
        return self not in (BatchStatus.OPEN, BatchStatus.RUNNING)


@dataclass(frozen=True)
class BatchSpec:
    """The options a batch was opened with; stored as `batch.json` in the object store.

    Times in ms UTC.
    """

    id: str
    tenant: str
    name: str
    lane: Lane
    model: str  # alias or version
    deadline_s: int
    created_ms: int
    tags: str = ""  # of all its jobs, comma-separated
    key_hash: str = ""  # of the Idempotency-Key; `fingerprint` is of the request that carried it
    fingerprint: str = ""

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> BatchSpec:
        fields: dict[str, Any] = json.loads(text)
        return cls(**{**fields, "lane": Lane(fields["lane"])})


@dataclass(frozen=True)
class Batch:
    """The current state of a batch.

    `rate_per_s`: recently ended items per second; None until two items have ended.
    """

    spec: BatchSpec
    closed: bool
    canceled: bool
    counts: dict[Status, int]
    last: int  # number of the last ending; a retried item that ends again gets a new number
    rate_per_s: float | None

    @property
    def id(self) -> str:
        return self.spec.id

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def unfinished(self) -> int:
        return sum(count for status, count in self.counts.items() if not status.final)

    @property
    def eta_s(self) -> float | None:
        if not self.unfinished:
            return 0.0
        return self.unfinished / self.rate_per_s if self.rate_per_s else None

    @property
    def status(self) -> BatchStatus:
        if self.unfinished and self.closed:
            return BatchStatus.RUNNING
        if self.canceled:
            return BatchStatus.CANCELED
        if not self.closed:
            return BatchStatus.OPEN
        if self.counts[Status.SUCCEEDED] == self.total:
            return BatchStatus.SUCCEEDED
        return BatchStatus.PARTIALLY_FAILED if self.counts[Status.SUCCEEDED] else BatchStatus.FAILED
