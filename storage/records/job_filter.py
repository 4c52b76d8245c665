"""The filter of a list of jobs, and the cursor between its pages."""

import re
from dataclasses import dataclass

from storage.job import Status

_CURSOR = re.compile(r"([0-9]{1,15})-(job_[0-9a-f]{32})")


@dataclass(frozen=True)
class JobFilter:
    """Conditions on a tenant's jobs: status, batch, created after a time (ms UTC). None: any."""

    status: Status | None = None
    batch_id: str | None = None
    created_after_ms: int | None = None


@dataclass(frozen=True)
class Cursor:
    """The last job of a page; the next page begins after it."""

    created_ms: int
    job_id: str

    def __str__(self) -> str:
        return f"{self.created_ms}-{self.job_id}"

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """The inverse of `str`. Raises ValueError for other text."""
        found = _CURSOR.fullmatch(text)
        if not found:
            raise ValueError("not a cursor")
        return cls(int(found.group(1)), found.group(2))
