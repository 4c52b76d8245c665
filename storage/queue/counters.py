"""Counters of all transitions, which outlive the processes.

The function that makes a transition also counts it (`count` in lua/prelude.lua), so the counters agree with the job
hashes even if processes are killed. A Redis that loses its data starts again at 0.
"""

from collections import Counter as Tally
from collections.abc import Mapping
from dataclasses import dataclass, field
from dataclasses import fields as of_class
from typing import Self

from storage.job import Status
from storage.problems import KINDS

ENDINGS = tuple(status for status in Status if status.final)
# The usual problem codes of jobs, counted from 0. `unknown`: the outcome could not be read, or has no known code.
USUAL = ("image_decode_failed", "internal", "model_unavailable", "poisoned", "storage_error", "unknown")


@dataclass(frozen=True)
class Counters:
    """`accepted`: jobs queued by a request; `adopted`: queued from an upload that Redis did not know; `restored`:
    ended jobs whose lost job hash was rebuilt from a result. `attempts`: claims by workers, one per job; `released`:
    attempts put back without a loss; `leases_lost`: attempts whose lease expired. `requeued`: jobs that the
    reconciler found open, but neither waiting nor leased.
    """

    accepted: int = 0
    adopted: int = 0
    restored: int = 0
    retried: int = 0
    attempts: int = 0
    released: int = 0
    leases_lost: int = 0
    requeued: int = 0
    ended: Mapping[Status, int] = field(default_factory=dict)
    failed: Mapping[str, int] = field(default_factory=dict)  # by problem code

    @classmethod
    def from_fields(cls, fields: Mapping[str, str]) -> Self:
        """From the Redis hash. Labels must be bounded, so codes that are not in KINDS count as `unknown`."""
        plain = {one.name for one in of_class(cls)} - {"ended", "failed"}
        failed = Tally(dict.fromkeys(USUAL, 0))
        for name, count in fields.items():
            kind, _, code = name.partition(":")
            if kind == "failed":
                failed[code if code in KINDS else "unknown"] += int(count)
        return cls(
            **{name: int(fields.get(name, 0)) for name in plain},
            ended={status: int(fields.get(f"ended:{status}", 0)) for status in ENDINGS},
            failed=dict(failed),
        )
